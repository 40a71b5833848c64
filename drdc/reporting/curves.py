"""ROC and precision-recall curves of images and of pixels."""

from __future__ import annotations

from collections.abc import Collection
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.variants import COMPARED
from drdc.reporting.declared import figure
from drdc.reporting.described import NONE, Methods, compared, name_of
from drdc.reporting.figures import WIDTH, Look, label_of, legend, looks, new_figure, no_figure, plain, save
from drdc.reporting.formats import FAILED
from drdc.reporting.lost import NOTHING, Failed, lost
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
def curves(curves: pd.DataFrame, path: Path, described: Methods = NONE, failed: Failed = NOTHING) -> None:
    """ROC and precision-recall curves of all methods, a row for images and a row for pixels.

    Thin: one category of base or DRDC, mean over seeds; thick: mean over these; lines of middle width: the
    same mean of each further method of the configuration. ROC curves are averaged over recall at equal
    false-positive rate (linear in between), the others over precision at equal recall (in steps, as in
    average precision). A level without curves is left out; where there is none at all, the figure says so. A
    method that lacks a category at some seed has no mean, and the legend says that it failed.

    `curves`: curves.csv; `failed`: what is lacking there. `path`: the PNG, 1200 pixels wide. Raises
    `UserError` for a missing column.
    """
    texts, numbers = ("seed", "method", "category", "level"), ("recall", "precision", "fpr")
    frame = typed(curves, texts, numbers, "curves.csv")
    methods = compared(described, frame["method"].unique().tolist())
    if not methods:
        no_figure("No curve is defined: each needs normal and anomalous test images of one category.", path)
    else:
        save(draw_curves(frame, methods, described, failed), path)


def draw_curves(
    curves: pd.DataFrame, methods: list[str], described: Methods = NONE, failed: Failed = NOTHING
) -> Figure:
    """The figure that `curves` writes, of the rows of some methods."""
    curves = curves[curves["method"].isin(methods)]
    levels = [level for level in LEVELS if (curves["level"] == level).any()]
    height = 2.3 * len(levels) + 0.4 + LEGEND_ROW * -(-(len(methods) + 1) // COLUMNS)
    figure = new_figure(WIDTH, height)
    panels = figure.subplots(len(levels), 2, squeeze=False)
    drawn, most = looks(methods, described), curves["seed"].nunique()
    for level, (roc, precision) in zip(levels, panels, strict=True):
        parts = {str(m): own for m, own in curves[curves["level"] == level].groupby("method")}
        gone = lost(parts, failed)
        for method in (method for method in methods if method in parts):
            absent = {name for own in gone[method].values() for name in own}
            seeds = parts[method]["seed"].nunique()
            label = f"{name_of(method)} ({FAILED})" if absent else label_of(method, seeds, most)
            for axes, across in ((roc, "fpr"), (precision, "recall")):
                _draw(axes, parts[method], method, drawn[method], across, absent, label)
        thing = LEVELS[level]
        roc.plot([0, 1], [0, 1], color="0.5", lw=1.0, ls=":", label="chance")
        _name(roc, f"false-positive rate, {thing}", f"recall, {thing}")
        _name(precision, f"recall, {thing}", f"precision, {thing}")
    _legend(figure, panels.ravel().tolist(), most)
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


def _draw(
    axes: Axes, part: pd.DataFrame, method: str, look: Look, across: str, absent: Collection[str], label: str
) -> None:
    """A method's mean curve over "fpr" (ROC) or "recall" (precision); each category's of base and DRDC.

    `absent`: categories that it lacks at some seed; there is no mean then.
    """
    along, at_zero = {"fpr": (_recall, 0.0), "recall": (_precision, nan)}[across]
    lines = [
        np.mean([along(one) for _, one in own.groupby("seed")], axis=0)
        for category, own in part.groupby("category")
        if category not in absent
    ]
    x = np.append(0.0, GRID)
    thin = lines if method in COMPARED and len(lines) + len(absent) > 1 else []
    for line in thin:
        values = np.append(at_zero, line)
        axes.plot(x, values, color=look.colour, lw=0.6, alpha=0.4, ls=look.dash, label="_")
    mean = np.full_like(x, nan) if absent else np.append(at_zero, np.mean(lines, axis=0))
    width, order = (2.2, 2.0) if method in COMPARED else (1.2, 1.9)
    axes.plot(x, mean, color=look.colour, lw=width, ls=look.dash, zorder=order, label=label)


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
