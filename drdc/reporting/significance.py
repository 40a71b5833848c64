"""What the refinement changes: defect type by defect type, and whether the difference could be chance."""

from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from drdc.evaluation.category import COMPARED
from drdc.reporting.aggregate import (
    MEAN,
    METRICS,
    Measured,
    check_fractions,
    experiment_name,
    in_paper_order,
    measure,
    metric_notes,
    over_seeds,
    reason,
    reason_notes,
)
from drdc.reporting.formats import Cell, Column, Table
from drdc.results.scores import typed
from drdc.runtime.errors import UserError

DEFECT_TEXTS = ("seed", "method", "category", "defect_type", "metric", "note")
DEFECT_COLUMNS = (
    Column("images", decimals=0, unit="images"),
    Column("base Image AUROC"),
    Column("DRDC Image AUROC"),
    Column("change of Image AUROC", unit="percentage points", signed=True),
    Column("base Pixel AUROC"),
    Column("DRDC Pixel AUROC"),
)
CHANGE = 3  # its place among the columns
DIGITS = 9  # of differences in percentage points; what is smaller comes from rounding in the sums
TEST_NOTES = (
    "difference: DRDC − base in percentage points, of each category's mean over the seeds that both have; "
    "wins and losses count the categories where DRDC is better and worse.",
    "p: Wilcoxon's signed-rank test, two-sided, exact for small samples; pairs without a difference are "
    "dropped. It is not corrected for looking at seven metrics.",
    "The second p takes every category of every seed as a pair. The seeds of one category share their "
    "images and are not independent, so this p tends to be too small; the first is the one to quote.",
    "The smallest possible p for n pairs is 2/2^n: with fewer than 6 pairs it cannot fall below 0.05.",
)


def defects(defects: pd.DataFrame) -> Table:
    """Image and pixel AUROC of base and DRDC for each defect type, and the change of the image AUROC.

    `defects`: rows of defects.csv: seed, method (base | drdc), category, defect_type, images, metric
    (image_auroc: this type against the category's good test images, pixel_auroc: pixels of this type's images
    only), value (fraction), note. Rows are sorted by category, then from the largest gain to the largest
    loss. A category without anomalous test images has one row, with defect type "".
    Raises `UserError` for no rows, missing columns, or values that repeat or leave [0, 1].
    """
    frame = typed(defects, DEFECT_TEXTS, ("images", "value"), "defects.csv")
    if frame.empty:
        raise UserError("", "defects.csv holds no rows", "score this experiment first")
    check_fractions(frame, ("seed", "method", "category", "defect_type", "metric"), "defects")
    seeds = sorted(frame["seed"].unique())
    rows = []
    for category in in_paper_order(frame["category"].unique()):
        part = frame[frame["category"] == category]
        lines = [
            (f"{category}: {name}" if name else category, _defect(part[part["defect_type"] == name], seeds))
            for name in sorted(part["defect_type"].unique())
        ]
        rows += sorted(lines, key=lambda line: -np.nan_to_num(line[1][CHANGE].mean, nan=-np.inf))
    notes = (*_defect_notes(rows, len(seeds)), *_undefined(rows))
    caption = "AUROC (%) per defect type: base and DRDC"
    return Table(caption, "category: defect type", DEFECT_COLUMNS, tuple(rows), notes, best="none")


