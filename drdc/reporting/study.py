"""Table and figure of a study: how accuracy depends on the training data (`drdc.config.study`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from drdc.config.names import ALL
from drdc.reporting.aggregate import METRICS
from drdc.reporting.declared import figure, table
from drdc.reporting.described import NONE, Methods, name_of
from drdc.reporting.figures import (
    WIDTH,
    Look,
    legend,
    looks,
    new_figure,
    on_axis,
    percent_height,
    percent_limits,
    plain,
    save,
)
from drdc.reporting.formats import Cell, Column, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURES = {name: METRICS[name] for name in ("image_auroc", "pixel_auroc", "pixel_ap")}
#: What varies, and what its values are, in words.
OVER = {
    "images": "training images of each category",
    "defective": "defective ones among the training images (%)",
    "categories": "categories in one model",
}
HEIGHT, DODGE = 2.6, 0.012  # inches; part of the axis between two methods
LOG_FROM = 8.0  # ratio of the largest to the smallest value from which the axis is logarithmic
CAPTION = """
Mean over the categories, then mean and standard deviation over the draws. Number of images, share of
defective ones among the training images, or number of categories in the one model, as the experiment's
`study` says. Of fewer images a part is held out as well; all shares of defective ones have the same test set;
each category is in equally many models. The diffusion model is trained equally long for any number of
images, and so is the base model with `base.images`; with `base.epochs` its training is shorter with fewer
images. For any number of categories both are trained equally long for each category.
"""


@table(
    "study",
    of="study",
    heading="Accuracy with other training data, in numbers.",
    section="glance",
    caption=CAPTION,
)
def study_table(rows: pd.DataFrame, over: str) -> Table:
    """A row for each value, three columns for each method; in percent.

    Args:
        rows: study.csv.
        over: what varies, a key of `OVER`.
    """
    methods = list(dict.fromkeys(rows["method"]))
    columns = tuple(
        Column(f"{name_of(method)}: {title}", contest=title)
        for method in methods
        for title in MEASURES.values()
    )
    own = defined(rows)
    draws, means = of_draws(own), of_values(own)
    lines = tuple(
        (
            _shown(str(at), over),
            tuple(_cell(draws, means, at, method, metric) for method in methods for metric in MEASURES),
        )
        for at in dict.fromkeys(rows["at"])
    )
    caption = "Accuracy with other training data (%)"
    return Table(caption, OVER[over], columns, lines, _left_out(rows, own), best="row")


def _shown(value: str, over: str) -> str:
    """A value as it is written: a share of defective images in percent."""
    return f"{100 * float(value):g}" if over == "defective" else value


def whole_mean(values: pd.Series[float]) -> float:
    """NaN where one of the values is: others alone would be another mean."""
    return float(values.mean(skipna=False))


def defined(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` without the categories in which a metric is defined nowhere."""
    return rows[rows.groupby(["metric", "category"])["value"].transform("count") > 0]


def of_draws(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each value, draw, method and metric the mean over the categories."""
    keys = ["at", "draw", "method", "metric"]
    return rows.groupby(keys, sort=False)["value"].agg(whole_mean).reset_index()


def of_values(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each value, method and metric the mean over the categories of their means over the draws.

    So each category counts the same, in however many draws it is.
    """
    keys = ["at", "method", "metric"]
    each = rows.groupby([*keys, "category"], sort=False)["value"].agg(whole_mean)
    return each.groupby(keys, sort=False).agg(whole_mean).reset_index()


def _cell(draws: pd.DataFrame, means: pd.DataFrame, at: str, method: str, metric: str) -> Cell:
    """Mean over the categories and draws ± standard deviation over the draws."""
    each, mean = (
        100 * own.loc[(own["at"] == at) & (own["method"] == method) & (own["metric"] == metric), "value"]
        for own in (draws, means)
    )
    if mean.isna().all():
        return Cell(note="a run failed" if len(mean) else "not defined")
    return Cell(float(mean.iloc[0]), float(each.std()), len(each))


def _left_out(rows: pd.DataFrame, own: pd.DataFrame) -> tuple[str, ...]:
    """A note on the categories that have no values of a metric."""
    notes = []
    for metric, title in MEASURES.items():
        every, kept = (set(part.loc[part["metric"] == metric, "category"]) for part in (rows, own))
        if absent := sorted(every - kept):
            notes.append(f"{title}: without {', '.join(absent)}, where it is not defined.")
    return tuple(notes)


@figure(
    "study",
    of="study",
    heading="Accuracy with other training data, drawn.",
    section="glance",
    caption=CAPTION,
)
def study_figure(rows: pd.DataFrame, over: str, path: Path, described: Methods = NONE) -> None:
    """A panel for each metric: the mean over draws, and a point for each draw.

    Lines join the values that are numbers, at their places on a scale; "all", whose number is another in each
    category, stands by itself.

    Args:
        rows: study.csv.
        over: what varies, a key of `OVER`.
        path: the PNG, 1200 pixels wide.
    """
    look = looks(rows["method"], described)
    drawn = new_figure(WIDTH, HEIGHT)
    panels = drawn.subplots(1, len(MEASURES))
    for axes, (metric, title) in zip(panels, MEASURES.items(), strict=True):
        _panel(axes, rows[rows["metric"] == metric], look, over)
        axes.set_title(f"{title} (%)", fontsize=8.5)
    drawn.supxlabel(OVER[over], fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    legend(drawn, handles, labels, loc="outside upper center", ncols=4)
    save(drawn, path)


def _panel(axes: Axes, rows: pd.DataFrame, look: dict[str, Look], over: str) -> None:
    """The values of one metric."""
    plain(axes)
    places = _places(list(dict.fromkeys(rows["at"])))
    methods = list(dict.fromkeys(rows["method"]))
    own = defined(rows)
    draws, means = of_draws(own), of_values(own)
    for place, method in enumerate(methods):
        colour, marker, dash = look[method]
        dodged = {value: x + DODGE * (place - (len(methods) - 1) / 2) for value, x in places.items()}
        each = draws[draws["method"] == method]
        x = each["at"].map(dodged)
        axes.plot(x, 100 * each["value"], marker, color=colour, ms=3.0, alpha=0.45, mew=0)
        mean = means[means["method"] == method]
        mean = 100 * mean.set_index(mean["at"].map(dodged))["value"].sort_index()
        joined = mean[mean.index < 1 + 1 / len(places) / 2]
        axes.plot(joined.index, joined, ls=dash, color=colour, lw=1.3)
        axes.plot(mean.index, mean, marker, color=colour, ms=4.5, label=name_of(method))
    if draws["value"].notna().any():
        low, high = 100 * draws["value"].min(), 100 * draws["value"].max()
        axes.set_ylim(*percent_limits(low, high, percent_height(low, high)))
    else:
        axes.text(0.5, 0.5, "not defined", transform=axes.transAxes, ha="center", fontsize=8.5)
    axes.set_xticks(list(places.values()), [_shown(value, over) for value in places])


def _places(values: list[str]) -> dict[str, float]:
    """Where each value stands: numbers from 0 to 1 on a linear or a logarithmic scale, "all" after them."""
    numbers = {value: float(value) for value in values if value != ALL}
    return on_axis(numbers, LOG_FROM) | {value: 1 + 1 / len(values) for value in values if value == ALL}
