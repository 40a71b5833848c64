"""Table and figure of a study: how accuracy depends on the training data (`drdc.config.study`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from drdc.reporting.aggregate import METRICS
from drdc.reporting.declared import figure, table
from drdc.reporting.described import name_of
from drdc.reporting.figures import (
    DPI,
    WIDTH,
    looks,
    new_figure,
    percent_height,
    percent_limits,
    plain,
    save_png,
)
from drdc.reporting.formats import Cell, Column, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURES = {name: METRICS[name] for name in ("image_auroc", "pixel_auroc", "pixel_ap")}
HEIGHT = 3.6
CAPTION = """
Mean over the categories, then mean and standard deviation over the random draws. Number of images, share of
defective ones among the training images, or number of categories in the one model, as the experiment's
`study` says. Of fewer images a part is held out as well; all shares of defective ones have one test.
DRDC is trained as long for any number of images, and for each category as long for any number of categories.
"""


@table("study", of="study", heading="Accuracy with other training data.", caption=CAPTION)
def study_table(rows: pd.DataFrame) -> Table:
    """A row for each value, three columns for each method; in percent.

    Args:
        rows: study.csv.
    """
    means = of_draws(rows)
    methods = list(dict.fromkeys(means["method"]))
    columns = tuple(
        Column(f"{name_of(method)}: {title}", contest=title)
        for method in methods
        for title in MEASURES.values()
    )
    lines = tuple(
        (str(at), tuple(_cell(own, method, metric) for method in methods for metric in MEASURES))
        for at, own in means.groupby("at", sort=False)
    )
    return Table("Accuracy with other training data (%)", "value", columns, lines, (), best="row")


def of_draws(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each value, draw, method and metric the mean over the categories."""
    keys = ["at", "draw", "method", "metric"]
    return rows.groupby(keys, sort=False)["value"].mean().reset_index()


def _cell(means: pd.DataFrame, method: str, metric: str) -> Cell:
    values = 100 * means.loc[(means["method"] == method) & (means["metric"] == metric), "value"].dropna()
    return Cell(values.mean(), values.std(), len(values)) if len(values) else Cell(note="not defined")


@figure("study", of="study", heading="Accuracy with other training data.", caption=CAPTION)
def study_figure(rows: pd.DataFrame, path: Path) -> None:
    """A panel for each metric: the mean over draws, and a point for each draw.

    Args:
        rows: study.csv.
        path: the PNG, 1200 pixels wide.
    """
    means = of_draws(rows)
    drawn = new_figure(WIDTH, HEIGHT)
    panels = drawn.subplots(1, len(MEASURES))
    for axes, (metric, title) in zip(panels, MEASURES.items(), strict=True):
        _panel(axes, means[means["metric"] == metric], title)
    handles, labels = panels[0].get_legend_handles_labels()
    legend = drawn.legend(
        handles, labels, loc="outside upper left", ncols=len(labels), fontsize=8.5, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    save_png(drawn, path, DPI)


def _panel(axes: Axes, means: pd.DataFrame, title: str) -> None:
    plain(axes)
    ticks = list(dict.fromkeys(means["at"]))
    look = looks(means["method"])
    for place, (method, own) in enumerate(means.groupby("method", sort=False)):
        style = look[str(method)]
        shift = 0.04 * (place - (len(look) - 1) / 2)
        where = own["at"].map(ticks.index) + shift
        each = own.groupby("at", sort=False)["value"].mean()
        axes.plot(where, 100 * own["value"], style.marker, color=style.colour, ms=3.0, alpha=0.45, mew=0)
        axes.plot(
            [ticks.index(at) + shift for at in each.index], 100 * each, style.marker, ls=style.dash,
            color=style.colour, ms=5.0, lw=1.3, label=name_of(str(method)),
        )  # fmt: skip
    low, high = 100 * means["value"].min(), 100 * means["value"].max()
    axes.set_ylim(*percent_limits(low, high, percent_height(low, high)))
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_title(f"{title} (%)", fontsize=9)
