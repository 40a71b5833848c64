"""The scores of a category as counts in order of score, filled batch by batch in constant memory.

They are kept as they are while that takes little memory, and then become a table with one row per distinct
score: no histogram that rounds them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drdc.evaluation.metrics import Metric, auroc
from drdc.evaluation.score_counts import (
    Ranks,
    Scores,
    Table,
    empty_table,
    exact_ranks,
    in_order,
    joined,
    keys_of,
    table_of,
    widened,
    within,
)

#: Error of the AUROC from which on metrics carry a note.
NOTED = 1e-6
#: Bytes of scores that wait in front of a table, for each of its rows: 24 float32.
WAITING = 96


#: Keys of all scores, of the anomalous ones of them again, and the areas of the regions that these lie in.
Batch = tuple[NDArray[np.unsignedinteger], NDArray[np.unsignedinteger], NDArray[np.uint32]]
#: Keys of -inf and inf, beyond which those of NaN lie.
LIMITS = {kind: keys_of(np.array([-np.inf, np.inf], dtype=kind)) for kind in (np.float32, np.float64)}


class RankingCurve:
    """Anomalous and normal counts by score, filled batch by batch and mergeable.

    Up to 96 · `capacity` bytes of scores are kept as they came (4 for a float32, and 8 more for an anomalous
    one), and every metric is exact: by default 403 MB, 100 million float32 pixels or 96 maps of 1024 × 1024.
    With more of them, they become a table, one row a distinct score, exact while these stay within
    `capacity`. Past it, neighbouring rows are merged, each up to 2^-20 of the normal scores, of the anomalous
    scores and of the region weight. Merged rows span intervals of one fixed binary subdivision of the
    floating-point numbers; two of them are nested or disjoint, so later scores and other tables join them
    without moving an interval's ends. Memory is constant: at most `capacity` rows and, in front of them,
    96 · `capacity` bytes of scores plus one batch, which are sorted in place.

    Error of the AUROC. Rows span disjoint intervals, hence a pair of an anomalous and a normal score from
    different rows is ordered correctly, whatever the order of arrival; a pair inside one merged row counts
    1/2 instead of 0, 1/2 or 1. With p and n the counts of a merged row and P and N the totals, the error is
    at most sum(p n) / (2 P N) <= max(n / N) / 2 <= 2^-21 = 4.8e-7. (With fewer than 2^20 anomalous scores a
    row that has any is not merged at all, and merging normal scores alone changes no metric.) The last
    inequality leaves out scores that crowd into a row after it was merged, and a `capacity` too small for
    2^-20, where rows grow to 2^-19, 2^-18, ... The sum itself covers both: `Ranks.auroc_error_bound`
    evaluates it, and every metric carries a note if it reaches 1e-6. Skew and narrow ranges are harmless,
    since shares are measured in ranks; so are ranges that fill late, since an eighth of the rows is spent on
    what is widest. The other metrics have no such certificate once a merged row holds scores of both kinds.

    Args:
        capacity: largest number of table rows, at least 16, of 33 bytes.
        unit: what is ranked ("pixels", "images"), for the notes of metrics that are not defined.
    """

    def __init__(self, capacity: int = 4 * 2**20, *, unit: str = "scores") -> None:
        if capacity < 16:
            raise ValueError(f"capacity must be at least 16 rows, not {capacity}")
        self.capacity = capacity
        self.unit = unit
        self._table = empty_table()
        self._batches: list[Batch] = []
        self._ranked: Ranks | None = None

    def update(self, scores: ArrayLike, labels: ArrayLike, region_area: ArrayLike | None = None) -> None:
        """Add a batch.

        Args:
            scores: any shape, finite numbers of any range.
            labels: same shape, bool or 0/1, true for anomalous.
            region_area: for each anomalous score, in order, how many pixels the ground-truth region has that
                it lies in (`region_areas`). AUPRO is not defined without it.

        Raises:
            ValueError: shapes differ, or some scores are NaN or infinite.
        """
        keys = _keys(np.asarray(scores))
        found = np.flatnonzero(np.asarray(labels).astype(bool, copy=False))
        area = np.zeros(len(found)) if region_area is None else np.asarray(region_area)
        if np.shape(scores) != np.shape(labels) or area.shape != found.shape:
            shapes = ", ".join(map(str, (np.shape(scores), np.shape(labels), area.shape)))
            raise ValueError(f"shapes differ: {shapes} for {len(found)} anomalous scores")
        self._batches.append((keys, keys[found], area.astype(np.uint32, copy=False)))
        self._ranked = None
        self._keep_within()

    def merge(self, other: RankingCurve) -> None:
        """Add everything `other` has seen; `other` keeps its contents and `self` its capacity."""
        self._batches += other._batches
        self._table = within(joined([self._table, other._table]), self.capacity)
        self._ranked = None
        self._keep_within()

    def ranks(self) -> Ranks:
        """What the metrics are computed from; exact while all scores are kept as they came."""
        if self._ranked is None:
            if self._batches and not len(self._table.key):
                self._ranked = exact_ranks(self._sorted())
            else:
                table = self._reduced()
                counts = table.anomalous, table.normal, table.region_weight
                self._ranked = Ranks(*counts, merged=table.level > 0)
        return self._ranked

    def measure(self, compute: Callable[[Ranks], Metric]) -> Metric:
        """A metric of all scores so far (`drdc.evaluation.metrics`), or why it is not defined.

        It carries a note where so many scores were merged that the AUROC may be off by 1e-6 or more.
        """
        if reason := self._undefined():
            return Metric(np.nan, reason)
        found, bound = compute(self.ranks()), self.ranks().auroc_error_bound()
        if found.note or bound < NOTED:
            return found
        return Metric(found.value, f"approximate: too many {self.unit}; the AUROC is accurate to {bound:.1e}")

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

    def _keep_within(self) -> None:
        if sum(part.nbytes for batch in self._batches for part in batch) >= WAITING * self.capacity:
            self._reduced()

    def _sorted(self) -> Scores:
        """All waiting batches in order."""
        self._batches = [_one(self._batches)]
        return in_order(*self._batches[0])

    def _reduced(self) -> Table:
        """The table with all waiting batches in it."""
        if self._batches:
            own = table_of(self._sorted(), self.capacity)
            self._batches = []
            self._table = within(joined([self._table, own]), self.capacity)
        return self._table


def ranked_auroc(scores: ArrayLike, labels: ArrayLike, unit: str) -> Metric:
    """The AUROC of some scores, or why it is not defined; arguments as `RankingCurve` has them."""
    curve = RankingCurve(unit=unit)
    curve.update(scores, labels)
    return curve.measure(auroc)


def _one(batches: list[Batch]) -> Batch:
    """All batches in one; empties the list as it goes, so that memory does not double."""
    kind = np.result_type(*(keys for keys, *_ in batches))
    ends = [sum(map(len, parts)) for parts in zip(*batches, strict=True)]
    every, anomalous, area = np.empty(ends[0], kind), np.empty(ends[1], kind), np.empty(ends[2], np.uint32)
    while batches:
        parts = batches.pop()
        starts = [end - len(part) for end, part in zip(ends, parts, strict=True)]
        every[starts[0] : ends[0]], anomalous[starts[1] : ends[1]] = (
            keys if keys.dtype == kind else widened(keys) for keys in parts[:2]
        )
        area[starts[2] : ends[2]] = parts[2]
        ends = starts
    return every, anomalous, area


def _keys(scores: NDArray[Any]) -> NDArray[np.unsignedinteger]:
    """Of half and single precision as float32, of everything else as float64; raises if one is not finite."""
    kind = np.float32 if scores.dtype in (np.float16, np.float32) else np.float64
    keys = keys_of(scores.astype(kind, copy=False))
    if keys.size and (keys.min() <= LIMITS[kind][0] or keys.max() >= LIMITS[kind][1]):
        bad = np.count_nonzero(~np.isfinite(scores))
        raise ValueError(f"{bad} of {scores.size} scores are not finite")
    return keys
