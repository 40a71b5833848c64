"""The metrics, one function each, with its name, its label in tables and the levels that it is computed at.

A metric is computed per category, most of them from the anomalous and normal scores in order (`Ranks`); means
over categories are the caller's to take. The paper reports image and pixel AUROC. A higher score is more
anomalous; no metric is ever flipped, so a detector that ranks the wrong way round has an AUROC below 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from drdc.evaluation.image_overlaps import ImageOverlaps
from drdc.evaluation.pixel_decisions import PixelDecisions
from drdc.evaluation.score_counts import Ranks

Level = Literal["image", "pixel"]
LEVELS: tuple[Level, ...] = ("image", "pixel")
#: What a metric is computed from: the images' or the pixels' scores in order, or something else.
Source = Literal["image", "pixel", "overlaps", "decisions"]


@dataclass(frozen=True)
class Metric:
    """A value in [0, 1] with an empty note, or NaN with the reason in `note` when the metric is not defined.

    A defined metric carries a note only if it may be off, see `RankingCurve.measure`.
    """

    value: float
    note: str = ""


@dataclass(frozen=True)
class Declaration:
    """A metric at one level.

    Attributes:
        label: its heading in tables and figures.
        level: whether it is of the images or of the pixels.
        source: what `compute` is given.
        compute: its value; called only where the source has what it needs.
        headline: whether it stands in the tables at a glance.
        pooled: whether it is also computed over all categories together.
    """

    label: str
    level: Level
    source: Source
    compute: Callable[[Any], Metric]
    headline: bool
    pooled: bool

    @property
    def needs_masks(self) -> bool:
        """Whether it is defined only where ground-truth masks exist."""
        return self.level == "pixel"


_declared: dict[str, Declaration] = {}


Compute = TypeVar("Compute", bound=Callable[[Any], Metric])


def metric(
    name: str,
    label: str,
    levels: tuple[Level, ...] = LEVELS,
    *,
    source: Source | None = None,
    headline: bool = True,
) -> Callable[[Compute], Compute]:
    """Declare a function as a metric: tables, reasons and means follow.

    Args:
        name: of its values in scores.csv, after the level: `auroc` gives `image_auroc` and `pixel_auroc`.
        label: its heading, after the level: "Image AUROC".
        levels: at which it is computed; at both, it is also computed over all categories together.
        source: what it is computed from; None for the scores in order.
        headline: whether it stands in the tables at a glance.
    """

    def declare(compute: Compute) -> Compute:
        for level in levels:
            _declared[f"{level}_{name}"] = Declaration(
                f"{level.capitalize()} {label}", level, source or level, compute, headline, levels == LEVELS
            )
        return compute

    return declare


@metric("auroc", "AUROC")
def auroc(ranks: Ranks) -> Metric:
    """Area under the ROC curve: P(anomalous > normal) + P(equal) / 2."""
    below = np.cumsum(ranks.normal) - ranks.normal / 2
    wins = np.sum(ranks.anomalous * below)
    return Metric(float(wins / ranks.pairs()))


@metric("ap", "AP")
def average_precision(ranks: Ranks) -> Metric:
    """Sum over thresholds of (step in recall) x precision, not interpolated, as in scikit-learn."""
    true, called = ranks.from_top()
    return Metric(float(np.sum(ranks.anomalous[::-1] * (true / called)) / true[-1]))


@metric("f1max", "F1-max")
def f1_max(ranks: Ranks) -> Metric:
    """Largest F1 = 2 TP / (2 TP + FP + FN) over all thresholds."""
    true, called = ranks.from_top()
    return Metric(float(2 * np.max(true / (called + true[-1]))))


@metric("aupro", "AUPRO", levels=("pixel",))
def aupro(ranks: Ranks, fpr_limit: float = 0.3) -> Metric:
    """Area under the per-region overlap curve up to a false positive rate, divided by that rate.

    Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021: the overlap is the share of a region's
    pixels at or above the threshold, averaged over regions; the rate is that of all normal pixels;
    trapezoids, with linear interpolation at the limit. Raises ValueError for `fpr_limit` outside (0, 1].
    """
    if not 0 < fpr_limit <= 1:
        raise ValueError(f"fpr_limit must lie in (0, 1], not {fpr_limit}")
    if not ranks.region_weight.any():
        return Metric(np.nan, "not defined: no anomalous regions")
    overlap = np.append(0.0, np.cumsum(ranks.region_weight[::-1]))
    false = np.append(0, np.cumsum(ranks.normal[::-1]))
    area = _area_up_to(false / false[-1], overlap / overlap[-1], fpr_limit)
    return Metric(min(area / fpr_limit, 1.0))  # which rounding may exceed


metric("aupro5", "AUPRO to 5 % FPR", levels=("pixel",), headline=False)(partial(aupro, fpr_limit=0.05))
metric("aupro1", "AUPRO to 1 % FPR", levels=("pixel",), headline=False)(partial(aupro, fpr_limit=0.01))


@metric("aupimo", "AUPIMO", levels=("pixel",), source="overlaps", headline=False)
def aupimo(overlaps: ImageOverlaps) -> Metric:
    """Mean over anomalous images of the share of the defect that is found with hardly any false alarm.

    Bertoldo et al., "AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed and Low
    Tolerance", BMVC 2024: of each image the recall at false positive rates from 1e-5 to 1e-4 of the normal
    images' pixels, averaged over the logarithm of the rate.
    """
    return Metric(min(float(np.mean(overlaps.each())), 1.0))  # which rounding may exceed


@metric("segf1", "SegF1", levels=("pixel",), source="decisions", headline=False)
def seg_f1(decisions: PixelDecisions) -> Metric:
    """F1 = 2 TP / (2 TP + FP + FN) of all pixels at the thresholds that `drdc detect` outlines them with.

    Each image has that of its group, from held-out normal images alone, see `drdc.evaluation.calibration`.
    """
    right = 2 * decisions.true_positives
    return Metric(right / (right + decisions.false_positives + decisions.false_negatives))


def _area_up_to(x: NDArray[np.float64], y: NDArray[np.float64], limit: float) -> float:
    """Integral of the polyline (x, y) from 0 to `limit`; x never descends and runs from 0 to 1."""
    inside = int(np.searchsorted(x, limit, side="right"))
    area = float(np.trapezoid(y[:inside], x[:inside]))
    if inside < len(x):
        left, width = inside - 1, limit - x[inside - 1]
        slope = (y[inside] - y[left]) / (x[inside] - x[left])
        area += float(width * (y[left] + slope * width / 2))
    return area


#: All metrics by their name in scores.csv, in the order of the tables' columns: images, then pixels.
METRICS = {
    name: declared for level in LEVELS for name, declared in _declared.items() if declared.level == level
}
#: Those over all categories together, by their name in scores.csv, where their category is "all".
POOLED = {f"pooled_{name}": declared for name, declared in METRICS.items() if declared.pooled}
