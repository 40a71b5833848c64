"""The tables per category and at a glance, computed from tidy scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from drdc.config.reported import Reported
from drdc.config.variants import COMPARED
from drdc.data.datasets import READERS
from drdc.reporting.aggregate import (
    HEADLINE,
    MEAN,
    METHODS,
    METRICS,
    POOLED,
    Measured,
    experiment_name,
    measure,
    metric_notes,
    seed_note,
)
from drdc.reporting.declared import table
from drdc.reporting.described import NONE, Methods, about, further, name_of
from drdc.reporting.formats import Cell, Column, Source, Table
from drdc.reporting.paper import paper_values
from drdc.reporting.published import Others, of_other_work, paper_dataset, printed, rerun

TRAINED = ("base", "diffusion", "drdc")
SCALES = ("1", "1/2", "1/4", "1/8", "1/16")
AUROCS = {"image_auroc": " I-AUROC", "pixel_auroc": " P-AUROC"}
BOLD = "bold: best of ours."
TOGETHER = (
    "pooled: images and pixels of all categories ranked together, as when one threshold serves all; not "
    "for controls, nor for metrics of regions."
)
Heads = dict[str, str]  # metric -> its short name in a column's heading; none for the only one
Filled = tuple[Column, list[Cell]]


@table(
    "table1",
    of="scores",
    heading="Table 1: what resolution alone costs.",
    section="paper",
    caption="""
    Pixel AUROC (%) of the ground-truth mask itself after it has been scaled down and up again (Sec. 3.2).
    No model is involved: the table checks the evaluation, and shows how much any method with small
    heatmaps must lose. Thin defects lose most.
    """,
)
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


@table(
    "table2",
    of="scores",
    heading="Table 2: detection per category.",
    section="paper",
    caption="""
    Image AUROC (%) per category of one model for all categories. Last checkpoint, nothing chosen on test
    images. The paper's and other groups' numbers are in columns of their own.
    """,
)
def table2(
    scores: pd.DataFrame,
    dataset: str = "",
    described: Methods = NONE,
    reported: Sequence[Reported] = (),
) -> Table:
    """Table 2 (for BTAD: Table 4): image AUROC per category, ours next to the paper's and re-runs by others.

    `scores`: tidy scores of one experiment. `dataset`: its reader; the paper's columns appear where that is
    "mvtec" or "btad" and every category is one of the paper's, re-runs where these are all of them.
    `described`: the methods that DRDC is compared with. `reported`: numbers from other work.
    Raises `UserError` when no trained method (base, diffusion, drdc) is there.
    """
    return _per_category(scores, {"image_auroc": ""}, dataset, described, reported)


@table(
    "table3",
    of="scores",
    heading="Table 3: localisation per category.",
    section="paper",
    caption="""
    Pixel AUROC (%) per category over all test pixels, at the size that the diffusion model works at.
    Large areas of easy background make this number high; pixel AP and AUPRO in *metrics* are stricter.
    """,
)
def table3(
    scores: pd.DataFrame,
    dataset: str = "",
    described: Methods = NONE,
    reported: Sequence[Reported] = (),
) -> Table:
    """Table 3 (for BTAD: Table 4): pixel AUROC per category, ours next to others'; arguments: `table2`."""
    return _per_category(scores, {"pixel_auroc": ""}, dataset, described, reported)


@table(
    "table4",
    of="scores",
    heading="Table 4: detection and localisation side by side.",
    section="paper",
    caption="In the form of the paper's table for BTAD, whose numbers appear where the dataset is BTAD.",
)
def table4(
    scores: pd.DataFrame,
    dataset: str = "",
    described: Methods = NONE,
    reported: Sequence[Reported] = (),
) -> Table:
    """Table 4: image and pixel AUROC per category, side by side; the paper's only for BTAD.

    Arguments and errors: `table2`.
    """
    return replace(_per_category(scores, AUROCS, dataset, described, reported, ("btad",)), decimals=2)


