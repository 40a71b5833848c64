"""The effect of the refinement on each defect type."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd

from drdc.config.variants import COMPARED
from drdc.reporting.aggregate import DIGITS, check_fractions, in_paper_order, over_seeds, reason, reason_notes
from drdc.reporting.declared import table
from drdc.reporting.described import NONE, Methods, further, name_of
from drdc.reporting.formats import Cell, Column, Table
from drdc.results.scores import typed
from drdc.runtime.errors import UserError

TEXTS = ("seed", "method", "category", "defect_type", "metric", "note")
IMAGES = Column("images", decimals=0, unit="images")
CHANGE = Column("change of Image AUROC", unit="percentage points", signed=True)
AT = 3  # the place of the change among the columns


@table(
    "defects",
    of="defects",
    heading="Defect types: which improved, which worsened.",
    caption="""
    One row for each defect type: a negative change means that the base model ranked these images better.
    With few images, changes are large.
    """,
)
def defects(defects: pd.DataFrame, described: Methods = NONE) -> Table:
    """Image and pixel AUROC of base and DRDC for each defect type, and the change of the image AUROC.

    Between them the image AUROC of each method of the configuration. Rows are sorted by category, then from
    the largest improvement to the largest loss. A category without anomalous test images has one row, with
    defect type "".

    Args:
        defects: rows of defects.csv: seed, method, category, defect_type, images, metric (image_auroc: this
            type against the category's good test images, pixel_auroc: pixels of this type's images only),
            value (fraction), note.
        described: the methods of the configuration.

    Raises:
        UserError: no rows, missing columns, or values that repeat or leave [0, 1].
    """
    frame = typed(defects, TEXTS, ("images", "value"), "defects.csv")
    if frame.empty:
        raise UserError("", "defects.csv has no rows", "score this experiment first")
    check_fractions(frame, ("seed", "method", "category", "defect_type", "metric"), "defects")
    columns, keys = _columns(further(described))
    seeds = sorted(frame["seed"].unique())
    rows = []
    for category in in_paper_order(frame["category"].unique()):
        part = frame[frame["category"] == category]
        lines = [
            (f"{category}: {name!s}" if name else category, _row(own, seeds, keys))
            for name, own in part.groupby("defect_type")
        ]
        rows += sorted(lines, key=lambda line: -np.nan_to_num(line[1][AT].mean, nan=-np.inf))
    notes = (*_notes(rows, len(seeds)), *_undefined(rows, columns))
    whose = "base, DRDC and the methods of the configuration" if further(described) else "base and DRDC"
    caption = f"AUROC (%) per defect type: {whose}"
    return Table(caption, "category: defect type", columns, tuple(rows), notes, best="none")


def _columns(others: list[str]) -> tuple[tuple[Column, ...], list[tuple[str, str]]]:
    """All columns, and (method, metric) of those that show one."""
    keys = [*product(COMPARED, ["image_auroc"]), *product(others, ["image_auroc"])]
    keys += product(COMPARED, ["pixel_auroc"])
    heads = {"image_auroc": "Image AUROC", "pixel_auroc": "Pixel AUROC"}
    shown = [Column(f"{name_of(method)} {heads[metric]}") for method, metric in keys]
    return (IMAGES, *shown[: AT - 1], CHANGE, *shown[AT - 1 :]), keys


def _row(rows: pd.DataFrame, seeds: list[str], keys: list[tuple[str, str]]) -> tuple[Cell, ...]:
    """The cells of one defect type."""
    parts = dict(list(rows.groupby(["method", "metric"])))
    values, why = {}, {}
    for key in keys:
        part = parts.get(key, rows.iloc[:0])
        values[key] = part.set_index("seed")["value"].reindex(seeds).mul(100.0)
        why[key] = reason(values[key], part)
    base, refined = ((method, "image_auroc") for method in COMPARED)
    change = over_seeds(values[refined] - values[base], why[refined] or why[base])
    cells = [over_seeds(values[key], why[key]) for key in keys]
    return Cell(float(rows["images"].max())), *cells[: AT - 1], change, *cells[AT - 1 :]


def _notes(rows: list[tuple[str, tuple[Cell, ...]]], seeds: int) -> tuple[str, ...]:
    changes = [round(cells[AT].mean, DIGITS) for _, cells in rows if not np.isnan(cells[AT].mean)]
    improved = sum(change > 0 for change in changes)
    worsened = sum(change < 0 for change in changes)
    return (
        f"mean ± standard deviation over {seeds} seeds." if seeds > 1 else "one seed, hence no spread.",
        f"change: DRDC − base in percentage points; {improved} defect types improved, {worsened} worsened, "
        f"{len(changes) - improved - worsened} stayed the same.",
        "Image AUROC: images of this type against the category's good test images, few of each, so that one "
        "image can move it by several points; Pixel AUROC: pixels of this type's images only.",
    )


def _undefined(rows: list[tuple[str, tuple[Cell, ...]]], columns: tuple[Column, ...]) -> tuple[str, ...]:
    """Why AUROCs have no number; the change has none for the same reason."""
    places = [(i, column.label) for i, column in enumerate(columns) if i != AT]
    return reason_notes({(head, label): cells[i].note for label, cells in rows for i, head in places})