def significance(scores: pd.DataFrame) -> Table:
    """DRDC against base for each metric: mean difference, wins, ties, losses, Wilcoxon's signed-rank test.

    One p with a pair per category (mean over seeds), one with a pair per category and seed. Only categories
    that are defined for both methods at every seed count, and only seeds that both have. `scores`: tidy
    scores of one experiment. Raises `UserError` unless both base and drdc are there.
    """
    absent = [m for m in COMPARED if m not in set(scores.loc[scores["variant"] == "full", "method"])]
    if absent:
        raise UserError(
            "", f"The scores hold no {' and no '.join(absent)} to compare", "score both methods first"
        )
    measured = {metric: measure(scores, metric, COMPARED) for metric in METRICS}
    rows = tuple((METRICS[metric], _tested(part)) for metric, part in measured.items())
    columns = (
        Column("categories", decimals=0, unit="pairs"),
        Column("mean difference", decimals=2, unit="percentage points", signed=True),
        *(Column(name, decimals=0, unit="categories") for name in ("wins", "ties", "losses")),
        Column("p (categories)", decimals=4, unit=""),
        Column("category × seed", decimals=0, unit="pairs"),
        Column("p (category × seed)", decimals=4, unit=""),
    )
    caption = f"DRDC against base: {experiment_name(scores)}"
    notes = (*TEST_NOTES, *metric_notes(measured))
    return Table(caption, "metric", columns, rows, notes, best="none")


def _defect(rows: pd.DataFrame, seeds: list[str]) -> tuple[Cell, ...]:
    """The cells of one defect type, in the order of `DEFECT_COLUMNS`."""
    parts = dict(list(rows.groupby(["method", "metric"])))
    values, why = {}, {}
    for key in product(COMPARED, ("image_auroc", "pixel_auroc")):
        part = parts.get(key, rows.iloc[:0])
        values[key] = part.set_index("seed")["value"].reindex(seeds).mul(100.0)
        why[key] = reason(values[key], part)
    base, refined = ((method, "image_auroc") for method in COMPARED)
    change = over_seeds(values[refined] - values[base], why[refined] or why[base])
    cells = [
        over_seeds(values[method, metric], why[method, metric])
        for metric in ("image_auroc", "pixel_auroc")
        for method in COMPARED
    ]
    return Cell(float(rows["images"].max())), *cells[:2], change, *cells[2:]


def _defect_notes(rows: list[tuple[str, tuple[Cell, ...]]], seeds: int) -> tuple[str, ...]:
    changes = [round(cells[CHANGE].mean, DIGITS) for _, cells in rows if not np.isnan(cells[CHANGE].mean)]
    gained = sum(change > 0 for change in changes)
    lost = sum(change < 0 for change in changes)
    return (
        f"mean ± standard deviation over {seeds} seeds." if seeds > 1 else "one seed, hence no spread.",
        f"change: DRDC − base in percentage points; {gained} defect types gained, {lost} lost, "
        f"{len(changes) - gained - lost} stayed the same.",
        "Image AUROC: images of this type against the category's good test images, few of each, so that one "
        "image can move it by several points; Pixel AUROC: pixels of this type's images only.",
    )


def _undefined(rows: list[tuple[str, tuple[Cell, ...]]]) -> tuple[str, ...]:
    """Why AUROCs have no number; the change has none for the same reason."""
    places = [(i, column.label) for i, column in enumerate(DEFECT_COLUMNS) if i != CHANGE]
    return reason_notes({(head, label): cells[i].note for label, cells in rows for i, head in places})


def _tested(part: Measured) -> tuple[Cell, ...]:
    """The cells of one metric."""
    defined = [c for c in part.categories if all(not np.isnan(part.cell(m, c).mean) for m in COMPARED)]
    by_seed = (part.grids["drdc"] - part.grids["base"])[defined].dropna() if defined else pd.DataFrame()
    if by_seed.empty:
        why = next((part.cell(m, MEAN).note for m in COMPARED if part.cell(m, MEAN).note), "")
        return tuple(Cell(note=why or "base and DRDC share no category or no seed") for _ in range(8))
    differences = by_seed.mean().to_numpy().round(DIGITS)
    pairs = by_seed.to_numpy().ravel().round(DIGITS)
    counts = [np.sum(differences > 0), np.sum(differences == 0), np.sum(differences < 0)]
    numbers = (len(differences), differences.mean(), *counts, _p(differences), len(pairs), _p(pairs))
    return tuple(Cell(float(number)) for number in numbers)


def _p(differences: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test without the zeros; 1 if there is nothing else."""
    nonzero = differences[differences != 0]
    return float(wilcoxon(nonzero).pvalue) if len(nonzero) else 1.0
