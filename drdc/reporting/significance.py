"""Whether the difference between DRDC and another method could be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.variants import COMPARED
from drdc.reporting.aggregate import (
    DIGITS,
    HEADLINE,
    MEAN,
    METRICS,
    Measured,
    experiment_name,
    measure,
    metric_notes,
)
from drdc.reporting.declared import table
from drdc.reporting.described import NONE, Methods, further, name_of
from drdc.reporting.formats import Cell, Column, Table
from drdc.runtime.errors import UserError

COLUMNS = (
    Column("categories", decimals=0, unit="pairs"),
    Column("mean difference", decimals=2, unit="percentage points", signed=True),
    *(Column(name, decimals=0, unit="categories") for name in ("wins", "ties", "losses")),
    Column("p (categories)", decimals=4, unit=""),
    Column("category × seed", decimals=0, unit="pairs"),
    Column("p (category × seed)", decimals=4, unit=""),
    Column("pooled difference", decimals=2, unit="percentage points", signed=True),
)
P = 5  # the place of the p over categories
CORRECTED = Column("p (categories), Holm", decimals=4, unit="")
DIFFERENCE = (
    "difference: DRDC − {other} in percentage points, of each category's mean over the seeds that both have; "
    "wins and losses count the categories where DRDC is better and worse."
)
TEST = (
    "p: Wilcoxon's signed-rank test, two-sided, exact, with mean ranks for equal differences; pairs without "
    "a difference are dropped. It is not corrected for looking at several metrics."
)
HOLM = (
    "p (categories), Holm: corrected for the {count} comparisons within a metric by Holm's step-down "
    "procedure (Scandinavian Journal of Statistics 6, 1979); the other p values are not corrected."
)
PAIRS = (
    "The second p takes every category of every seed as a pair. The seeds of one category share their "
    "images and are not independent, so this p tends to be too small; the first is the one to quote."
)
TOGETHER = (
    "pooled difference: of the metric over the images or pixels of all categories together; its mean over "
    "the seeds that both have, not tested."
)
SMALLEST = "The smallest possible p for n pairs is 2/2^n: with fewer than 6 pairs it cannot fall below 0.05."


@table(
    "significance",
    of="scores",
    heading="Significance: is the difference more than chance?",
    section="glance",
    caption="Paired Wilcoxon signed-rank tests of DRDC against base and each method of the configuration.",
)
def significance(scores: pd.DataFrame, described: Methods = NONE) -> Table:
    """DRDC against base and each method: mean difference, wins, ties, losses, Wilcoxon's signed-rank test.

    One p with a pair per category (mean over seeds), one with a pair per category and seed. Only categories
    that are defined for both methods at every seed count, and only seeds that both have. With more than one
    comparison, a further p is corrected for their number within a metric (`holm`).

    Args:
        scores: tidy scores of one experiment.
        described: the methods of the configuration.

    Raises:
        UserError: base or drdc is not there.
    """
    there = set(scores.loc[scores["variant"] == "full", "method"])
    absent = [method for method in COMPARED if method not in there]
    if absent:
        raise UserError(
            "", f"The scores contain no {' and no '.join(absent)} to compare", "score both methods first"
        )
    others = ["base", *(method for method in further(described) if method in there)]
    measured = {
        metric: {other: measure(scores, metric, (other, "drdc")) for other in others} for metric in HEADLINE
    }
    several = len(others) > 1
    rows = tuple(
        (f"{METRICS[metric]}: {name_of(other)}" if several else METRICS[metric], cells)
        for metric, parts in measured.items()
        for other, cells in zip(others, _compared(parts), strict=True)
    )
    columns = (*COLUMNS[: P + 1], CORRECTED, *COLUMNS[P + 1 :]) if several else COLUMNS
    notes = (
        DIFFERENCE.format(other="the other method" if several else "base"), TEST,
        *([HOLM.format(count=len(others))] if several else []), PAIRS, SMALLEST,
        TOGETHER,
        *metric_notes({metric: _noted(parts) for metric, parts in measured.items()}, pooled=True),
    )  # fmt: skip
    against = "base and the methods of the configuration" if several else "base"
    return Table(
        f"DRDC against {against}: {experiment_name(scores)}", "metric: against" if several else "metric",
        columns, rows, notes, best="none", group=len(others) if several else 0,
    )  # fmt: skip


def holm(p: Sequence[float]) -> NDArray[np.float64]:
    """p values corrected for their number m: max over j ≤ i of min(1, (m − j + 1) p_(j)), p sorted.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6,
    1979. NaN stays NaN and does not count.
    """
    values = np.array(p, float)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]
    factors = np.arange(len(order), 0, -1)
    values[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return values


def _compared(parts: dict[str, Measured]) -> list[tuple[Cell, ...]]:
    """The cells of one metric, of each method that DRDC is compared with."""
    rows = [_tested(part, other) for other, part in parts.items()]
    if len(rows) == 1:
        return rows
    corrected = holm([row[P].mean for row in rows])
    return [
        (*row[: P + 1], Cell(float(p), note=row[P].note), *row[P + 1 :])
        for row, p in zip(rows, corrected, strict=True)
    ]


def _tested(part: Measured, other: str) -> tuple[Cell, ...]:
    """The cells of one metric and one comparison, without the corrected p."""
    both = (other, "drdc")
    defined = [c for c in part.categories if all(not np.isnan(part.cell(m, c).mean) for m in both)]
    by_seed = (part.grids["drdc"] - part.grids[other])[defined].dropna() if defined else pd.DataFrame()
    if by_seed.empty:
        why = next((part.cell(m, MEAN).note for m in both if part.cell(m, MEAN).note), "")
        names = f"{name_of(other)} and DRDC"
        return tuple(Cell(note=why or f"{names} share no category or no seed") for _ in COLUMNS)
    differences = by_seed.mean().to_numpy().round(DIGITS)
    pairs = by_seed.to_numpy().ravel().round(DIGITS)
    counts = [np.sum(differences > 0), np.sum(differences == 0), np.sum(differences < 0)]
    numbers = (
        len(differences),
        differences.mean(),
        *counts,
        wilcoxon(differences),
        len(pairs),
        wilcoxon(pairs),
    )
    return (*(Cell(float(number)) for number in numbers), _together(part, both))


def _together(part: Measured, both: tuple[str, str]) -> Cell:
    """The difference over all categories together; empty where the metric is not pooled."""
    if not set(both) <= set(part.pooled):
        return Cell()
    differences = (part.pooled[both[1]] - part.pooled[both[0]]).dropna()
    if differences.empty:
        return Cell(note=next(filter(None, map(part.why_not_pooled.get, both)), "no shared seed"))
    return Cell(float(differences.mean()))


def wilcoxon(differences: NDArray[np.float64]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test without the zeros; 1 if all are zero.

    Exact for any number of pairs and with ties: the share of all 2^n sign patterns with a rank sum as far
    from its mean as the one found. (`scipy.stats.wilcoxon` takes the normal distribution where pairs of more
    than 13 have ties: 0.00065 for 15 wins of which two are equal, instead of 0.00006.)
    """
    nonzero = differences[differences != 0]
    _, place, counts = np.unique(np.abs(nonzero), return_inverse=True, return_counts=True)
    ranks = (2 * np.cumsum(counts) - counts + 1)[place]  # twice the mean rank: an integer
    total = int(ranks.sum())
    smaller = min(positive := int(ranks[nonzero > 0].sum()), total - positive)
    patterns = np.zeros(total + 1)  # of signs, by the sum of the positive ranks
    patterns[0] = 1.0
    for rank in ranks:
        patterns[rank:] += patterns[:-rank].copy()
    return min(1.0, float(2 * patterns[: smaller + 1].sum() / patterns.sum()))


def _noted(parts: dict[str, Measured]) -> Measured:
    """The comparison with base, with the notes of all comparisons of a metric, each once.

    A note that is not of all of them says of which it is.
    """
    against: dict[str, list[str]] = {}
    for other, part in parts.items():
        for note in part.notes:
            against.setdefault(note, []).append(name_of(other))
    return replace(
        parts["base"],
        notes=tuple(
            note if len(others) == len(parts) else f"against {', '.join(others)}: {note}"
            for note, others in against.items()
        ),
        why_not_pooled={m: why for part in parts.values() for m, why in part.why_not_pooled.items()},
        pooled_approximate=tuple(dict.fromkeys(n for p in parts.values() for n in p.pooled_approximate)),
    )
