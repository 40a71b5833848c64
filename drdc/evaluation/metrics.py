"""Exact streaming AUROC, average precision, F1-max and AUPRO of anomaly scores.

The scores of a category become a table with one row per distinct score: neither all maps at once nor a
histogram that rounds them. The paper reports image and pixel AUROC per category and their mean over
categories, which is the caller's to take. A higher score is more anomalous; no metric is ever flipped, so a
detector that ranks the wrong way round scores below 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from drdc.evaluation.score_counts import (
    Ranks,
    Table,
    anomalous_table,
    exact_ranks,
    joined,
    normal_table,
    within,
)

WAITING = 4
NO_MASKS = "not defined: no masks"
EVERY = slice(None)
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Metric:
    """A value in [0, 1] with an empty note, or NaN with the reason in `note` when the metric is not defined.

    A defined AUROC carries a note only if `RankingCurve.auroc_error_bound` is 1e-6 or more.
    """

    value: float
    note: str = ""


class RankingCurve:
    """Anomalous and normal counts by score, filled batch by batch and mergeable.

    Up to 4 · `capacity` scores are kept as they came, and every metric is exact. With more of them, they
    become a table, one row a distinct score, exact while these stay within `capacity`. Past it, neighbouring
    rows are merged, each up to 2^-20 of the normal scores, of the anomalous scores and of the region weight.
    Merged rows span intervals of one fixed binary subdivision of the floating-point numbers; two of them are
    nested or disjoint, so later scores and other tables join them without moving an interval's ends. Memory
    is constant: at most `capacity` rows, and 4 · `capacity` scores plus one batch in front of them.

    Error of the AUROC. Rows span disjoint intervals, hence a pair of an anomalous and a normal score from
    different rows is ordered correctly, whatever the order of arrival; a pair inside one merged row counts
    1/2 instead of 0, 1/2 or 1. With p and n the counts of a merged row and P and N the totals, the error is
    at most sum(p n) / (2 P N) <= max(n / N) / 2 <= 2^-21 = 4.8e-7. (With fewer than 2^20 anomalous scores a
    row that has any is not merged at all, and merging normal scores alone changes no metric.) The last
    inequality leaves out scores that crowd into a row after it was merged, and a `capacity` too small for
    2^-20, where rows grow to 2^-19, 2^-18, ... The sum itself covers both: `auroc_error_bound` evaluates it
    on the table, and `auroc` says so if it reaches 1e-6. Skew and narrow ranges are harmless, since shares
    are measured in ranks. The other metrics have no such certificate once a merged row holds scores of both
    kinds.

    Args:
        capacity: largest number of table rows, at least 16; 33 bytes a row, and 4 for a waiting float32.
        unit: what is ranked ("pixels", "images"), for the notes of metrics that are not defined.
    """

    def __init__(self, capacity: int = 4 * 2**20, *, unit: str = "scores") -> None:
        if capacity < 16:
            raise ValueError(f"capacity must be at least 16 rows, not {capacity}")
        self.capacity = capacity
        self.unit = unit
        self._table = normal_table(np.empty(0))
        self._batches: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = []
        self._waiting = 0
        self._ranked: Ranks | None = None

    def update(self, scores: ArrayLike, labels: ArrayLike, region_weight: ArrayLike | None = None) -> None:
        """Add a batch.

        Args:
            scores: any shape, finite numbers of any range.
            labels: same shape, bool or 0/1, true for anomalous.
            region_weight: same shape, 1 / area of the ground-truth region a score lies in (`pixel_regions`);
                read at anomalous scores only. AUPRO is not defined without it.

        Raises:
            ValueError: shapes differ, or some scores are NaN or infinite.
        """
        values, anomalous = _as_floats(scores), np.asarray(labels).astype(bool)
        weight = np.broadcast_to(0.0, values.shape) if region_weight is None else np.asarray(region_weight)
        if not values.shape == anomalous.shape == weight.shape:
            raise ValueError(f"shapes differ: {values.shape}, {anomalous.shape}, {weight.shape}")
        if bad := int(np.count_nonzero(~np.isfinite(values))):
            raise ValueError(f"{bad} of {values.size} scores are not finite")
        self._batches.append((values[~anomalous], values[anomalous], weight[anomalous]))
        self._waiting += values.size
        self._ranked = None
        if self._waiting >= WAITING * self.capacity:
            self._reduced()

    def merge(self, other: RankingCurve) -> None:
        """Add everything `other` has seen; `other` keeps its contents and `self` its capacity."""
        self._table = within(joined([self._reduced(), other._reduced()]), self.capacity)
        self._ranked = None

    def auroc(self) -> Metric:
        """Area under the ROC curve: P(anomalous > normal) + P(equal) / 2."""
        if reason := self._undefined():
            return Metric(np.nan, reason)
        ranks, bound = self._ranks(), self.auroc_error_bound()
        below = np.cumsum(ranks.normal) - ranks.normal
        wins = np.sum(ranks.anomalous * (below + ranks.normal / 2))
        return Metric(float(wins / ranks.pairs()), "" if bound < 1e-6 else f"accurate to {bound:.1e}")

    def auroc_error_bound(self) -> float:
        """Largest possible error of `auroc`: sum over merged rows of p n / (2 P N); 0.0 while exact."""
        ranks = self._ranks()
        inside = np.sum(ranks.normal[ranks.merged] * ranks.anomalous[ranks.merged].astype(np.float64))
        return float(inside / (2 * ranks.pairs())) if inside else 0.0

    def average_precision(self) -> Metric:
        """Sum over thresholds of (step in recall) x precision, not interpolated, as in scikit-learn."""
        if reason := self._undefined():
            return Metric(np.nan, reason)
        true, called = self._counts_from_top()
        return Metric(float(np.sum(np.diff(true, prepend=0) * (true / called)) / true[-1]))

    def f1_max(self) -> Metric:
        """Largest F1 = 2 TP / (2 TP + FP + FN) over all thresholds."""
        if reason := self._undefined():
            return Metric(np.nan, reason)
        true, called = self._counts_from_top()
        return Metric(float(np.max(2 * true / (called + true[-1]))))

    def aupro(self, fpr_limit: float = 0.3) -> Metric:
        """Area under the per-region overlap curve up to a false positive rate, divided by that rate.

        Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021: the overlap is the share of a
        region's pixels at or above the threshold, averaged over regions; the rate is that of all normal
        pixels; trapezoids, with linear interpolation at the limit. Raises ValueError for `fpr_limit` outside
        (0, 1].
        """
        if not 0 < fpr_limit <= 1:
            raise ValueError(f"fpr_limit must lie in (0, 1], not {fpr_limit}")
        ranks = self._ranks()
        if reason := self._undefined():
            return Metric(np.nan, reason)
        if not ranks.region_weight.any():
            return Metric(np.nan, "not defined: no anomalous regions")
        overlap = np.append(0.0, np.cumsum(ranks.region_weight[::-1]))
        false = np.append(0, np.cumsum(ranks.normal[::-1]))
        return Metric(_area_up_to(false / false[-1], overlap / overlap[-1], fpr_limit) / fpr_limit)

    def points(self, limit: int = 200) -> dict[str, NDArray[np.float64]]:
        """Points of the ROC and the precision-recall curve, from the highest threshold to the lowest.

        Args:
            limit: at most this many, evenly spread over recall and over the false positive rate.

        Returns:
            `recall`, `precision` and `fpr`, each (M,) in [0, 1], the first at recall 0 and precision 1; empty
            where the AUROC is not defined.
        """
        if self._undefined():
            return {name: np.empty(0) for name in ("recall", "precision", "fpr")}
        true, called = (np.append(0, counts) for counts in self._counts_from_top())
        recall, fpr = true / true[-1], (called - true) / (called - true)[-1]
        even = np.linspace(0, 1, limit // 2)
        keep = np.unique([np.searchsorted(recall, even), np.searchsorted(fpr, even)])
        precision = np.divide(true, called, out=np.ones(len(true)), where=called > 0)
        return {"recall": recall[keep], "precision": precision[keep], "fpr": fpr[keep]}

    def _counts_from_top(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """TP and TP + FP at every threshold, highest threshold first."""
        ranks = self._ranks()
        return np.cumsum(ranks.anomalous[::-1]), np.cumsum((ranks.anomalous + ranks.normal)[::-1])

    def _undefined(self) -> str:
        ranks = self._ranks()
        missing = [kind for kind in ("anomalous", "normal") if not getattr(ranks, kind).any()]
        return f"not defined: no {' and no '.join(missing)} {self.unit}" if missing else ""

    def _ranks(self) -> Ranks:
        """What the metrics are computed from; exact if all scores still wait."""
        if self._ranked is None:
            if self._batches and not len(self._table.key):
                self._ranked = exact_ranks(*_concatenated(self._batches))
            else:
                table = self._reduced()
                counts = table.anomalous, table.normal, table.region_weight
                self._ranked = Ranks(*counts, merged=table.level > 0)
        return self._ranked

    def _reduced(self) -> Table:
        """The table with all waiting batches in it."""
        while self._batches:
            count, size = 0, 0
            while count < len(self._batches) and size < self.capacity:
                size += sum(len(part) for part in self._batches[count][:2])
                count += 1
            normal, anomalous, weight = _concatenated(self._batches[:count])
            del self._batches[:count]
            tables = [self._table, normal_table(normal), anomalous_table(anomalous, weight)]
            self._table = within(joined(tables), self.capacity)
        self._waiting = 0
        return self._table


class CategoryEvaluator:
    """The seven metrics of one category, filled batch by batch.

    Masks alone decide about pixels and labels alone about images: an anomalous image with an empty mask adds
    normal pixels. Without ground truth (`has_masks` false) masks are ignored and pixel metrics not defined.
    """

    def __init__(self, has_masks: bool) -> None:
        self.has_masks = has_masks
        self.images = RankingCurve(unit="images")
        self.pixels = RankingCurve(unit="pixels")

    def update(
        self,
        maps: ArrayLike,
        masks: ArrayLike,
        image_scores: ArrayLike,
        labels: ArrayLike,
        known: NDArray[np.bool_] | slice = EVERY,
    ) -> None:
        """Add a batch of B images.

        Args:
            maps: (B, H, W) finite anomaly scores of the pixels, any range.
            masks: (B, H, W) bool, true on defects.
            image_scores: (B,) finite anomaly scores of the images, any range.
            labels: (B,) bool or 0/1, 1 for anomalous.
            known: (B,) bool, whose masks are known; the pixels of the others do not count.

        Raises:
            ValueError: shapes do not agree, or some scores are NaN or infinite.
        """
        shape = np.shape(maps)
        if len(shape) != 3 or np.shape(image_scores) != shape[:1]:
            raise ValueError(f"maps {shape}, image scores {np.shape(image_scores)}: not (B, H, W) and (B,)")
        if self.has_masks:
            defects = np.asarray(masks).astype(bool)
            weight = np.zeros(defects.shape, dtype=np.float32)
            for index in np.flatnonzero(defects.any(axis=(1, 2))):
                weight[index], _ = pixel_regions(defects[index])
            self.pixels.update(np.asarray(maps)[known], defects[known], weight[known])
        self.images.update(image_scores, labels)

    def results(self) -> dict[str, Metric]:
        """image_auroc, image_ap, image_f1max, pixel_auroc, pixel_ap, pixel_f1max and pixel_aupro."""
        results = {}
        for level, curve in (("image", self.images), ("pixel", self.pixels)):
            results[f"{level}_auroc"] = curve.auroc()
            results[f"{level}_ap"] = curve.average_precision()
            results[f"{level}_f1max"] = curve.f1_max()
        results["pixel_aupro"] = self.pixels.aupro()
        if not self.has_masks:
            no_masks = Metric(np.nan, NO_MASKS)
            results |= {name: no_masks for name in results if name.startswith("pixel")}
        return results


def pixel_regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float32], int]:
    """Weight every defect pixel so that each 8-connected ground-truth region sums to one.

    Args:
        mask: (H, W) bool, true on defects.

    Returns:
        (H, W) float32, 1 / area of its region at a defect pixel and 0 elsewhere; and the number of regions.
    """
    regions, count = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
    weight = np.zeros(count + 1, dtype=np.float32)
    weight[1:] = 1.0 / np.bincount(regions.ravel(), minlength=count + 1)[1:]
    return weight[regions], int(count)


def _area_up_to(x: NDArray[np.float64], y: NDArray[np.float64], limit: float) -> float:
    """Integral of the polyline (x, y) from 0 to `limit`; x never descends and runs from 0 to 1."""
    inside = int(np.searchsorted(x, limit, side="right"))
    area = float(np.trapezoid(y[:inside], x[:inside]))
    if inside < len(x):
        left, width = inside - 1, limit - x[inside - 1]
        slope = (y[inside] - y[left]) / (x[inside] - x[left])
        area += float(width * (y[left] + slope * width / 2))
    return area


def _concatenated(batches: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]) -> list[NDArray[Any]]:
    return [np.concatenate(part) for part in zip(*batches, strict=True)]


def _as_floats(scores: ArrayLike) -> NDArray[Any]:
    """Half and single precision as float32, everything else as float64."""
    values = np.asarray(scores)
    return values.astype(np.float32 if values.dtype in (np.float16, np.float32) else np.float64, copy=False)
