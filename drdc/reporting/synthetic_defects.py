"""Table of the self-check: what each method finds of synthetic defects in held-out normal images."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan

import pandas as pd

from drdc.config.names import ALL
from drdc.evaluation.self_check import MEASURES, summary
from drdc.reporting.declared import table
from drdc.reporting.described import NONE, Methods, imported, name_of
from drdc.reporting.formats import Cell, Column, Table

#: Shares of the image at which sizes are told apart: smaller, between, larger.
SIZES = {"small": (0.0, 0.003), "medium": (0.003, 0.01), "large": (0.01, 1.0)}
NOTES = (
    "synthetic defects, the same for all methods, drawn into held-out normal images of the first seed; the "
    "threshold is that of `drdc detect`, from the same images without them.",
    "by size: defects that cover less than 0.3 %, up to 1 %, and more of the image.",
    "They are not the defects that will come: this table says whether changes of such a size and contrast "
    "are seen at all, and which method sees them better.",
)


@table(
    "synthetic_defects",
    of="self_check",
    heading="Self-check: what the models find of synthetic defects.",
    section="thresholds",
    caption="""
    Cut-and-paste, scratches, stains, missing parts, foreign texture and blur, drawn into normal images that
    no model was trained on. No real defect is needed; pictures are in `self_check/`.
    """,
)
def synthetic_defects(found: Mapping[str, pd.DataFrame], described: Methods = NONE) -> Table:
    """A row for each method and category, and one over all; in percent.

    Args:
        found: rows of `self_check/<method>.csv` by method.
        described: the methods of the configuration.
    """
    first = next(iter(found.values()))
    kinds = list(dict.fromkeys(first.loc[first["kind"] != "", "kind"]))
    categories = [*sorted(set(first["category"])), ALL]
    titles = {name: "all categories" if name == ALL else name for name in categories}
    rows = tuple(
        (f"{titles[category]}: {name_of(name)}", _cells(rows, category, kinds))
        for category in categories
        for name, rows in found.items()
    )
    columns = (
        *(Column(label) for label in MEASURES.values()),
        *(Column(f"detected: {name}") for name in (*kinds, *SIZES)),
    )
    many = len(found)
    return Table(
        "Self-check on synthetic defects (%)", "category", columns, rows,
        (*NOTES, *imported(described, "a self-check and a detector")),
        best="column" if many > 1 else "none", group=many if many > 1 else 0, footer=many,
    )  # fmt: skip


def _cells(rows: pd.DataFrame, category: str, kinds: list[str]) -> tuple[Cell, ...]:
    own = rows if category == ALL else rows[rows["category"] == category]
    found = summary(own, by="kind")
    of_kinds = found["detection_rate"].reindex(kinds)
    of_sizes = [
        own.loc[(own["share"] >= low) & (own["share"] < high), "anomalous"].mean()
        for low, high in SIZES.values()
    ]
    values = (*found.loc[ALL, list(MEASURES)], *of_kinds, *of_sizes)
    return tuple(Cell(note="no such defect") if isnan(value) else Cell(100 * value) for value in values)
