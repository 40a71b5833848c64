"""Table 5: what each module of the method adds, next to the paper's numbers."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from drdc.reporting.aggregate import (
    MEAN,
    METRICS,
    Measured,
    experiment_name,
    measure,
    metric_notes,
    of_shared_seeds,
    seed_note,
)
from drdc.reporting.declared import table
from drdc.reporting.described import NONE, Methods, only_ours, sources
from drdc.reporting.formats import Cell, Column, Table
from drdc.reporting.paper import paper_values
from drdc.results.scores import TEXTS, typed
from drdc.runtime.errors import UserError

SHORT = {
    "model_conditioning": "MC",
    "test_time_conditioning": "TTC",
    "spatio_temporal_fusion": "STF",
    "multi_scale_base": "base",
}
FULL = "full"
FULL_MODULES = "MC+TTC+STF"
OURS = ("image_auroc", "pixel_auroc", "image_ap", "pixel_ap", "pixel_aupro")
THEIRS = ("image_auroc", "pixel_auroc")
ABBREVIATIONS = (
    "MC: model conditioning; TTC: test-time conditioning; STF: spatio-temporal fusion; "
    "base: the base model's heatmap is taken at several scales, too."
)


@dataclass(frozen=True)
class Variant:
    """One column of the paper's Table 5: modules in words, values in percent, how certain its place is."""

    words: str
    values: dict[str, float]
    column: int
    certainty: str


@table(
    "table5",
    of="ablation",
    heading="Table 5: what each part contributes.",
    section="paper",
    caption="""
    DRDC with parts left out: model conditioning (the network sees the known pixels), test-time
    conditioning (they are restored at each step, Eq. 13), spatio-temporal fusion (Eq. 14-16), and the
    base heatmap at several scales. Without model conditioning a second network was trained, which
    does not see the known pixels.
    """,
)
def table5(scores: pd.DataFrame, described: Methods = NONE) -> Table:
    """Table 5: means over categories of the method with only some of its modules, in the paper's order.

    All variants are compared on the seeds that those with scores have in common; a seed at which a variant
    failed is none of its seeds, unless all of them failed. `scores`: tidy scores of one experiment, of method
    drdc with the variants TTC, MC, ... and full. Raises `UserError` when no variant has scores or they share
    no seed.
    """
    paper = paper_variants()
    rows = typed(scores, TEXTS, ("value",), "scores.csv")
    rows = rows[(rows["method"] == "drdc") & rows["variant"].isin(list(paper))]
    if rows.empty:
        raise UserError(
            "", "The scores contain no variant of Table 5", "score the ablation of this experiment first"
        )
    present = [name for name in paper if name in set(rows["variant"])]
    rows, dropped = of_shared_seeds(rows, "variant", present)
    rows = rows.assign(method=rows["variant"], variant=FULL)
    ours = {metric: measure(rows, metric, present) for metric in OURS}
    lines = tuple((_label(name, paper[name]), _row(name, ours, paper[name])) for name in present)
    columns = tuple(Column(METRICS[metric]) for metric in OURS)
    columns += tuple(Column(f"{METRICS[metric]}, MVTec AD (paper)", "paper") for metric in THEIRS)
    notes = (
        seed_note(*ours.values()), "bold: best of ours.", ABBREVIATIONS, *dropped, *metric_notes(ours),
        *_missing(set(paper) - set(present), paper), *_order(paper), *sources(only_ours(described)),
    )  # fmt: skip
    caption = f"Ablation (%), mean over categories: {experiment_name(scores)}"
    return Table(caption, "modules", columns, lines, notes, decimals=2, best="column")


def paper_variants() -> dict[str, Variant]:
    """The paper's variants under our names, in the paper's order."""
    found = {}
    for column, part in paper_values(5).groupby("column"):
        first = part.iloc[0]
        modules = "+".join(short for flag, short in SHORT.items() if first[flag])
        values = {str(m): float(v) for m, v in zip(part["metric"], part["value"], strict=True)}
        name = FULL if modules == FULL_MODULES else modules
        found[name] = Variant(first["variant"], values, int(str(column)), first["certainty"])
    return found


def _label(name: str, variant: Variant) -> str:
    return f"{variant.words} ({FULL_MODULES if name == FULL else name})"


def _row(name: str, ours: dict[str, Measured], variant: Variant) -> tuple[Cell, ...]:
    theirs = (Cell(variant.values[metric]) for metric in THEIRS)
    return (*(part.cell(name, MEAN) for part in ours.values()), *theirs)


def _missing(absent: set[str], paper: dict[str, Variant]) -> tuple[str, ...]:
    return tuple(f"not measured: {_label(name, paper[name])}." for name in paper if name in absent)


def _order(paper: dict[str, Variant]) -> tuple[str, ...]:
    """The source of the paper's numbers, and how certain the order of its columns is."""
    places = "; ".join(f"{v.column} ({name}): {v.certainty}" for name, v in paper.items())
    return (
        "paper: as printed in DRDC (ECCV 2024), Table 5, means over the 15 categories of MVTec AD. Which "
        "column has which modules was inferred from the counts of its tick marks and from Sec. 5.3; how "
        f"certain, by column: {places}.",
    )