@table(
    "reported",
    of="reported",
    heading="Numbers from other work, next to ours.",
    caption="Every metric that the files in `reported` have; what is reported was not computed here.",
)
def other_work(scores: pd.DataFrame, described: Methods = NONE, reported: Sequence[Reported] = ()) -> Table:
    """A row for each metric and category of the numbers `reported`, and the mean; columns: ours, theirs.

    `scores`: tidy scores of one experiment. Raises `UserError` when base, DRDC and all methods of `described`
    are absent.
    """
    methods = (*COMPARED, *further(described))
    metrics = [metric for metric in METRICS if any(own.metric == metric for own in reported)]
    ours = {metric: measure(scores, metric, methods) for metric in metrics}
    categories = next(iter(ours.values())).categories
    theirs = {metric: of_other_work(categories, metric, reported) for metric in metrics}
    present = [m for m in methods if any(m in part.cells for part in ours.values())]
    others = list(dict.fromkeys(name for part in theirs.values() for name in part.cells))
    rows = tuple(
        (
            f"{METRICS[metric]}: {c}",
            (
                *(ours[metric].cell(m, c) for m in present),
                *(theirs[metric].cells.get(name, {}).get(c, Cell()) for name in others),
            ),
        )
        for metric in metrics
        for c in (*categories, MEAN)
    )
    columns = (
        *(Column(f"{name_of(m)} (ours)") for m in present),
        *(Column(f"{name} (reported)", "reported") for name in others),
    )
    told = dict.fromkeys(note for part in theirs.values() for note in part.notes)
    notes = (seed_note(*ours.values()), BOLD, *metric_notes(ours), *told, *about(described))
    caption = f"Metrics (%) that other work reports, per category: {experiment_name(scores)}"
    return Table(caption, "metric: category", columns, rows, notes)


@table(
    "metrics",
    of="scores",
    heading="Every metric of every category.",
    caption="Base model, DRDC and the methods that it is compared with.",
)
def metrics(scores: pd.DataFrame, described: Methods = NONE) -> Table:
    """All metrics per category, a row for base, DRDC and each method of `described`; means and pooled below.

    `scores`: tidy scores of one experiment. Raises `UserError` when none of these methods is there.
    """
    methods = (*COMPARED, *further(described))
    columns = {metric: measure(scores, metric, methods) for metric in METRICS}
    present = [m for m in methods if any(m in column.cells for column in columns.values())]
    rows = tuple(
        (f"{c}: {name_of(m)}", tuple(column.cell(m, c) for column in columns.values()))
        for c in (*columns["image_auroc"].categories, MEAN)
        for m in present
    )
    together = _pooled_rows(columns, present)
    rows += tuple((f"{POOLED}: {label}", cells) for label, cells in together)
    several = len(present) > 1
    bold = ["bold: the better of the two." if len(present) == 2 else "bold: the best of a category."]
    notes = (
        seed_note(*columns.values()),
        *(bold if several else ()),
        *([TOGETHER] if together else []),
        *metric_notes(columns, pooled=bool(together)),
    )
    return Table(
        f"All metrics (%) per category: {experiment_name(scores)}", "category",
        tuple(map(Column, METRICS.values())), rows, (*notes, *about(described)),
        best="column" if several else "none", group=len(present) if several else 0,
        footer=len(present) + len(together),
    )  # fmt: skip


@table(
    "summary",
    of="scores",
    heading="Summary: the main metrics of every method.",
    section="glance",
    caption="""
    Means over categories, and below them the metrics over all categories together. Look first at the
    difference between *base* and *DRDC*: the contribution of the diffusion refinement. *random map* is a
    control, which must have a pixel AUROC of about 50.
    """,
)
def summary(scores: pd.DataFrame, described: Methods = NONE) -> Table:
    """The metrics at a glance: a row per method, values are means over categories ± spread over seeds.

    Below them the same over all categories together, where there are several.

    `scores`: tidy scores of one experiment; `described`: the methods that DRDC is compared with. Raises
    `UserError` when none of the methods is there.
    """
    return at_a_glance(scores, (*METHODS, *further(described)), described)


