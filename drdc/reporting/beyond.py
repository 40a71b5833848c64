"""Variants of DRDC's fusion that go beyond the paper, next to DRDC and the methods it is compared with."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from drdc.config.variants import BEYOND, DRDC, FULL
from drdc.reporting.aggregate import of_shared_seeds
from drdc.reporting.declared import table
from drdc.reporting.described import NONE, Methods, further, name_of
from drdc.reporting.formats import Table
from drdc.reporting.tables import at_a_glance
from drdc.results.scores import TEXTS, typed

#: How each variant is shown.
NAMES = {
    "centred": "DRDC, centred",
    "memory": "DRDC, memory bank",
    "memory+centred": "DRDC, memory bank, centred",
}
NOTES = (
    "centred (ours): each image's diffusion map minus its own median, because images differ in how hard "
    "they are to inpaint, defect or not.",
    "memory bank (ours): the base heatmap is the distance to the nearest feature of normal images, not "
    "to the transformer's reconstruction; λ = "
    f"{BEYOND['memory']['weight']}, chosen on synthetic defects.",
)


@table(
    "beyond",
    of="beyond",
    heading="Beyond the paper: variants of the fusion.",
    section="detail",
    caption="""
    Variants of our own, with the same trained models and the same U-Net calls as DRDC: only the fusion of
    both heatmaps differs. Means over categories, and below them the metrics over all categories
    together.
    """,
)
def beyond(scores: pd.DataFrame, described: Methods = NONE) -> Table:
    """The metrics at a glance: base, DRDC, its variants, and each method of `described`.

    `scores`: tidy scores of one experiment, with the variants. Raises `UserError` where none is there.
    """
    scores = typed(scores, TEXTS, ("value",), "scores.csv")
    of_drdc = (scores["method"] == DRDC) & scores["variant"].isin(list(NAMES))
    own = scores.assign(
        method=scores["method"].where(~of_drdc, scores["variant"].map(NAMES)),
        variant=scores["variant"].where(~of_drdc, FULL),
    )
    shown = ("base", DRDC, *NAMES.values(), *further(described))
    rows, dropped = of_shared_seeds(own, "method", [name for name in shown if name in set(own["method"])])
    made = at_a_glance(rows, shown, described)
    return replace(
        made,
        notes=(*made.notes, *dropped, *NOTES),
        caption=f"{name_of(DRDC)} beyond the paper. {made.caption}",
    )
