"""ROC and precision-recall curves of images and of pixels."""

from __future__ import annotations

from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.variants import COMPARED
from drdc.reporting.declared import figure
from drdc.reporting.described import NONE, Methods, compared, name_of
from drdc.reporting.figures import WIDTH, Look, legend, looks, new_figure, no_figure, plain, save
from drdc.results.scores import typed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

GRID = np.linspace(0.0, 1.0, 301) ** 2  # common places of curves, dense near 0
LEVELS = {"image": "images", "pixel": "pixels"}
COLUMNS, LEGEND_ROW = 4, 0.18  # of the legend; inches


@figure(
    "curves",
    of="curves",
    heading="Curves: ROC and precision-recall.",
    caption="""
    Of images and of pixels. Precision at pixel level falls fastest where a heatmap is coarse: that is
    what the refinement is for.
    """,
)
def curves(curves: pd.DataFrame, path: Path, described: Methods = NONE) -> None:
    """ROC and precision-recall curves of all methods, a row for images and a row for pixels.

    Thin: one category of base or DRDC, mean over seeds; thick: mean over these; lines of middle width: the
    same mean of each further method of the configuration. ROC curves are averaged over recall at equal
    false-positive rate (linear in between), the others over precision at equal recall (in steps, as in
    average precision). A level without curves is left out; where there is none at all, the figure says so.

    `curves`: curves.csv. `path`: the PNG, 1200 pixels wide. Raises `UserError` for a missing column.
    """
    texts, numbers = ("seed", "method", "category", "level"), ("recall", "precision", "fpr")
    frame = typed(curves, texts, numbers, "curves.csv")
    methods = compared(described, frame["method"].unique().tolist())
    if not methods:
        no_figure("No curve is defined: each needs normal and anomalous test images of one category.", path)
    else:
        save(draw_curves(frame, methods, described), path)


def draw_curves(curves: pd.DataFrame, methods: list[str], described: Methods = NONE) -> Figure:
    """The figure that `curves` writes, of the rows of some methods."""
    curves = curves[curves["method"].isin(methods)]
    levels = [level for level in LEVELS if (curves["level"] == level).any()]
    height = 2.3 * len(levels) + 0.4 + LEGEND_ROW * -(-(len(methods) + 1) // COLUMNS)
    figure = new_figure(WIDTH, height)
    panels = figure.subplots(len(levels), 2, squeeze=False)
    drawn = looks(methods, described)
    for level, (roc, precision) in zip(levels, panels, strict=True):
        parts = dict(list(curves[curves["level"] == level].groupby("method")))
        for method in methods:
            own = parts.get(method, curves.iloc[:0])
            _draw(roc, own, method, drawn[method], "fpr")
            _draw(precision, own, method, drawn[method], "recall")
        thing = LEVELS[level]
        roc.plot([0, 1], [0, 1], color="0.5", lw=1.0, ls=":", label="chance")
        _name(roc, f"false-positive rate, {thing}", f"recall, {thing}")
        _name(precision, f"recall, {thing}", f"precision, {thing}")
    _legend(figure, panels.ravel().tolist(), curves["seed"].nunique())
    return figure


def _legend(figure: Figure, panels: list[Axes], seeds: int) -> None:
    """One legend of all lines; a method that lacks pixels or images is in one row of panels alone."""
    lines = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    over = "mean over the categories" + (f" and {seeds} seeds" if seeds > 1 else "")
    legend(
        figure, list(lines.values()), list(lines), loc="outside upper center", ncols=COLUMNS,
        title=f"{over}; thin: a category of {' or '.join(map(name_of, COMPARED))}", title_fontsize=8.5,
    )  # fmt: skip


def _draw(axes: Axes, part: pd.DataFrame, method: str, look: Look, across: str) -> None:
    """A method's mean curve over "fpr" (ROC) or "recall" (precision); each category's of base and DRDC."""
    along, at_zero = {"fpr": (_recall, 0.0), "recall": (_precision, nan)}[across]
    lines = [
        np.mean([along(one) for _, one in own.groupby("seed")], axis=0) for _, own in part.groupby("category")
    ]
    if not lines:
        return
    x = np.append(0.0, GRID)
    mean = np.append(at_zero, np.mean(lines, axis=0))
    if method not in COMPARED:
        axes.plot(x, mean, color=look.colour, lw=1.2, ls=look.dash, zorder=1.9, label=name_of(method))
        return
    for line in lines if len(lines) > 1 else []:
        values = np.append(at_zero, line)
        axes.plot(x, values, color=look.colour, lw=0.6, alpha=0.4, ls=look.dash, label="_")
    axes.plot(x, mean, color=look.colour, lw=2.2, ls=look.dash, label=name_of(method))


def _recall(curve: pd.DataFrame) -> Floats:
    """Recall at the false-positive rates of `GRID`; where it rises at once, its upper end."""
    return np.interp(GRID, curve["fpr"], curve["recall"])


def _precision(curve: pd.DataFrame) -> Floats:
    """Precision at the recalls of `GRID`: that of the first threshold which reaches the recall."""
    curve = curve[curve["recall"] > 0]
    places = np.searchsorted(curve["recall"].to_numpy(), GRID, side="left")
    return curve["precision"].to_numpy(float)[np.minimum(places, len(curve) - 1)]


def _name(axes: Axes, x: str, y: str) -> None:
    plain(axes)
    axes.set_xlabel(x, fontsize=8.5)
    axes.set_ylabel(y, fontsize=8.5)
    axes.set_xticks(np.linspace(0.0, 1.0, 6))
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
