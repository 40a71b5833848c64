"""The style that all figures share, and the loss curves of the base and the diffusion model.

A figure is as wide as the text of a page, so that its letters keep their size in print, and can be read on a
screen of 400 pixels. Figures are drawn on objects of their own, never on pyplot's global state, and
saved without dates or versions: the same numbers give the same bytes. Functions import what they need of
matplotlib, because planning the workflow imports all modules that declare a figure.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from drdc.config.variants import COMPARED
from drdc.reporting.declared import figure
from drdc.reporting.described import NONE, Methods, name_of
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D

DPI, WIDTH = 240, 5.0  # pixels per inch, inches: 1200 pixels
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
MEANS = "means_loss"
TITLES = {
    "base": "Base model\n(Eq. 1)",
    "diffusion": "Diffusion model\n(Eq. 10)",
    "unconditional": "Diffusion model\nwithout condition",
}


class Look(NamedTuple):
    """How a method is drawn: marker and dash tell it apart in black and white too."""

    colour: str
    marker: str
    dash: Any


OURS = {"base": Look(COLOURS[0], "s", "--"), "drdc": Look(COLOURS[1], "o", "-")}


def looks(methods: Iterable[str], described: Methods = NONE) -> dict[str, Look]:
    """How each method is drawn: alike in all figures, for those of the configuration (`described`) by their
    place in it, also where a figure lacks some of them."""
    names = list(dict.fromkeys([*described, *methods]))
    colours = COLOURS[len(COMPARED) :]
    found = {}
    for place, name in enumerate(name for name in names if name not in OURS):
        turn, colour = divmod(place, len(colours))
        marker, dash = MARKERS[(place + turn) % len(MARKERS)], DASHES[turn % len(DASHES)]
        found[name] = Look(colours[colour], marker, dash)
    return {name: OURS.get(name) or found[name] for name in names}


def label_of(method: str, seeds: int, most: int) -> str:
    """A method's name in a legend, with its number of seeds where another method has more."""
    fewer = f" ({seeds} seed{'s' if seeds > 1 else ''})" if seeds < most else ""
    return name_of(method) + fewer


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout=layout)


def save(figure: Figure, path: Path) -> None:
    """Write `figure` as the PNG `path`, and for print as a PDF next to it; same drawing, same bytes."""
    import matplotlib as mpl

    without = {"png": ["Software"], "pdf": ["Creator", "Producer", "CreationDate"]}
    # Type 42: publishers refuse matplotlib's own kind of font.
    with mpl.rc_context({"pdf.fonttype": 42}):
        for ending, facts in without.items():
            with atomic(path.with_suffix(f".{ending}")) as part:
                figure.savefig(part, format=ending, dpi=DPI, metadata=dict.fromkeys(facts))


def no_figure(words: str, path: Path) -> None:
    """An image of the reason why there is no figure: a figure of the workflow always exists."""
    lines = textwrap.wrap(words, 80)
    figure = new_figure(WIDTH, 0.3 + 0.15 * len(lines), layout=None)
    figure.text(0.01, 0.5, "\n".join(lines), va="center", size=8.5, parse_math=False)
    save(figure, path)


def legend(of: Axes | Figure, *entries: Any, **look: Any) -> Legend:
    """A legend whose words are names, not formulas; arguments: matplotlib's."""
    made = of.legend(*entries, **{"fontsize": 8, "frameon": False, **look})
    for text in made.get_texts():
        text.set_parse_math(False)
    return made


