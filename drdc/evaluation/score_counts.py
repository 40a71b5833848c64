"""How many anomalous and normal scores there are, in order of score: what every ranking metric needs."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CELL_SHARE = 2.0**-20


class Table(NamedTuple):
    """Counts in ascending order of score; a row stands for the keys from `key` to key + 2^level - 1."""

    key: NDArray[np.uint64]
    level: NDArray[np.uint8]
    anomalous: NDArray[np.int64]
    normal: NDArray[np.int64]
    region_weight: NDArray[np.float64]


class Ranks(NamedTuple):
    """Counts in ascending order of score; `merged` rows hold several scores of both kinds."""

    anomalous: NDArray[np.int64]
    normal: NDArray[np.int64]
    region_weight: NDArray[np.float64]
    merged: NDArray[np.bool_]

    def pairs(self) -> float:
        """Pairs of an anomalous and a normal score."""
        return float(self.anomalous.sum()) * float(self.normal.sum())

    def from_top(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """TP and TP + FP at every threshold, highest threshold first."""
        return np.cumsum(self.anomalous[::-1]), np.cumsum((self.anomalous + self.normal)[::-1])

    def auroc_error_bound(self) -> float:
        """Largest possible error of the AUROC: sum over merged rows of p n / (2 P N); 0.0 while exact."""
        inside = np.sum(self.normal[self.merged] * self.anomalous[self.merged].astype(np.float64))
        return float(inside / (2 * self.pairs())) if inside else 0.0


def exact_ranks(normal: NDArray[Any], anomalous: NDArray[Any], weight: NDArray[Any]) -> Ranks:
    """A row for each distinct anomalous score, and one for all normal scores between two of them.

    Merging normal scores alone changes no metric, so no table of them is needed.

    Args:
        normal, anomalous: (N,) and (M,) finite scores in any order.
        weight: (M,) region weights of the anomalous ones.
    """
    order = np.argsort(anomalous, kind="stable")
    scores = anomalous[order]
    first = _run_starts(scores[1:] != scores[:-1], len(scores))
    normal = np.sort(normal)  # several times faster than an argsort
    ends = [np.searchsorted(normal, scores[first], side) for side in ("left", "right")]
    edges = np.concatenate([[0], np.stack(ends, axis=1).ravel(), [len(normal)]])
    ranks = np.zeros((3, len(edges) - 1))
    ranks[0, 1::2] = np.diff(first, append=len(scores))
    ranks[1] = np.diff(edges)
    ranks[2, 1::2] = _over_runs(np.add, weight[order].astype(np.float64), first)
    ranks = ranks[:, ranks[:2].any(0)]
    counts = ranks[:2].astype(np.int64)
    return Ranks(counts[0], counts[1], ranks[2], np.zeros(len(counts[0]), dtype=bool))


def _ordered_keys(scores: NDArray[Any]) -> NDArray[np.uint64]:
    """Integers in the order of the scores: IEEE 754 bits with the sign flipped, negatives complemented."""
    bits = (scores.astype(np.float64) + 0.0).view(np.int64)  # + 0.0 makes -0.0 equal to 0.0
    return bits.view(np.uint64) ^ ((bits >> 63).view(np.uint64) | np.uint64(2**63))


def normal_table(scores: NDArray[Any]) -> Table:
    """A row for each distinct one of these normal scores, (N,) finite numbers in any order."""
    scores = np.sort(scores)  # several times faster than an argsort
    first = _run_starts(scores[1:] != scores[:-1], len(scores))
    counts, none = np.diff(first, append=len(scores)), np.zeros(len(first), dtype=np.int64)
    return Table(_ordered_keys(scores[first]), none.astype(np.uint8), none, counts, none.astype(np.float64))


def anomalous_table(scores: NDArray[Any], region_weight: NDArray[Any]) -> Table:
    """A row for each distinct one of these anomalous scores, (N,), with their region weights, (N,)."""
    order = np.argsort(scores, kind="stable")
    scores = scores[order]
    first = _run_starts(scores[1:] != scores[:-1], len(scores))
    counts, none = np.diff(first, append=len(scores)), np.zeros(len(first), dtype=np.int64)
    weight = _over_runs(np.add, region_weight[order].astype(np.float64), first)
    return Table(_ordered_keys(scores[first]), none.astype(np.uint8), counts, none, weight)


def _run_starts(changes: NDArray[np.bool_], length: int) -> NDArray[np.intp]:
    """First index of each run, given whether each element differs from the one before it."""
    return np.flatnonzero(np.append(True, changes)[:length])


def _over_runs(operation: np.ufunc, column: NDArray[Any], first: NDArray[np.intp]) -> NDArray[Any]:
    return operation.reduceat(column, first) if len(first) < len(column) else column


def joined(tables: list[Table]) -> Table:
    """One table of several: equal scores add up, and a merged row takes in every row inside its interval."""
    rows = [np.concatenate(column) for column in zip(*tables, strict=True)]
    order = np.argsort(rows[0], kind="stable")  # stable: merges the sorted tables in linear time
    key, level, *counts = (column.take(order) for column in rows)
    last = np.maximum.accumulate(key | _low_bits(level))
    first = _run_starts(key[1:] > last[:-1], len(key))
    level = _over_runs(np.maximum, level, first)
    return Table(key[first], level, *(_over_runs(np.add, column, first) for column in counts))


def within(table: Table, capacity: int) -> Table:
    """`table` itself if it has at most `capacity` rows, else a compressed copy of at most 3/4 of that."""
    if len(table.key) <= capacity:
        return table
    share = CELL_SHARE
    table = _compressed(table, share, capacity // 2)
    while len(table.key) > 3 * capacity // 4:
        share *= 2
        table = _compressed(table, share, capacity // 2)
    return table


def _compressed(table: Table, share: float, rows: int) -> Table:
    """Merge rows into growing binary cells, up to `share` of each total, until at most `rows` are left.

    A cell of level L is the 2^L keys that agree above their L lowest bits. Its halves meet where neighbouring
    keys first differ in bit L - 1; each half is a single row if its other neighbour differs further up.
    """
    start = np.arange(len(table.key) + 1)
    before = [np.append(0, np.cumsum(column)) for column in table[2:]]
    meet = bit_length(table.key[1:] ^ table.key[:-1])
    for level in range(1, 64):  # 64 would join negative and positive scores
        if len(start) <= rows + 1:
            break
        left = np.flatnonzero(meet == level)
        around = np.pad(meet, 1, constant_values=64)
        left = left[(around[left] > level) & (around[left + 2] > level)]
        for total in before:
            left = left[total[start[left + 2]] - total[start[left]] <= share * total[-1]]
        if len(left):
            start, meet = np.delete(start, left + 1), np.delete(meet, left)
    first, last = start[:-1], start[1:] - 1
    levels = np.maximum(table.level[first], bit_length(table.key[first] ^ table.key[last]))
    keys = table.key[first] & ~_low_bits(levels)
    return Table(keys, levels, *(_over_runs(np.add, column, first) for column in table[2:]))


def _low_bits(level: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Integers whose `level` lowest bits are set; level < 64."""
    return (np.uint64(1) << level.astype(np.uint64)) - np.uint64(1)


def bit_length(numbers: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Bits up to the highest set one; the bit after it is cleared lest float64 round up to the next power."""
    return np.frexp((numbers & ~(numbers >> np.uint64(1))).astype(np.float64))[1].astype(np.uint8)
