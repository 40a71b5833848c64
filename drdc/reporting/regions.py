"""What resizing does to the regions of the ground truth."""

from __future__ import annotations

import pandas as pd

from drdc.reporting.aggregate import in_paper_order
from drdc.reporting.declared import table
from drdc.reporting.formats import Cell, Column, Table

ALL = "all together"
COLUMNS = {
    "masks": Column("masks", unit="masks"),
    "lost": Column("of these without a pixel left", unit="masks"),
    "regions": Column("regions", unit="regions"),
    "vanished": Column("vanished", unit="regions"),
    "split": Column("split", unit="regions"),
    "merged": Column("merged", unit="regions"),
    "left": Column("regions after resizing", unit="regions"),
}
NOTES = (
    "regions: 8-connected areas of the ground truth at the size of its file, the unit of AUPRO; vanished: no "
    "pixel left; split: in several parts; merged: touches another region.",
    "Resized by nearest neighbour to dataset.image_size; pixel metrics are computed on what is left.",
)


@table(
    "regions",
    of="regions",
    heading="Ground truth: what resizing does to it.",
    section="data",
    caption="""
    The masks are resized by nearest neighbour, as in the literature: thin defects lose pixels, fall apart
    or vanish. A mask without a pixel left counts as normal in every pixel metric, and each part of a
    region that fell apart counts as a region of its own in AUPRO.
    """,
)
def regions(regions: pd.DataFrame) -> Table:
    """Masks and regions before and after resizing, per category and in all.

    `regions`: rows of regions.csv, one for each anomalous image: category, and the counts of
    `drdc.data.regions.Regions`, NaN where there is no mask.
    """
    parts = {c: regions[regions["category"] == c] for c in in_paper_order(regions["category"].unique())}
    rows = tuple((name, _cells(part.dropna())) for name, part in (parts | {ALL: regions}).items())
    caption = "Regions of the ground truth before and after resizing"
    return Table(caption, "category", tuple(COLUMNS.values()), rows, NOTES, 0, best="none", footer=1)


def _cells(masks: pd.DataFrame) -> tuple[Cell, ...]:
    if masks.empty:
        return tuple(Cell(note="no masks") for _ in COLUMNS)
    counts = masks.assign(masks=1, lost=(masks["regions"] > 0) & (masks["left"] == 0))[list(COLUMNS)].sum()
    return tuple(Cell(float(count)) for count in counts)
