"""The fingerprint of a dataset's folder, without opening an image, by which the workflow notices changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drdc.config.dataset import Dataset
from drdc.data.datasets import dataset_root, readable, scan
from drdc.data.problems import Problem
from drdc.data.samples import Sample
from drdc.runtime.files import atomic


@dataclass(frozen=True)
class Listing:
    """A dataset as its reader lists it.

    Attributes:
        fingerprint: 12 hexadecimal digits; others once an image or a mask is added, removed, renamed or
            replaced (path, size and time of the last change), gets another split, label or defect type, or
            a file of another kind is left out.
        tested: whether there are test images.
    """

    fingerprint: str
    tested: bool


def listing(dataset: Dataset) -> Listing | None:
    """The wanted categories as they are now; None for a synthetic dataset or one that does not exist (yet).

    Raises:
        UserError: the reader finds no dataset in the folder, a category is missing, or the folder cannot be
            read.
    """
    with readable():
        root = _root(dataset)
        if root is None:
            return None
        samples, problems = scan(dataset.name, root, dataset.categories, dataset.good)
        lines = "\n".join(json.dumps(fact) for fact in _facts(root, samples, problems))
    fingerprint = hashlib.sha256(lines.encode()).hexdigest()[:12]
    return Listing(fingerprint, any(sample.split == "test" for sample in samples))


def trigger(record: Path, now: Listing | None) -> str:
    """A text that differs from the last one if and only if the dataset has changed since it was read.

    A dataset that was downloaded after its first planning is not a change: `record` has the text of that
    time and the fingerprint of what was read. Without a dataset, nothing is known to have changed.
    """
    planned, read, _ = _noted(record)
    return planned if now is None or now.fingerprint == read else now.fingerprint


def is_tested(record: Path, now: Listing | None) -> bool:
    """Whether there are test images; of a dataset that is not there, whether there were, if that is known."""
    return _noted(record)[2] if now is None else now.tested


def _noted(record: Path) -> tuple[str, str | None, bool]:
    """What `note` has written; of a dataset that was never read, that it has test images."""
    try:
        planned, read, *rest = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "", None, True
    return planned, read, rest != [False]


def note(record: Path, planned: str, read: Listing | None) -> None:
    """Write for `trigger` and `is_tested` by what text a dataset was planned, and what of it was read."""
    if read is not None:
        with atomic(record) as part:
            part.write_text(json.dumps([planned, read.fingerprint, read.tested]), encoding="utf-8")


def _root(dataset: Dataset) -> Path | None:
    """The folder of a dataset of the user's; None without one, or where it is empty: not mounted."""
    if dataset.name == "synthetic":
        return None
    if dataset.root is None:
        return dataset_root(dataset.name)
    root = Path(dataset.root)
    return root if root.is_dir() and any(root.iterdir()) else None


def _facts(root: Path, samples: Sequence[Sample], problems: Sequence[Problem]) -> Iterator[Any]:
    for sample in samples:
        yield [*vars(sample).values(), _stamp(root, sample.path), sample.mask and _stamp(root, sample.mask)]
    yield from ([problem.kind, problem.file] for problem in problems)


def _stamp(root: Path, path: str) -> tuple[int, int] | None:
    """Size in bytes and time of the last change in nanoseconds, of a link's target; None without a file."""
    try:
        status = (root / path).stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns
