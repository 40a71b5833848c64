"""`drdc check --model`: the training images that look least like the others, to a trained detector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from drdc.config.variants import FULL
from drdc.data.samples import Sample
from drdc.evaluation.calibration import p_value
from drdc.runtime.batching import progress_bar
from drdc.runtime.errors import UserError

if TYPE_CHECKING:
    from drdc.detection.detector import Detector

HEAD = ("image", "score", "usual", "p")


class Suspect(NamedTuple):
    """A training image with what the detector finds in it.

    Attributes:
        path: in the dataset.
        score: its anomaly score.
        usual: median score of the held-out images of its category, however few; of all where it has none.
        p_value: conformal p-value among the same images.
        excess: its score above the usual one, as a multiple of their spread.
    """

    path: str
    score: float
    usual: float
    p_value: float
    excess: float


def suspects(model: str, root: Path, samples: Sequence[Sample]) -> list[Suspect]:
    """The training images among some samples, the least usual first.

    An image that the model was trained on scores lower than it would as a new one: what stands out all the
    same deserves a look.

    Args:
        model: of `Detector.load`.
        root: the folder that the samples' paths are relative to.

    Raises:
        UserError: the model cannot be read, or knows none of the categories.
    """
    from drdc.detection.detector import Detector

    detector = Detector.load(model)
    own = [sample for sample in samples if sample.split == "train" and sample.category in detector.categories]
    if not own:
        raise UserError(
            model, f"knows {', '.join(detector.categories)} and no category of {root}", "name another model"
        )
    return sorted(_looked_at(detector, root, progress_bar(own)), key=lambda one: (-one.excess, one.path))


def _looked_at(detector: Detector, root: Path, samples: Iterable[Sample]) -> Iterator[Suspect]:
    """Without those that cannot be read, which `drdc check` says by itself."""
    calibration = detector.modes[FULL].calibration
    for sample in samples:
        try:
            found = detector.detect(root / sample.path, category=sample.category)
        except UserError:
            continue
        own = calibration.scores[calibration.categories == sample.category]
        scores = own if len(own) else calibration.scores
        usual, spread = float(np.median(scores)), float(np.std(scores)) or 1.0
        p = p_value(scores, found.score)
        yield Suspect(sample.path, found.score, usual, p, (found.score - usual) / spread)


def rows(found: Sequence[Suspect]) -> list[list[str]]:
    """`HEAD` and a line of texts for each."""
    lines = [[one.path, f"{one.score:.4g}", f"{one.usual:.4g}", f"{one.p_value:.3f}"] for one in found]
    return [list(HEAD), *lines]
