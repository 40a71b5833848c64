"""The style that all figures share, and the loss curves of the base and the diffusion model.

Figures are drawn on objects of their own, never on pyplot's global state, and saved without dates or
versions: the same numbers give the same bytes. Functions import what they need of matplotlib, because
planning the workflow imports all modules that declare a figure.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from drdc.config.variants import COMPARED
from drdc.reporting.declared import figure
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI, WIDTH = 150, 8.0  # pixels per inch, inches
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
)  # Okabe and Ito's: colour-blind safe
#: Of further methods: all combinations of a colour with a marker or with a dash are different for 16 of them.
MARKERS = ("^", "D", "v", "P", "X", "<", ">")
DASHES = ("-.", (0, (5, 1.5)), ":", (0, (3, 1, 1, 1, 1, 1)))
LEAST_POINTS = 2.0  # height of an axis in percentage points; less would show noise as an effect
NEEDED = ("images", "train_loss", "val_loss")
TITLES = {"base": "Base model (Eq. 1)", "diffusion": "Diffusion model (Eq. 10)"}


class Look(NamedTuple):
    """How a method is drawn: marker and dash tell it apart in black and white too."""

    colour: str
    marker: str
    dash: Any


OURS = {"base": Look(COLOURS[0], "s", "--"), "drdc": Look(COLOURS[1], "o", "-")}


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """How each method is drawn; base and DRDC look alike in all figures."""
    names = list(dict.fromkeys(methods))
    colours = COLOURS[len(COMPARED) :]
    found = {}
    for place, name in enumerate(name for name in names if name not in OURS):
        turn, colour = divmod(place, len(colours))
        marker, dash = MARKERS[(place + turn) % len(MARKERS)], DASHES[turn % len(DASHES)]
        found[name] = Look(colours[colour], marker, dash)
    return {name: OURS.get(name) or found[name] for name in names}


def new_figure(width: float, height: float, layout: Any = "constrained", dpi: int = DPI) -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=dpi, layout=layout)


def save_png(figure: Figure, path: Path, dpi: int) -> None:
    """Write `figure` as a PNG in one step, `dpi` in pixels per inch; the bytes depend on the drawing."""
    with atomic(path) as part:
        figure.savefig(part, format="png", dpi=dpi, metadata={"Software": None})


def no_figure(words: str, path: Path) -> None:
    """An image of the reason why there is no figure: a figure of the workflow always exists."""
    figure = new_figure(8.0, 0.5, layout=None)
    figure.text(0.01, 0.5, words, va="center", size=9.0, parse_math=False, wrap=True)
    save_png(figure, path, DPI)


def plain(axes: Axes) -> None:
    """The look of all axes: small ticks, a faint grid, no frame at the top and on the right."""
    axes.tick_params(labelsize=8, which="both")
    axes.grid(which="major", color="0.9", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def percent_height(low: float, high: float) -> float:
    """Height in percentage points of an axis that shows [low, high] with a margin."""
    return max(1.3 * (high - low), LEAST_POINTS)


def percent_limits(low: float, high: float, height: float) -> tuple[float, float]:
    """Limits of an axis in percent: `height` points with [low, high] in the middle, hardly above 100."""
    top = min((low + high + height) / 2, 100.0 + 0.08 * height)
    return top - height, top


@figure(
    "losses",
    of="losses",
    heading="Losses.",
    caption="""
    Mean squared error in feature space (base model, Eq. 1) and of the predicted noise (diffusion model,
    Eq. 10) against the number of training images seen. Faint: training; strong: held-out normal images
    that are never trained on. A curve that still falls at the end shows that longer training would help.
    """,
)
def losses(frames: dict[str, pd.DataFrame], path: Path) -> None:
    """Training and held-out loss against the number of images seen, one panel per model, one colour per seed.

    `frames`: "<model>/<seed>" (for instance "base/0") -> training log with the columns images (seen so far),
    train_loss and val_loss (mean squared errors, Eq. 1 and 10; empty where not measured). `path`: the PNG,
    1200 pixels wide. Raises `UserError` when there is no log or a log lacks a column.
    """
    panels = _by_model(frames)
    figure = new_figure(8.0, 3.5)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (model, logs) in zip(all_axes, panels.items(), strict=True):
        for colour, log in zip(_cycle(len(logs)), logs.values(), strict=True):
            _draw(axes, log, colour)
        _dress(axes, TITLES.get(model, model), list(logs))
    save_png(figure, path, DPI)


def _by_model(frames: dict[str, pd.DataFrame]) -> dict[str, dict[str, pd.DataFrame]]:
    """The logs grouped by model, then by seed, each in the order of the images seen."""
    if not frames:
        raise UserError("", "There is no training log to draw", "train a model first")
    panels: dict[str, dict[str, pd.DataFrame]] = {}
    for name, log in frames.items():
        absent = [column for column in NEEDED if column not in log]
        if absent:
            raise UserError(
                "", f"The training log of {name} has no column {', '.join(absent)}", "train it again"
            )
        model, _, seed = name.partition("/")
        panels.setdefault(model, {})[seed] = log.sort_values("images", kind="stable")
    return panels


def _cycle(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _draw(axes: Axes, log: pd.DataFrame, colour: str) -> None:
    """One run: training loss as a faint line, held-out loss as a strong one on top."""
    for column, width, alpha, order in (("train_loss", 1.0, 0.35, 2), ("val_loss", 1.5, 1.0, 3)):
        points = log[["images", column]].dropna()
        marker = "o" if len(points) <= 40 and column == "val_loss" else ""
        axes.plot(
            points["images"], points[column], color=colour, lw=width, alpha=alpha, zorder=order,
            marker=marker, ms=3.0,
        )  # fmt: skip


def _dress(axes: Axes, title: str, seeds: list[str]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.set_title(title, fontsize=10, parse_math=False)
    axes.set_xlabel("images seen", fontsize=9)
    axes.set_ylabel("loss", fontsize=9)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    plain(axes)
    handles = [
        Line2D([], [], color="0.3", lw=1.0, alpha=0.5, label="training"),
        Line2D([], [], color="0.3", lw=1.5, marker="o", ms=3.0, label="held-out"),
    ]
    if any(seeds):
        colours = zip(_cycle(len(seeds)), seeds, strict=True)
        handles += [Line2D([], [], color=colour, lw=1.8, label=f"seed {seed}") for colour, seed in colours]
    axes.legend(handles=handles, fontsize=8, frameon=False, ncols=1 if len(seeds) < 4 else 2)
