"""The tables per category and at a glance, made from tidy scores and never typed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import pandas as pd

from drdc.evaluation.category import COMPARED
from drdc.reporting.aggregate import (
    MEAN,
    METHODS,
    METRICS,
    Measured,
    experiment_name,
    measure,
    metric_notes,
    seed_note,
)
from drdc.reporting.formats import Cell, Column, Table
from drdc.reporting.paper import paper_values
from drdc.reporting.published import Beside, Compared, paper_dataset, printed, rerun

TRAINED = ("base", "diffusion", "drdc")
SCALES = ("1", "1/2", "1/4", "1/8", "1/16")
AUROCS = {"image_auroc": " I-AUROC", "pixel_auroc": " P-AUROC"}
BOLD = "bold: best of ours."
Heads = dict[str, str]  # metric -> what a column's heading says of it; nothing for the only one
Filled = tuple[Column, list[Cell]]
Systems = Mapping[str, Compared]  # the systems run beside DRDC, by their method's name in the scores
NONE: Systems = {}


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


def table2(scores: pd.DataFrame, dataset: str | None = None, systems: Systems = NONE) -> Table:
    """Table 2 (for BTAD: Table 4): image AUROC per category, ours beside the paper's and re-runs by others.

    `scores`: tidy scores of one experiment. `dataset`: "mvtec" or "btad" for the paper's columns, any other
    name for none; by default they appear when every category is one of the paper's. Re-runs appear when the
    categories are all of the paper's dataset. `systems`: those that were run beside DRDC.
    Raises `UserError` when no trained method (base, diffusion, drdc) is there.
    """
    return _per_category(scores, {"image_auroc": ""}, dataset, systems)


def table3(scores: pd.DataFrame, dataset: str | None = None, systems: Systems = NONE) -> Table:
    """Table 3 (for BTAD: Table 4): pixel AUROC per category, ours beside the others'; arguments: `table2`."""
    return _per_category(scores, {"pixel_auroc": ""}, dataset, systems)


def table4(scores: pd.DataFrame, dataset: str | None = None, systems: Systems = NONE) -> Table:
    """Table 4: image and pixel AUROC per category, side by side; the paper's only for BTAD.

    Arguments and errors: `table2`.
    """
    return replace(_per_category(scores, AUROCS, dataset, systems, papers=("btad",)), decimals=2)


def metrics(scores: pd.DataFrame, systems: Systems = NONE) -> Table:
    """All seven metrics per category, a row for base, DRDC and each of `systems`, and their means.

    `scores`: tidy scores of one experiment. Raises `UserError` when none of these methods is there.
    """
    methods = (*COMPARED, *systems)
    columns = {metric: measure(scores, metric, methods) for metric in METRICS}
    present = [m for m in methods if any(m in column.cells for column in columns.values())]
    rows = tuple(
        (f"{c}: {_name(m)}", tuple(column.cell(m, c) for column in columns.values()))
        for c in (*columns["image_auroc"].categories, MEAN)
        for m in present
    )
    several = len(present) > 1
    bold = ["bold: the better of the two." if len(present) == 2 else "bold: the best of a category."]
    notes = (seed_note(*columns.values()), *(bold if several else ()), *metric_notes(columns))
    return Table(
        f"All metrics (%) per category: {experiment_name(scores)}", "category",
        tuple(map(Column, METRICS.values())), rows, (*notes, *_sources(systems)),
        best="column" if several else "none", group=len(present) if several else 0, footer=len(present),
    )  # fmt: skip


def summary(scores: pd.DataFrame, systems: Systems = NONE) -> Table:
    """All seven metrics at a glance: a row per method, values are means over categories ± spread over seeds.

    `scores`: tidy scores of one experiment; `systems`: those that were run beside DRDC. Raises `UserError`
    when none of the methods is there.
    """
    methods = (*METHODS, *systems)
    columns = {metric: measure(scores, metric, methods) for metric in METRICS}
    present = [m for m in methods if any(m in column.cells for column in columns.values())]
    rows = tuple((_name(m), tuple(c.cell(m, MEAN) for c in columns.values())) for m in present)
    caption = f"All metrics (%), mean over categories: {experiment_name(scores)}"
    notes = (seed_note(*columns.values()), BOLD, *metric_notes(columns), *_sources(systems))
    return Table(caption, "method", tuple(map(Column, METRICS.values())), rows, notes, best="column")


def _per_category(
    scores: pd.DataFrame,
    heads: Heads,
    dataset: str | None,
    systems: Systems,
    papers: Sequence[str] = ("mvtec", "btad"),
) -> Table:
    """A row per category and their mean; columns: ours, the paper's (for a dataset of `papers`), re-runs."""
    methods = (*TRAINED, *systems)
    ours = {metric: measure(scores, metric, methods) for metric in heads}
    categories = next(iter(ours.values())).categories
    dataset = paper_dataset(categories, dataset)
    names = [system.paper_name for system in systems.values()]
    paper = {m: printed(categories, m, dataset if dataset in papers else "", names) for m in heads}
    others = {metric: rerun(categories, metric, dataset, names) for metric in heads}
    labels = (*categories, MEAN)
    columns = _ours(ours, methods, heads, labels)
    columns += [*_theirs(paper, heads, labels, "paper"), *_theirs(others, heads, labels, "re-run")]
    rows = tuple((c, tuple(cells[i] for _, cells in columns)) for i, c in enumerate(labels))
    own = metric_notes(ours) if len(heads) > 1 else next(iter(ours.values())).notes
    told = dict.fromkeys(note for part in (*paper.values(), *others.values()) for note in part.notes)
    caption = f"{' and '.join(METRICS[m] for m in heads)} (%) per category: {experiment_name(scores)}"
    notes = (seed_note(*ours.values()), BOLD, *own, *told, *_sources(systems))
    return Table(caption, "category", tuple(column for column, _ in columns), rows, notes, footer=1)


def _name(method: str) -> str:
    return METHODS.get(method, method)


def _sources(systems: Systems) -> list[str]:
    return [f"{name}: {system.citation}." for name, system in systems.items() if system.citation]


def _ours(
    measured: dict[str, Measured], methods: Sequence[str], heads: Heads, labels: Sequence[str]
) -> list[Filled]:
    present = [m for m in methods if any(m in part.cells for part in measured.values())]
    return [
        (Column(f"{_name(m)}{head} (ours)", contest=metric), [measured[metric].cell(m, c) for c in labels])
        for m in present for metric, head in heads.items()
    ]  # fmt: skip


def _theirs(
    parts: dict[str, Beside], heads: Heads, labels: Sequence[str], source: Literal["paper", "re-run"]
) -> list[Filled]:
    systems = dict.fromkeys(system for part in parts.values() for system in part.cells)
    return [
        (Column(f"{system}{head} ({source})", source), [parts[metric].cells[system][c] for c in labels])
        for system in systems for metric, head in heads.items()
    ]  # fmt: skip
