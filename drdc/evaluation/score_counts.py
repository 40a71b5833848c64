"""How many anomalous and normal scores there are, in order of score: what every ranking metric needs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Of each total, what a merged row of a table of `capacity` rows holds at most: 2^-20 of the default's.
SHARE_BY_CAPACITY = 4

_STEPS, _SOUGHT, _KEYS = 8, 2048, 2**17
Indices = NDArray[np.intp]
Keys = NDArray[np.uint64]


class Table(NamedTuple):
    """Counts in ascending order of score; a row stands for the keys from `key` to key + 2^level - 1."""

    key: Keys
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


class Scores(NamedTuple):
    """The keys (`keys_of`) of scores of both kinds, and those of the anomalous ones of them again.

    Attributes:
        every: (N,) ascending.
        anomalous: (M,) distinct and ascending.
        counts: (M,) how many anomalous scores have that key.
        region_weight: (M,) sum of their 1 / area.
        first: (M,) how many of `every` are smaller.
    """

    every: NDArray[np.unsignedinteger]
    anomalous: NDArray[np.unsignedinteger]
    counts: NDArray[np.int64]
    region_weight: NDArray[np.float64]
    first: Indices


def keys_of(scores: NDArray[np.floating]) -> NDArray[np.unsignedinteger]:
    """Integers in the order of the scores: IEEE 754 bits with the sign flipped, negatives complemented.

    They sort as fast as the scores do, and are searched in half the time.

    Args:
        scores: any shape, float32 or float64; -0.0 is the same as 0.0.

    Returns:
        (N,) uint32 or uint64.
    """
    values = scores.flatten()
    for start in range(0, len(values), _KEYS):  # so few that they stay in cache
        piece = values[start : start + _KEYS]
        piece += 0
        bits = piece.view(f"i{scores.itemsize}")
        flipped = bits >> (8 * scores.itemsize - 1)
        flipped |= np.iinfo(bits.dtype).min
        bits ^= flipped
    return values.view(f"u{scores.itemsize}")


def scores_of(keys: NDArray[np.unsignedinteger]) -> NDArray[np.floating]:
    """The inverse of `keys_of`."""
    sign = keys.dtype.type(1 << (8 * keys.itemsize - 1))
    bits: NDArray[Any] = np.where(keys & sign, keys ^ sign, ~keys)
    return bits.view(f"f{keys.itemsize}")


def widened(keys: NDArray[np.unsignedinteger]) -> Keys:
    """The keys of the same scores as float64."""
    return keys if keys.dtype == np.uint64 else keys_of(scores_of(keys).astype(np.float64))


def _narrowed(keys: Keys, kind: np.dtype[Any]) -> NDArray[np.unsignedinteger]:
    """The smallest keys of a type that are at least these when widened."""
    if kind == np.uint64:
        return keys
    scores = scores_of(keys)
    narrow = scores.astype(np.float32)
    return keys_of(np.where(narrow < scores, np.nextafter(narrow, np.float32(np.inf)), narrow))


def in_order(
    every: NDArray[np.unsignedinteger], anomalous: NDArray[np.unsignedinteger], area: NDArray[np.uint32]
) -> Scores:
    """Scores in order; `every` is sorted in place.

    Args:
        every: (N,) keys of scores of both kinds, in any order.
        anomalous: (M,) keys of the anomalous ones of them.
        area: (M,) pixels of the region of each of these, 0 outside all regions.
    """
    every.sort()
    anomalous, area = _by_key(anomalous, area)
    start = _run_starts(anomalous[1:] != anomalous[:-1], len(anomalous))
    count, distinct = np.diff(start, append=len(anomalous)), anomalous[start]
    weight = np.divide(1.0, area, out=np.zeros(len(area)), where=area > 0)
    return Scores(every, distinct, count, _over_runs(np.add, weight, start), _first_of(every, distinct))


def _first_of(every: NDArray[np.unsignedinteger], wanted: NDArray[np.unsignedinteger]) -> Indices:
    """`every.searchsorted(wanted)` of ascending keys, in pieces that take fewer steps and stay in cache."""
    edges = np.append(every.searchsorted(wanted[::_SOUGHT]), len(every))
    found = [
        every[low:high].searchsorted(wanted[piece * _SOUGHT : (piece + 1) * _SOUGHT]) + low
        for piece, (low, high) in enumerate(pairwise(edges))
    ]
    return np.concatenate([np.empty(0, dtype=np.intp), *found])


def _by_key(
    keys: NDArray[np.unsignedinteger], area: NDArray[np.uint32]
) -> tuple[NDArray[np.unsignedinteger], NDArray[np.uint32]]:
    """Keys in ascending order with their areas, equal ones by area: the order of arrival changes no sum."""
    if keys.dtype == np.uint64:
        order = np.lexsort((area, keys))
        return keys[order], area[order]
    pairs = keys.astype(np.uint64) << np.uint64(32) | area  # sorts several times faster than an index
    pairs.sort()
    return (pairs >> np.uint64(32)).astype(np.uint32), pairs.astype(np.uint32)


def exact_ranks(scores: Scores) -> Ranks:
    """A row for each distinct anomalous score, and one for all normal scores between two of them.

    Merging normal scores alone changes no metric, so no table of them is needed.
    """
    end = _ends(scores)
    edges = np.empty(2 * len(end) + 2, dtype=np.int64)
    edges[0], edges[1:-1:2], edges[2::2], edges[-1] = 0, scores.first, end, len(scores.every)
    anomalous, weight = np.zeros(len(edges) - 1, dtype=np.int64), np.zeros(len(edges) - 1)
    anomalous[1::2], weight[1::2] = scores.counts, scores.region_weight
    normal = np.diff(edges) - anomalous
    rows = slice(None if anomalous[-1] + normal[-1] else -1)  # TP + FP > 0 at every threshold
    return Ranks(anomalous[rows], normal[rows], weight[rows], np.zeros(len(edges) - 1, dtype=bool)[rows])


def _ends(scores: Scores) -> Indices:
    """How many of all scores are smaller than each anomalous one or equal to it, (M,).

    Few normal scores equal one of them as a rule, so that a few steps from it save the search for the end.
    """
    end = scores.first + scores.counts
    tied = np.arange(len(end))
    for step in range(_STEPS + 1):
        tied = tied[scores.every.take(end[tied], mode="clip") == scores.anomalous[tied]]
        if step < _STEPS:
            end[tied] += 1
    end[tied] = scores.every.searchsorted(scores.anomalous[tied], "right")
    return end


def empty_table() -> Table:
    """A table without rows."""
    none = np.empty(0, np.int64)
    return Table(np.empty(0, np.uint64), np.empty(0, np.uint8), none, none, np.empty(0))


def table_of(scores: Scores, capacity: int) -> Table:
    """A row for each distinct score; with more than `capacity` of these, at most 7/8 of that many rows."""
    changes = scores.every[1:] != scores.every[:-1]
    order = _order_of_scores(scores)
    few = np.count_nonzero(changes) < capacity
    first = _run_starts(changes, order.size) if few else _cells_within(order, capacity)
    return _rows(order, first, np.zeros(len(first), dtype=np.uint8))


def within(table: Table, capacity: int) -> Table:
    """`table` itself if it has at most `capacity` rows, else a compressed copy of at most 7/8 of that."""
    if len(table.key) <= capacity:
        return table
    order = _order_of_rows(table)
    first = _cells_within(order, capacity)
    return _rows(order, first, table.level[first])


def joined(tables: list[Table]) -> Table:
    """One table of several: equal scores add up, and a merged row takes in every row inside its interval."""
    rows = [np.concatenate(column) for column in zip(*tables, strict=True)]
    order = np.argsort(rows[0], kind="stable")  # stable: merges the sorted tables in linear time
    key, level, *counts = (column.take(order) for column in rows)
    last = np.maximum.accumulate(key | _low_bits(level))
    first = _run_starts(key[1:] > last[:-1], len(key))
    level = _over_runs(np.maximum, level, first)
    return Table(key[first], level, *(_over_runs(np.add, column, first) for column in counts))


class _Order(NamedTuple):
    """Scores or rows of a table in ascending order, by their index.

    Attributes:
        size: how many.
        keys: of those at some indices.
        find: the first index whose key is at least each of some keys.
        before: (3, ...) anomalous and normal scores and region weight before some indices.
    """

    size: int
    keys: Callable[[Indices], Keys]
    find: Callable[[Keys], Indices]
    before: Callable[[Indices], NDArray[np.float64]]


def _order_of_scores(scores: Scores) -> _Order:
    every, kind = scores.every, scores.every.dtype
    counts, weights = (np.append(0, np.cumsum(column)) for column in (scores.counts, scores.region_weight))

    def before(index: Indices) -> NDArray[np.float64]:
        values = scores.first.searchsorted(index)
        return np.stack([counts[values], index - counts[values], weights[values]])

    return _Order(
        len(every),
        lambda index: widened(every[index]),
        lambda keys: every.searchsorted(_narrowed(keys, kind)),
        before,
    )


def _order_of_rows(table: Table) -> _Order:
    columns = np.stack([np.append(0, np.cumsum(column)) for column in table[2:]])
    return _Order(len(table.key), table.key.take, table.key.searchsorted, lambda index: columns[:, index])


def _rows(order: _Order, first: Indices, level: NDArray[np.uint8]) -> Table:
    """The table whose rows begin at some indices, each as narrow as its scores or rows allow.

    Args:
        order: of the scores or rows.
        first: (R,) indices.
        level: (R,) of the rows at these.
    """
    edges = np.append(first, order.size)
    low = order.keys(first)
    level = np.maximum(level, bit_length(low ^ order.keys(edges[1:] - 1)))
    anomalous, normal, weight = np.diff(order.before(edges))
    return Table(low & ~_low_bits(level), level, anomalous.astype(np.int64), normal.astype(np.int64), weight)


def _cells_within(order: _Order, capacity: int) -> Indices:
    """Where the cells begin, at most 7/8 of `capacity` of them and as narrow as that allows.

    Up to 3/4 are for equal shares of the scores, the others for what is widest then: a range with few scores
    may get many later, which all join the cells that are there.
    """
    share = SHARE_BY_CAPACITY / capacity
    while len(first := _cells(order, share)) > 3 * capacity // 4:
        share *= 2
    return _widest_halved(order, first, 7 * capacity // 8)


def _widest_halved(order: _Order, first: Indices, wanted: int) -> Indices:
    """Where the cells begin after the widest of them were halved, level by level, up to a number of cells."""
    start, end = first, np.append(first[1:], order.size)
    level = bit_length(order.keys(start) ^ order.keys(end - 1))
    while len(start) < wanted and (widest := level.max(initial=0)):
        chosen = np.flatnonzero(level == widest)[: wanted - len(start)]
        middle = _middle(order, order.keys(end[chosen] - 1), level[chosen])
        start, end = np.append(start, middle), np.append(end, end[chosen])
        end[chosen] = middle
        halves = np.append(chosen, np.arange(len(level), len(start)))
        level = np.append(level, np.zeros(len(middle), np.uint8))
        level[halves] = bit_length(order.keys(start[halves]) ^ order.keys(end[halves] - 1))
    return np.sort(start)


def _cells(order: _Order, share: float) -> Indices:
    """Where the largest binary cells begin that hold one key or at most `share` of each total.

    A cell of level L is the 2^L keys that agree above their L lowest bits. From all scores downwards, what
    holds more is halved where its smallest and its largest key first differ.
    """
    start, end = np.array([0]), np.array([order.size])
    below, upto = order.before(start), order.before(end)
    allowed, found = share * upto, []
    while len(start):
        high = order.keys(end - 1)
        level = bit_length(order.keys(start) ^ high)
        halved = (upto - below > allowed).any(0) & (level > 0) | (level == 64)  # 64: of both signs
        found.append(start[~halved])
        start, end, below, upto = start[halved], end[halved], below[:, halved], upto[:, halved]
        middle = _middle(order, high[halved], level[halved])
        at_middle = order.before(middle)
        start, end = _alternating(start, middle), _alternating(middle, end)
        below, upto = _alternating(below, at_middle), _alternating(at_middle, upto)
    return np.sort(np.concatenate(found))


def _middle(order: _Order, high: Keys, level: NDArray[np.uint8]) -> Indices:
    """Where the upper halves of cells begin, given their largest keys."""
    return order.find(high & ~_low_bits(level - np.uint8(1)))


def _alternating(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Two arrays (..., N) as (..., 2N), one of this and one of that."""
    return np.stack([left, right], axis=-1).reshape(*left.shape[:-1], -1)


def _run_starts(changes: NDArray[np.bool_], length: int) -> Indices:
    """First index of each run, given whether each element differs from the one before it."""
    return np.flatnonzero(np.append(True, changes)[:length])


def _over_runs(operation: np.ufunc, column: NDArray[Any], first: Indices) -> NDArray[Any]:
    return operation.reduceat(column, first) if len(first) < len(column) else column


def _low_bits(level: NDArray[np.uint8]) -> Keys:
    """Integers whose `level` lowest bits are set; level < 64."""
    return (np.uint64(1) << level.astype(np.uint64)) - np.uint64(1)


def bit_length(numbers: Keys) -> NDArray[np.uint8]:
    """Bits up to the highest set one; the bit after it is cleared lest float64 round up to the next power."""
    return np.frexp((numbers & ~(numbers >> np.uint64(1))).astype(np.float64))[1].astype(np.uint8)
