"""The tables per category and at a glance, made from tidy scores and never typed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pandas as pd

from drdc.evaluation import COMPARED
from drdc.reporting.beside import Beside, paper_dataset, printed, rerun
from drdc.reporting.formats import Cell, Column, Table
from drdc.reporting.measured import (
    MEAN,
    METHODS,
    METRICS,
    Measured,
    experiment_name,
    measure,
    metric_notes,
    seed_note,
)
from drdc.reporting.paper import paper_values

TRAINED = ("base", "diffusion", "drdc")
SCALES = ("1", "1/2", "1/4", "1/8", "1/16")
AUROCS = {"image_auroc": " I-AUROC", "pixel_auroc": " P-AUROC"}
BOLD = "bold: best of ours."
Heads = dict[str, str]  # metric -> what a column's heading says of it; nothing for the only one
Filled = tuple[Column, list[Cell]]


def table1(scores: pd.DataFrame) -> Table:
    """Table 1: pixel AUROC of the ground-truth mask itself after being scaled down and up again (Sec. 3.2).

    `scores`: tidy scores of one experiment with the methods oracle_mask@1 ... oracle_mask@1/16.
    Raises `UserError` when none of them is there.
    """
    methods = tuple(f"oracle_mask@{scale}" for scale in SCALES)
    ours = measure(scores, "pixel_auroc", methods)
    theirs = paper_values(1).set_index("method")["value"].to_dict()
    rows = tuple(
        (scale, (ours.cells.get(method, {}).get(MEAN, Cell()), Cell(theirs[method])))
        for scale, method in zip(SCALES, methods, strict=True)
    )
    columns = (Column("ours"), Column("paper (MVTec AD)", "paper"))
    caption = (
        f"Mean pixel AUROC (%) of the ground-truth mask scaled down and up again: {experiment_name(scores)}"
    )
    notes = (seed_note(ours), *ours.notes, "paper: printed mean over the 15 categories of MVTec AD.")
    return Table(caption, "scaling size", columns, rows, notes, decimals=2, best="none")


def table2(scores: pd.DataFrame, dataset: str | None = None) -> Table:
    """Table 2 (for BTAD: Table 4): image AUROC per category, ours beside the paper's and re-runs by others.

    `scores`: tidy scores of one experiment. `dataset`: "mvtec" or "btad" for the paper's columns, any other
    name for none; by default they appear when every category is one of the paper's. Re-runs appear when the
    categories are all of the paper's dataset.
    Raises `UserError` when no trained method (base, diffusion, drdc) is there.
    """
    return _per_category(scores, {"image_auroc": ""}, dataset)


def table3(scores: pd.DataFrame, dataset: str | None = None) -> Table:
    """Table 3 (for BTAD: Table 4): pixel AUROC per category, ours beside the others'; arguments: `table2`."""
    return _per_category(scores, {"pixel_auroc": ""}, dataset)


def table4(scores: pd.DataFrame, dataset: str | None = None) -> Table:
    """Table 4: image and pixel AUROC per category, side by side; the paper's only for BTAD.

    Arguments and errors: `table2`.
    """
    return replace(_per_category(scores, AUROCS, dataset, papers=("btad",)), decimals=2)


def metrics(scores: pd.DataFrame) -> Table:
    """All seven metrics per category, base above DRDC, and their means.

    `scores`: tidy scores of one experiment. Raises `UserError` when neither base nor drdc is there.
    """
    columns = {metric: measure(scores, metric, COMPARED) for metric in METRICS}
    present = [m for m in COMPARED if any(m in column.cells for column in columns.values())]
    rows = tuple(
        (f"{c}: {METHODS[m]}", tuple(column.cell(m, c) for column in columns.values()))
        for c in (*columns["image_auroc"].categories, MEAN)
        for m in present
    )
    both = len(present) > 1
    notes = (seed_note(*columns.values()), *(["bold: the better of the two."] if both else []))
    return Table(
        f"All metrics (%) per category: {experiment_name(scores)}", "category",
        tuple(map(Column, METRICS.values())), rows, (*notes, *metric_notes(columns)),
        best="column" if both else "none", pairs=both, footer=len(present),
    )  # fmt: skip


def summary(scores: pd.DataFrame) -> Table:
    """All seven metrics at a glance: a row per method, values are means over categories ± spread over seeds.

    `scores`: tidy scores of one experiment. Raises `UserError` when none of the methods is there.
    """
    columns = {metric: measure(scores, metric, tuple(METHODS)) for metric in METRICS}
    present = [m for m in METHODS if any(m in column.cells for column in columns.values())]
    rows = tuple((METHODS[m], tuple(c.cell(m, MEAN) for c in columns.values())) for m in present)
    caption = f"All metrics (%), mean over categories: {experiment_name(scores)}"
    notes = (seed_note(*columns.values()), BOLD, *metric_notes(columns))
    return Table(caption, "method", tuple(map(Column, METRICS.values())), rows, notes, best="column")


def _per_category(
    scores: pd.DataFrame, heads: Heads, dataset: str | None, papers: Sequence[str] = ("mvtec", "btad")
) -> Table:
    """A row per category and their mean; columns: ours, the paper's (for a dataset of `papers`), re-runs."""
    ours = {metric: measure(scores, metric, TRAINED) for metric in heads}
    categories = next(iter(ours.values())).categories
    dataset = paper_dataset(categories, dataset)
    paper = {metric: printed(categories, metric, dataset if dataset in papers else "") for metric in heads}
    others = {metric: rerun(categories, metric, dataset) for metric in heads}
    labels = (*categories, MEAN)
    columns = _ours(ours, heads, labels)
    columns += [*_theirs(paper, heads, labels, "paper"), *_theirs(others, heads, labels, "re-run")]
    rows = tuple((c, tuple(cells[i] for _, cells in columns)) for i, c in enumerate(labels))
    own = metric_notes(ours) if len(heads) > 1 else next(iter(ours.values())).notes
    told = dict.fromkeys(note for part in (*paper.values(), *others.values()) for note in part.notes)
    caption = f"{' and '.join(METRICS[m] for m in heads)} (%) per category: {experiment_name(scores)}"
    notes = (seed_note(*ours.values()), BOLD, *own, *told)
    return Table(caption, "category", tuple(column for column, _ in columns), rows, notes, footer=1)


def _ours(measured: dict[str, Measured], heads: Heads, labels: Sequence[str]) -> list[Filled]:
    methods = [m for m in TRAINED if any(m in part.cells for part in measured.values())]
    return [
        (Column(f"{METHODS[m]}{head} (ours)", contest=metric), [measured[metric].cell(m, c) for c in labels])
        for m in methods for metric, head in heads.items()
    ]  # fmt: skip


def _theirs(
    parts: dict[str, Beside], heads: Heads, labels: Sequence[str], source: Literal["paper", "re-run"]
) -> list[Filled]:
    systems = dict.fromkeys(system for part in parts.values() for system in part.cells)
    return [
        (Column(f"{system}{head} ({source})", source), [parts[metric].cells[system][c] for c in labels])
        for system in systems for metric, head in heads.items()
    ]  # fmt: skip
