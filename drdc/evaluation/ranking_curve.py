"""The scores of a category as counts in order of score, filled batch by batch in constant memory.

They become a table with one row per distinct score: neither all maps at once nor a histogram that rounds
them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drdc.evaluation.metrics import Metric
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
    2^-20, where rows grow to 2^-19, 2^-18, ... The sum itself covers both: `Ranks.auroc_error_bound`
    evaluates it, and the AUROC carries a note if it reaches 1e-6. Skew and narrow ranges are harmless, since
    shares are measured in ranks. The other metrics have no such certificate once a merged row holds scores
    of both kinds.

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

    def ranks(self) -> Ranks:
        """What the metrics are computed from; exact while all scores are kept as they came."""
        if self._ranked is None:
            if self._batches and not len(self._table.key):
                self._ranked = exact_ranks(*_concatenated(self._batches))
            else:
                table = self._reduced()
                counts = table.anomalous, table.normal, table.region_weight
                self._ranked = Ranks(*counts, merged=table.level > 0)
        return self._ranked

    def measure(self, compute: Callable[[Ranks], Metric]) -> Metric:
        """A metric of all scores so far (`drdc.evaluation.metrics`), or why it is not defined."""
        reason = self._undefined()
        return Metric(np.nan, reason) if reason else compute(self.ranks())

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
        true, called = (np.append(0, counts) for counts in self.ranks().from_top())
        recall, fpr = true / true[-1], (called - true) / (called - true)[-1]
        even = np.linspace(0, 1, limit // 2)
        keep = np.unique([np.searchsorted(recall, even), np.searchsorted(fpr, even)])
        precision = np.divide(true, called, out=np.ones(len(true)), where=called > 0)
        return {"recall": recall[keep], "precision": precision[keep], "fpr": fpr[keep]}

    def _undefined(self) -> str:
        ranks = self.ranks()
        missing = [kind for kind in ("anomalous", "normal") if not getattr(ranks, kind).any()]
        return f"not defined: no {' and no '.join(missing)} {self.unit}" if missing else ""

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


def _concatenated(batches: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]) -> list[NDArray[Any]]:
    return [np.concatenate(part) for part in zip(*batches, strict=True)]


def _as_floats(scores: ArrayLike) -> NDArray[Any]:
    """Half and single precision as float32, everything else as float64."""
    values = np.asarray(scores)
    return values.astype(np.float32 if values.dtype in (np.float16, np.float32) else np.float64, copy=False)