def plain(axes: Axes) -> None:
    """The look of all axes: small ticks, a faint grid, no frame at the top and on the right."""
    axes.tick_params(labelsize=8, which="both")
    axes.grid(which="major", color="0.9", lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def percent_height(low: float, high: float) -> float:
    """Height in percentage points of an axis that shows [low, high] with a margin."""
    return max(1.3 * (high - low), LEAST_POINTS)


def is_log(numbers: Collection[float], ratio: float) -> bool:
    """Whether their axis is logarithmic: all are positive, and the largest is `ratio` times the smallest."""
    return bool(numbers) and min(numbers) > 0 and max(numbers) / min(numbers) >= ratio


def on_axis(numbers: Mapping[str, float], ratio: float) -> dict[str, float]:
    """Where each number stands on an axis from 0 to 1, linear or, see `is_log`, logarithmic."""
    if is_log(numbers.values(), ratio):
        numbers = {value: math.log(number) for value, number in numbers.items()}
    least, most = min(numbers.values(), default=0.0), max(numbers.values(), default=0.0)
    return {value: (number - least) / ((most - least) or 1.0) for value, number in numbers.items()}


def percent_limits(low: float, high: float, height: float) -> tuple[float, float]:
    """Limits of an axis in percent: `height` points with [low, high] in the middle, hardly above 100."""
    top = min((low + high + height) / 2, 100.0 + 0.08 * height)
    return top - height, top


@figure(
    "losses",
    of="losses",
    heading="Training: losses.",
    section="data",
    caption="""
    Mean squared error in feature space (base model, Eq. 1) and of the predicted noise (diffusion model,
    Eq. 10) against the number of training images seen. Faint: training; strong: held-out normal images
    that are never trained on. A curve that still falls at the end shows that longer training would help.
    Dotted: the held-out loss of each category's mean features; a base model that does not end well below it
    is far from trained.
    """,
)
def losses(frames: dict[str, pd.DataFrame], path: Path) -> None:
    """Training and held-out loss against the number of images seen: a panel per model, a dash per seed.

    `frames`: "<model>/<seed>" (for instance "base/0") -> training log with the columns images (seen so far),
    train_loss and val_loss (mean squared errors, Eq. 1 and 10; empty where not measured), and for the base
    model means_loss. `path`: the PNG, 1200 pixels wide. Raises `UserError` when there is no log or a log
    lacks a column.
    """
    panels = _by_model(frames)
    figure = new_figure(WIDTH, 2.8)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    seeds = list(dict.fromkeys(seed for logs in panels.values() for seed in logs))
    dashes = dict(zip(seeds, _dashes(len(seeds)), strict=True))
    for axes, (model, logs) in zip(all_axes, panels.items(), strict=True):
        colour = OURS["base" if model == "base" else "drdc"].colour
        for seed, log in logs.items():
            _draw(axes, log, colour, dashes[seed])
            if MEANS in log:
                axes.axhline(log[MEANS].iloc[0], color=colour, ls=":", lw=1.0)
        _dress(axes, TITLES.get(model, model))
    all_axes[0].set_ylabel("loss (mean squared error)", fontsize=9)
    legend(figure, handles=_entries(seeds, frames), loc="outside upper center", ncols=4)
    save(figure, path)


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


def _dashes(count: int) -> list[Any]:
    """Those of so many seeds."""
    return [("-", *DASHES)[index % (1 + len(DASHES))] for index in range(count)]


def _draw(axes: Axes, log: pd.DataFrame, colour: str, dash: Any) -> None:
    """One run: training loss as a faint line, held-out loss as a strong one on top."""
    for column, width, alpha, order in (("train_loss", 1.0, 0.35, 2), ("val_loss", 1.5, 1.0, 3)):
        points = log[["images", column]].dropna()
        marker = "o" if len(points) <= 40 and column == "val_loss" else ""
        axes.plot(
            points["images"], points[column], color=colour, ls=dash, lw=width, alpha=alpha, zorder=order,
            marker=marker, ms=2.5,
        )  # fmt: skip


def _dress(axes: Axes, title: str) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.set_yscale("log")
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_xlabel("training images seen", fontsize=8.5)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    plain(axes)


def _entries(seeds: list[str], frames: dict[str, pd.DataFrame]) -> list[Line2D]:
    """Of the legend of all panels."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color="0.3", lw=1.0, alpha=0.5, label="training"),
        Line2D([], [], color="0.3", lw=1.5, marker="o", ms=2.5, label="held-out"),
    ]
    if any(MEANS in log for log in frames.values()):
        handles.append(Line2D([], [], color="0.3", ls=":", lw=1.0, label="category means"))
    dashes = zip(_dashes(len(seeds)), seeds, strict=True) if len(seeds) > 1 else ()
    return handles + [
        Line2D([], [], color="0.3", lw=1.5, ls=dash, label=f"seed {seed}") for dash, seed in dashes
    ]