def at_a_glance(scores: pd.DataFrame, methods: Sequence[str], described: Methods) -> Table:
    """`summary` of those methods, in that order."""
    columns = {metric: measure(scores, metric, methods) for metric in HEADLINE}
    present = [m for m in methods if any(m in column.cells for column in columns.values())]
    rows = tuple((name_of(m), tuple(c.cell(m, MEAN) for c in columns.values())) for m in present)
    together = _pooled_rows(columns, present)
    caption = f"Metrics (%), mean over categories: {experiment_name(scores)}"
    notes = (
        seed_note(*columns.values()),
        BOLD,
        *([TOGETHER] if together else []),
        *metric_notes(columns, pooled=bool(together)),
        *about(described),
    )
    return Table(
        caption, "method", tuple(Column(METRICS[metric]) for metric in HEADLINE),
        (*rows, *((f"{label}, {POOLED}", cells) for label, cells in together)), notes,
        best="column", group=len(present), footer=len(together),
    )  # fmt: skip


def _pooled_rows(columns: dict[str, Measured], methods: Sequence[str]) -> list[tuple[str, tuple[Cell, ...]]]:
    """A row per method that has them, over all categories together; none for a single category."""
    first = next(iter(columns.values()))
    if len(first.categories) < 2:
        return []
    those = [m for m in methods if any(m in column.pooled for column in columns.values())]
    return [(name_of(m), tuple(column.pooled_cell(m) for column in columns.values())) for m in those]


def _per_category(
    scores: pd.DataFrame,
    heads: Heads,
    dataset: str,
    described: Methods,
    numbers: Sequence[Reported],
    papers: Sequence[str] = ("mvtec", "btad"),
) -> Table:
    """A row per category and their mean; columns: ours, the paper's (for a dataset of `papers`), re-runs by
    others, and the `numbers` from other work.
    """
    methods = (*TRAINED, *further(described))
    ours = {metric: measure(scores, metric, methods) for metric in heads}
    categories = next(iter(ours.values())).categories
    dataset = paper_dataset(categories, dataset)
    names = [described[method].paper_name for method in further(described)]
    paper = {m: printed(categories, m, dataset if dataset in papers else "", names) for m in heads}
    others = {metric: rerun(categories, metric, dataset, names) for metric in heads}
    told = {metric: of_other_work(categories, metric, numbers) for metric in heads}
    labels = (*categories, MEAN)
    columns = _ours(ours, methods, heads, labels)
    whose = f", {READERS[dataset].title}" if dataset else ""
    columns += _theirs(paper, heads, labels, "paper", whose)
    columns += _theirs(others, heads, labels, "re-run", whose)
    columns += _theirs(told, heads, labels, "reported")
    rows = tuple((c, tuple(cells[i] for _, cells in columns)) for i, c in enumerate(labels))
    own = metric_notes(ours) if len(heads) > 1 else next(iter(ours.values())).notes
    every = (*paper.values(), *others.values(), *told.values())
    of_others = dict.fromkeys(note for part in every for note in part.notes)
    caption = f"{' and '.join(METRICS[m] for m in heads)} (%) per category: {experiment_name(scores)}"
    notes = (seed_note(*ours.values()), BOLD, *own, *of_others, *about(described))
    return Table(caption, "category", tuple(column for column, _ in columns), rows, notes, footer=1)


def _ours(
    measured: dict[str, Measured], methods: Sequence[str], heads: Heads, labels: Sequence[str]
) -> list[Filled]:
    present = [m for m in methods if any(m in part.cells for part in measured.values())]
    return [
        (Column(f"{name_of(m)}{head} (ours)", contest=metric), [measured[metric].cell(m, c) for c in labels])
        for m in present for metric, head in heads.items()
    ]  # fmt: skip


def _theirs(
    parts: dict[str, Others], heads: Heads, labels: Sequence[str], source: Source, whose: str = ""
) -> list[Filled]:
    """`whose`: the dataset that the numbers are of, in the columns' headings."""
    methods = dict.fromkeys(method for part in parts.values() for method in part.cells)
    return [
        (
            Column(f"{method}{head}{whose} ({source})", source),
            [parts[metric].cells[method][c] for c in labels],
        )
        for method in methods for metric, head in heads.items() if method in parts[metric].cells
    ]  # fmt: skip
