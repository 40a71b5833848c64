"""Figure 2: how sensitive the scores are to the hyper-parameters (Sec. 5.3)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import isfinite, log
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from drdc.config.variants import FULL, Sweep
from drdc.reporting.aggregate import METRICS
from drdc.reporting.declared import figure
from drdc.reporting.figures import (
    COLOURS,
    DPI,
    new_figure,
    no_figure,
    percent_height,
    percent_limits,
    plain,
    save_png,
)
from drdc.reporting.method_means import UNDEFINED, method_means, over_categories
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

DATA = ("setting", "value", "variant", "metric", "mean", "std", "seeds", "categories", "note")
LEFT, RIGHT = "image_auroc", "pixel_auroc"
LOOK = {LEFT: (COLOURS[0], "o", "-"), RIGHT: (COLOURS[1], "s", "--")}
LABELS = {
    "steps": "number of timesteps $|T|$",
    "initial_index": "initial index $t_0$",
    "disjoint_sets": "disjoint sets $n$",
    "filter_size": "mean filter size $s_f$ (pixels)",
    "weight": r"weight $\lambda$ of the diffusion map",
    "raw_weight": r"weight $\lambda$ in the sum of raw maps",
    "grid_sizes": "grid sizes $k$ (pixels)",
    "scales": "scales $s$ (reductions)",
    "normalisation": "normalisation of the maps",
    "pool_size": "pool size of the score (pixels)",
}
COLUMNS, PANEL, NARROWEST = 3, (8.0 / 3, 2.2), 4.6  # panels across; inches: panel, figure
PAD, SIGN = 0.08, 0.038  # parts of an axis: margin, width of a digit
LOG_FROM = 16.0  # ratio of the largest to the smallest value from which the axis is logarithmic


@figure(
    "fig2",
    of="sweeps",
    heading="Figure 2. Sensitivity.",
    caption="""
    Image and pixel AUROC while one setting changes and all others stay; the dotted line marks the
    experiment's own value, a band the standard deviation over seeds. A flat curve means that the setting
    needs no tuning. λ is shown in both readings of Eq. 17: of maps brought to one scale, and of raw maps.
    The models stay the same: also where the image is split into other numbers of disjoint sets than in
    training. Only the panels of T, t₀, n, the filter and λ are in the paper.
    """,
)
def fig2(
    scores: pd.DataFrame, sweeps: Sequence[Sweep], path: Path, seeds: Collection[str] | None = None
) -> None:
    """Figure 2: image AUROC (left axis) and pixel AUROC (right axis) against one hyper-parameter a panel.

    Lines are means over categories, then over seeds; bands are one standard deviation (ddof = 1) over seeds.
    Both axes of a panel are equally many percentage points high, at least 2. A value without scores is
    marked "failed". `scores`, `seeds`, errors: `sensitivity_data`; `path`: the PNG, at most 1200 pixels wide.
    Where neither metric is defined, it says why. The numbers are written next to it, as `fig2.csv`.
    """
    data = sensitivity_data(scores, sweeps, seeds)
    if _defined(data):
        save_png(draw(data, sweeps), path, DPI)
    else:
        no_figure(f"Neither image nor pixel AUROC is defined ({data['note'].iloc[0]}).", path)
    with atomic(path.with_suffix(".csv")) as part:
        data.to_csv(part, index=False)


def _defined(data: pd.DataFrame) -> list[str]:
    """The metrics that are defined for some category."""
    hopeless = data["note"].str.startswith(UNDEFINED).groupby(data["metric"]).all()
    return [metric for metric in LOOK if not hopeless[metric]]


def sensitivity_data(
    scores: pd.DataFrame, sweeps: Sequence[Sweep], seeds: Collection[str] | None = None
) -> pd.DataFrame:
    """The numbers of Figure 2: setting, value, variant, metric, mean, std, seeds, categories (counts), note.

    `scores`: tidy scores of one experiment, fractions in [0, 1]; so are mean and std. `seeds`: those to
    compare on, by default those that all variants share. Where a score failed or is missing, mean and std are
    NaN and the note says why. Raises `UserError` as `method_means` does, and when there is no sweep.
    """
    if not sweeps:
        raise UserError("", "There is no sweep to draw", "list the values of at least one setting")
    variants = dict.fromkeys(sweep.variant(value) for sweep in sweeps for value in sweep.values)
    means = method_means(scores, [("drdc", variant) for variant in variants], (LEFT, RIGHT), seeds)
    places = pd.DataFrame(
        [(s.setting, value, s.variant(value)) for s in sweeps for value in s.values], columns=list(DATA[:3])
    )
    return places.merge(means, on="variant", how="left", sort=False)[list(DATA)]


def draw(data: pd.DataFrame, sweeps: Sequence[Sweep]) -> Figure:
    """Figure 2 of the numbers that `sensitivity_data` returns, with those metrics that are defined."""
    metrics = _defined(data)
    across = min(len(sweeps), COLUMNS)
    down = -(-len(sweeps) // across)
    size = (max(across * PANEL[0], NARROWEST), down * PANEL[1] + 0.6)
    figure = new_figure(*size)
    grid = figure.add_gridspec(down, across)
    for index, sweep in enumerate(sweeps):
        axes = figure.add_subplot(grid[index // across, index % across])
        first, last = index % across == 0, index % across == across - 1 or index == len(sweeps) - 1
        part = data[(data["setting"] == sweep.setting) & data["metric"].isin(metrics)]
        _panel(axes, sweep, part, f"({chr(ord('a') + index)})", (first, last))
    handles = _handles(data[data["metric"].isin(metrics)], metrics)
    columns = 2 if across <= 2 else 3
    figure.legend(handles=handles, loc="outside upper center", ncols=columns, fontsize=8, frameon=False)
    return figure


def _panel(axes: Axes, sweep: Sweep, part: pd.DataFrame, letter: str, ends: tuple[bool, bool]) -> None:
    """One sweep; `ends`: whether the left and the right axis carry their names."""
    places = _places(sweep)
    part = part.assign(
        x=part["value"].map(places), mean=100 * part["mean"], std=100 * part["std"].fillna(0.0)
    )
    part = part.sort_values("x", kind="stable")
    part["low"], part["high"] = part["mean"] - part["std"], (part["mean"] + part["std"]).clip(upper=100.0)
    ranges = part.groupby("metric").agg({"low": "min", "high": "max"})
    height = max((percent_height(low, high) for low, high in ranges.dropna().to_numpy()), default=100.0)
    plain(axes)
    for metric, named in zip((LEFT, RIGHT), ends, strict=True):
        points = part[part["metric"] == metric]
        if len(points):
            _line(
                axes if metric == LEFT else axes.twinx(), metric, points.dropna(subset="mean"), height, named
            )
    failed = sorted(set(part.loc[part["mean"].isna(), "x"]))
    _mark(axes, places[sweep.default], failed, "default" if sweep.of == FULL else "paper")
    _x_axis(axes, sweep, letter)


def _numbers(sweep: Sweep) -> dict[str, float]:
    """The values as numbers; empty if some value is not one, or most are too close to 1 to be told apart."""
    if sweep.setting == "raw_weight":
        return {}
    try:
        numbers = {value: float(value) for value in sweep.values}
    except ValueError:
        return {}
    return numbers if all(map(isfinite, numbers.values())) else {}


def _places(sweep: Sweep) -> dict[str, float]:
    """The position of each value: at its number, or evenly spaced."""
    return _numbers(sweep) or {value: float(index) for index, value in enumerate(sweep.values)}


def _line(axes: Axes, metric: str, points: pd.DataFrame, height: float, named: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    colour, marker, dash = LOOK[metric]
    if points["std"].any() and len(points) > 1:
        axes.fill_between(points["x"], points["low"], points["high"], color=colour, alpha=0.18, lw=0)
    elif points["std"].any():
        axes.errorbar(points["x"], points["mean"], points["std"], color=colour, lw=1.0, capsize=3)
    axes.plot(points["x"], points["mean"], color=colour, marker=marker, ms=4.0, lw=1.4, ls=dash, label=metric)
    if len(points):
        axes.set_ylim(percent_limits(points["low"].min(), points["high"].max(), height))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.tick_params(axis="y", colors=colour, labelsize=8)
    if named:
        axes.set_ylabel(f"{METRICS[metric]} (%)", fontsize=9, color=colour)
    if metric == RIGHT:
        axes.spines[["top", "left"]].set_visible(False)


def _mark(axes: Axes, default: float, failed: list[float], whose: str) -> None:
    """The default, `whose` it is, as a vertical line; the failed values as crosses on the bottom axis."""
    across = axes.get_xaxis_transform()
    axes.axvline(default, color="0.35", lw=1.0, ls=":", zorder=1, label="default")
    axes.text(default, 1.01, whose, transform=across, ha="center", va="bottom", size=8, color="0.25")
    for x in failed:
        axes.plot(x, 0.0, "kx", ms=6, mew=1.6, transform=across, clip_on=False, zorder=5, label="failed")
        axes.text(x, 0.05, "failed", transform=across, ha="center", va="bottom", size=8, rotation=90)


def _x_axis(axes: Axes, sweep: Sweep, letter: str) -> None:
    """Name, limits and ticks: at the values that have room, or at all of them, slanted, if they are words."""
    from matplotlib.ticker import NullLocator

    label = LABELS.get(sweep.setting, sweep.setting.replace("_", " "))
    axes.set_xlabel(f"{letter} {label}", fontsize=9)
    places, words = _places(sweep), not _numbers(sweep)
    low, high = min(places.values()), max(places.values())
    if not words and low > 0 and high / low >= LOG_FROM:
        axes.set_xscale("log")
        pad = (high / low) ** PAD
        axes.set_xlim(low / pad, high * pad)
        unit = {value: log(x / low) / log(high / low) for value, x in places.items()}
    else:
        span = high - low or 1.0
        axes.set_xlim(low - PAD * span, high + PAD * span)
        unit = {value: (x - low) / span for value, x in places.items()}
    shown = list(places) if words else _with_room(unit, sweep.default)
    axes.set_xticks([places[value] for value in shown], shown, parse_math=False)
    axes.xaxis.set_minor_locator(NullLocator())
    if words:
        axes.tick_params(axis="x", rotation=30)


def _with_room(unit: dict[str, float], default: str) -> list[str]:
    """The values whose labels do not touch: the default, the ends, then the others; `unit`: places in 0-1."""
    shown: list[str] = []
    for value in dict.fromkeys(
        (default, min(unit, key=unit.__getitem__), max(unit, key=unit.__getitem__), *unit)
    ):
        if all(abs(unit[value] - unit[o]) > SIGN * (len(value) + len(o) + 1) / 2 for o in shown):
            shown.append(value)
    return shown


def _handles(data: pd.DataFrame, metrics: Sequence[str]) -> list[Line2D | Patch]:
    """The legend of all panels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    seeds = int(data["seeds"].max())
    handles: list[Line2D | Patch] = []
    for metric, side in ((LEFT, "left"), (RIGHT, "right")):
        if metric in metrics:
            colour, marker, dash = LOOK[metric]
            label = f"{METRICS[metric]} ({side} axis)"
            handles.append(Line2D([], [], color=colour, marker=marker, ms=4.0, lw=1.4, ls=dash, label=label))
    handles.append(Line2D([], [], ls="", label=f"mean {over_categories(data)}"))
    if seeds > 1:
        label = f"± standard deviation over {seeds} seeds"
        handles.append(Patch(color="0.5", alpha=0.3, lw=0, label=label))
    else:
        handles.append(Line2D([], [], ls="", label="one seed, hence no spread"))
    return handles
