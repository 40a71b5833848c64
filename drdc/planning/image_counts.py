"""How many images an experiment has, before they are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from drdc.config.dataset import Dataset
from drdc.data.datasets import READERS, scan
from drdc.experiment.experiment import Experiment
from drdc.runtime.errors import UserError


@dataclass(frozen=True)
class ImageCounts:
    """Numbers of images of an experiment.

    Attributes:
        train, held_out, test: of all categories.
        categories: how many there are.
        source: where the numbers are from.
    """

    train: int
    held_out: int
    test: int
    categories: int
    source: str

    @property
    def all(self) -> int:
        return self.train + self.held_out + self.test

    @property
    def predicted(self) -> int:
        return self.held_out + self.test

    @classmethod
    def of(cls, experiment: Experiment) -> ImageCounts:
        """Those in the dataset's folder, or where there is none, the published ones."""
        dataset = experiment.dataset
        reader = READERS[dataset.name]
        if dataset.name == "synthetic":
            own = dataset.synthetic
            each = [(own.train, own.test_good + own.test_bad)] * len(dataset.categories)
            return cls._split(each, dataset, "as configured")
        if dataset.root is None or not Path(dataset.root).is_dir():
            known = {name: reader.counts.get(name) for name in dataset.categories}
            numbers = [own for own in known.values() if own]
            if missing := [name for name, own in known.items() if not own]:
                raise UserError(
                    str(dataset.root),
                    f"the dataset is not there, and the images of {missing[0]!r} are not known",
                    "put it there, or correct dataset.root",
                )
            return cls._split([(train, good + bad) for train, good, bad in numbers], dataset, "published")
        samples, _ = scan(dataset.name, Path(dataset.root), dataset.categories, dataset.good)
        counts = Counter((sample.category, sample.split) for sample in samples)
        each = [(counts[name, "train"], counts[name, "test"]) for name in dataset.categories]
        return cls._split(each, dataset, f"in {dataset.root}")

    @classmethod
    def _split(cls, each: list[tuple[int, int]], dataset: Dataset, source: str) -> ImageCounts:
        """As `drdc.data.samples.drawn` and `smallest_hashes` choose of each category."""
        drawn, holdout = dataset.drawn, dataset.holdout
        taken = [(drawn.images or train, test) for train, test in each]
        gone = max(drawn.defective, drawn.reserved)
        each = [(train, test - round(gone * train)) for train, test in taken]
        held = sum(min(max(1, round(holdout * train)), train - 1) for train, _ in each if train > 1)
        train = sum(train for train, _ in each) - held
        return cls(train, held, sum(test for _, test in each), len(each), source)
