"""The published numbers next to ours: the paper's as printed, re-runs by others, and the user's own files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

import pandas as pd

from drdc.config.reported import Reported
from drdc.data.datasets import READERS
from drdc.reporting.aggregate import MEAN, METRICS
from drdc.reporting.formats import Cell
from drdc.reporting.paper import UNKNOWN, paper_values, reruns

PAPER_METHODS = ("UniAD", "DiAD", "DRDC")
RERUN_METHODS = ("UniAD", "DiAD")
BENCHMARK = "ADer benchmark"
RERUN_NOTE = (
    f"re-run: mean over all categories of {{title}} as the {BENCHMARK} measured it, of several the run with "
    "the most epochs (ADer and DiAD have authors in common): "
)


@dataclass(frozen=True)
class Others:
    """Columns of others for one metric: `cells[method][category or "mean"]`, and notes on them."""

    cells: dict[str, dict[str, Cell]]
    notes: tuple[str, ...] = ()


def paper_dataset(categories: Sequence[str], dataset: str) -> str:
    """`dataset` if it is one of the paper's (mvtec | btad) and has all `categories`, else "".

    A folder of one's own has that name too: its categories tell it apart, unless they are called alike.
    """
    return dataset if _categories().get(dataset, set()) >= {*categories} else ""


def is_complete(categories: Sequence[str], dataset: str) -> bool:
    """Whether `categories` are exactly those of the paper's `dataset`."""
    return _categories().get(dataset) == set(categories)


def printed(categories: Sequence[str], metric: str, dataset: str, methods: Sequence[str] = ()) -> Others:
    """The paper's columns for `categories` of `dataset` (mvtec | btad); none for another.

    `methods`: the paper's names of those wanted in addition to UniAD, DiAD and DRDC.
    """
    tables = _tables()
    tables = tables[(tables["metric"] == metric) & (tables["dataset"] == dataset)]
    if tables.empty:
        return Others({})
    all_of_it = set(tables["category"]) - {MEAN}
    shown = [c for c in categories if c in all_of_it]
    complete = len(shown) == len(all_of_it)
    cells = {}
    for method in dict.fromkeys((*PAPER_METHODS, *methods)):
        values = tables[tables["method"] == method].set_index("category")["value"]
        if values.empty:  # not in this table
            continue
        mean = values[MEAN] if complete else values[shown].mean()
        cells[method] = {c: Cell(values.get(c, nan)) for c in categories} | {MEAN: Cell(mean)}
    part_mean = f"its mean is over the shown categories only ({len(shown)} of {len(all_of_it)})"
    how = "its mean is the printed one" if complete else part_mean
    printed_as = f"as printed in DRDC (ECCV 2024) for the images of {READERS[dataset].title}"
    return Others(cells, (f"paper: {printed_as}, without a spread; UniAD is its base model; {how}.",))


def rerun(categories: Sequence[str], metric: str, dataset: str, methods: Sequence[str] = ()) -> Others:
    """UniAD and DiAD as others measured them, in the mean row; none unless `categories` are all of `dataset`.

    `methods`: the names of those wanted in addition to these two. Shown is the run of the ADer benchmark with
    the most epochs; all other runs that are not the method's own are in a note, each with its source. A note
    for each source says what its numbers depend on: input size, threshold of the masks, checkpoint.
    """
    if not is_complete(categories, dataset):
        return Others({})
    runs = reruns()
    runs = runs[(runs["dataset"] == dataset) & (runs["metric"] == metric) & (runs["kind"] == "re-run")]
    cells, sources, others, used = {}, [], [], []
    run: Any
    for method in dict.fromkeys((*RERUN_METHODS, *methods)):
        part = runs[runs["method"] == method].sort_values("epochs", ascending=False, kind="stable")
        chosen = part[part["source"].str.startswith(BENCHMARK)].head(1)
        for run in chosen.itertuples():
            cells[method] = {c: Cell() for c in categories} | {MEAN: Cell(run.value)}
            sources.append(f"{method}{_epochs(run)}")
        rest = part.drop(chosen.index)
        others += [f"{method} {run.value} ({run.source}{_epochs(run)})" for run in rest.itertuples()]
        used += list(part.itertuples())
    note = RERUN_NOTE.format(title=READERS[dataset].title)
    notes = [f"{note}{'; '.join(sources)}."] if sources else []
    notes += [f"Other re-runs, {METRICS[metric]}: {'; '.join(others)}."] if others else []
    return Others(cells, (*notes, *dict.fromkeys(map(_protocol, used))))


def of_other_work(categories: Sequence[str], metric: str, numbers: Sequence[Reported]) -> Others:
    """A column for each method and source of `numbers` with this metric.

    Its mean is the reported one; where there is none, or the work has further categories, that of the shown
    ones, if all are reported.
    """
    columns: dict[str, dict[str, float]] = {}
    for own in numbers:
        if own.metric == metric:
            columns.setdefault(called(own), {})[own.category] = own.value
    cells = {
        name: {c: Cell(values.get(c, nan)) for c in categories} | {MEAN: Cell(_mean(values, categories))}
        for name, values in columns.items()
    }
    told = dict.fromkeys(own.file for own in numbers if own.metric == metric)
    note = (
        f"reported: numbers from other work, not computed here ({', '.join(told)}); a mean is as reported, "
        "or that of the shown categories where further ones are reported, or no mean."
    )
    return Others(cells, (note,) if cells else ())


def called(number: Reported) -> str:
    """The method, and who reports it where that is said."""
    return f"{number.method} by {number.source}" if number.source else number.method


def _mean(values: dict[str, float], categories: Sequence[str]) -> float:
    if MEAN in values and {*values} <= {*categories, MEAN}:
        return values[MEAN]
    shown = [values.get(c, nan) for c in categories]
    return sum(shown) / len(shown)


def _epochs(run: Any) -> str:
    return "" if isnan(run.epochs) else f", {run.epochs:.0f} epochs"


def _protocol(run: Any) -> str:
    """What the numbers of a source depend on."""
    size, mask = run.input_size, run.mask_threshold
    return (
        f"{run.source}: input size {size}{'' if size == UNKNOWN else ' pixels'}, threshold of resized masks "
        f"{mask}, checkpoint {run.checkpoint}."
    )


def _tables() -> pd.DataFrame:
    return pd.concat([paper_values(table) for table in (2, 3, 4)], ignore_index=True)


def _categories() -> dict[str, set[str]]:
    return {str(name): set(part["category"]) - {MEAN} for name, part in _tables().groupby("dataset")}
