"""Figure 2: how sensitive the scores are to the hyper-parameters (Sec. 5.3)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from drdc.config.variants import FULL, Sweep
from drdc.reporting.aggregate import METRICS
from drdc.reporting.declared import figure
from drdc.reporting.figures import (
    OURS,
    WIDTH,
    is_log,
    legend,
    new_figure,
    no_figure,
    on_axis,
    percent_height,
    percent_limits,
    plain,
    save,
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
SHOWN = ("image_auroc", "pixel_auroc")  # a row of panels each
LOOK = OURS["drdc"]
LABELS = {
    "steps": "timesteps $|T|$",
    "initial_index": "initial index $t_0$",
    "disjoint_sets": "disjoint sets $n$",
    "filter_size": "filter size $s_f$ (px)",
    "weight": r"weight $\lambda$",
    "raw_weight": r"weight $\lambda$, raw maps",
    "grid_sizes": "grid sizes $k$ (px)",
    "scales": "scales $s$",
    "normalisation": "normalisation",
    "pool_size": "pool size (px)",
}
COLUMNS, NARROWEST = 3, 3.0  # panels across; inches, of a figure
PANEL, NAMES, LETTER = 1.05, 0.65, 0.07  # inches: a panel, name and values of a setting, a turned letter
PAD, SIGN = 0.1, 0.085  # parts of an axis: margin, width of a digit
LOG_FROM = 16.0  # ratio of the largest to the smallest value from which the axis is logarithmic


@figure(
    "fig2",
    of="sweeps",
    heading="Figure 2: sensitivity to the settings.",
    section="paper",
    caption="""
    Image and pixel AUROC of DRDC, each in a row of its own, while one setting changes and all others
    stay; the dotted line marks the experiment's own value, a band or bars the standard deviation over
    seeds. Both panels of a setting span equally many percentage points, those of two settings do not.
    Values that are not numbers are points without a line. A flat curve means that the setting needs no
    tuning. λ is shown in both readings of Eq. 17: of maps brought to one scale, and of raw maps. The
    models stay the same: also where the image is split into other numbers of disjoint sets than in
    training. Only the panels of T, t₀, n, the filter and λ are in the paper.
    """,
)
def fig2(
    scores: pd.DataFrame, sweeps: Sequence[Sweep], path: Path, seeds: Collection[str] | None = None
) -> None:
    """Figure 2: image AUROC (upper row) and pixel AUROC (lower row) against one hyper-parameter a column.

    Values are means over categories, then over seeds; bands and bars are one standard deviation (ddof = 1)
    over seeds. Both panels of a hyper-parameter are equally many percentage points high, at least 2. Numbers
    are joined by a line, lists and words are not. A value without scores is marked "failed".
    `scores`, `seeds`, errors: `sensitivity_data`; `path`: the PNG, at most 1200 pixels wide.
    Where neither metric is defined, it says why. The numbers are written next to it, as `fig2.csv`.
    """
    data = sensitivity_data(scores, sweeps, seeds)
    if _defined(data):
        save(draw(data, sweeps), path)
    else:
        no_figure(f"Neither image nor pixel AUROC is defined ({data['note'].iloc[0]}).", path)
    with atomic(path.with_suffix(".csv")) as part:
        data.to_csv(part, index=False)


def _defined(data: pd.DataFrame) -> list[str]:
    """The metrics that are defined for some category."""
    hopeless = data["note"].str.startswith(UNDEFINED).groupby(data["metric"]).all()
    return [metric for metric in SHOWN if not hopeless[metric]]


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
    means = method_means(scores, [("drdc", variant) for variant in variants], SHOWN, seeds)
    places = pd.DataFrame(
        [(s.setting, value, s.variant(value)) for s in sweeps for value in s.values], columns=list(DATA[:3])
    )
    return places.merge(means, on="variant", how="left", sort=False)[list(DATA)]


def draw(data: pd.DataFrame, sweeps: Sequence[Sweep]) -> Figure:
    """Figure 2 of the numbers that `sensitivity_data` returns, with those metrics that are defined."""
    metrics = _defined(data)
    data = data[data["metric"].isin(metrics)]
    across = min(len(sweeps), COLUMNS)
    down = -(-len(sweeps) // across)
    rows = [sweeps[row * across : (row + 1) * across] for row in range(down)]
    heights = [len(metrics) * PANEL + NAMES + LETTER * max(map(_turned, row)) for row in rows]
    figure = new_figure(max(across * WIDTH / COLUMNS, NARROWEST), sum(heights) + 0.5)
    blocks = figure.add_gridspec(down, across, height_ratios=heights)
    for index, sweep in enumerate(sweeps):
        panels = blocks[index // across, index % across].subgridspec(len(metrics), 1, hspace=0.0)
        part = data[data["setting"] == sweep.setting]
        all_axes = [figure.add_subplot(panels[row, 0]) for row in range(len(metrics))]
        _column(all_axes, metrics, sweep, part, chr(ord("a") + index))
        for axes, metric in zip(all_axes, metrics, strict=True):
            axes.set_ylabel("" if index % across else f"{METRICS[metric]} (%)", fontsize=8)
    legend(figure, handles=_handles(data), loc="outside upper center", ncols=max(1, across - 1))
    return figure


def _column(
    all_axes: Sequence[Axes], metrics: Sequence[str], sweep: Sweep, part: pd.DataFrame, letter: str
) -> None:
    """The panels of one sweep, one above the other: a metric each, the values at the lowest."""
    places = _places(sweep)
    part = part.assign(
        x=part["value"].map(places), mean=100 * part["mean"], std=100 * part["std"].fillna(0.0)
    )
    part = part.sort_values("x", kind="stable")
    part["low"], part["high"] = part["mean"] - part["std"], (part["mean"] + part["std"]).clip(upper=100.0)
    ranges = part.groupby("metric").agg({"low": "min", "high": "max"})
    height = max((percent_height(low, high) for low, high in ranges.dropna().to_numpy()), default=100.0)
    for axes, metric in zip(all_axes, metrics, strict=True):
        plain(axes)
        own = part[part["metric"] == metric]
        _draw(axes, metric, own.dropna(subset="mean"), height, joined=bool(_numbers(sweep)))
        _mark(axes, places[sweep.default], sorted(own.loc[own["mean"].isna(), "x"]))
        _x_axis(axes, sweep, axes is all_axes[-1])
    whose = "default" if sweep.of == FULL else "paper"
    across = all_axes[0].get_xaxis_transform()
    all_axes[0].text(
        places[sweep.default], 1.02, whose, transform=across, ha="center", va="bottom", size=8, color="0.25"
    )
    label = LABELS.get(sweep.setting, sweep.setting.replace("_", " "))
    all_axes[-1].set_xlabel(f"({letter}) {label}", fontsize=8.5)


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


def _draw(axes: Axes, metric: str, points: pd.DataFrame, height: float, joined: bool) -> None:
    """One metric; `joined`: whether between its values there are others."""
    from matplotlib.ticker import MaxNLocator

    colour, marker, dash = LOOK
    spread = points["std"].any()
    if spread and joined and len(points) > 1:
        axes.fill_between(points["x"], points["low"], points["high"], color=colour, alpha=0.18, lw=0)
    elif spread:
        axes.errorbar(points["x"], points["mean"], points["std"], color=colour, ls="", lw=1.0, capsize=3)
    axes.plot(
        points["x"], points["mean"], color=colour, marker=marker, ms=4.0, lw=1.4, ls=dash if joined else "",
        label=metric,
    )  # fmt: skip
    if len(points):
        axes.set_ylim(percent_limits(points["low"].min(), points["high"].max(), height))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def _mark(axes: Axes, default: float, failed: list[float]) -> None:
    """The default as a vertical line; the failed values as crosses on the bottom axis."""
    across = axes.get_xaxis_transform()
    axes.axvline(default, color="0.35", lw=1.0, ls=":", zorder=1, label="default")
    for x in failed:
        axes.plot(x, 0.0, "kx", ms=6, mew=1.6, transform=across, clip_on=False, zorder=5, label="failed")
        axes.text(x, 0.08, "failed", transform=across, ha="center", va="bottom", size=8, rotation=90)


def _x_axis(axes: Axes, sweep: Sweep, lowest: bool) -> None:
    """Limits and ticks: at the values that have room, or at all of them, turned, if they are words."""
    from matplotlib.ticker import NullLocator

    places, words = _places(sweep), not _numbers(sweep)
    low, high = min(places.values()), max(places.values())
    if is_log(places.values(), LOG_FROM):
        axes.set_xscale("log")
        pad = (high / low) ** PAD
        axes.set_xlim(low / pad, high * pad)
    else:
        pad = (2 if words else 1) * PAD * (high - low or 1.0)
        axes.set_xlim(low - pad, high + pad)
    shown = list(places) if words else _with_room(on_axis(places, LOG_FROM), sweep.default)
    axes.set_xticks([places[value] for value in shown], shown, parse_math=False)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="x", labelbottom=lowest, rotation=90 if _turned(sweep) else 0)


def _turned(sweep: Sweep) -> int:
    """Letters of the longest value if the values are words without room side by side, else 0."""
    if _numbers(sweep) or len(_with_room(on_axis(_places(sweep), LOG_FROM), sweep.default)) == len(
        sweep.values
    ):
        return 0
    return max(map(len, sweep.values))


def _with_room(unit: dict[str, float], default: str) -> list[str]:
    """The values whose labels do not touch: the default, the ends, then the others; `unit`: places in 0-1."""
    shown: list[str] = []
    for value in dict.fromkeys(
        (default, min(unit, key=unit.__getitem__), max(unit, key=unit.__getitem__), *unit)
    ):
        if all(abs(unit[value] - unit[o]) > SIGN * (len(value) + len(o) + 1) / 2 for o in shown):
            shown.append(value)
    return shown


def _handles(data: pd.DataFrame) -> list[Line2D | Patch]:
    """The legend of all panels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    seeds = int(data["seeds"].max())
    colour, marker, _ = LOOK
    mean = Line2D([], [], color=colour, marker=marker, ms=4.0, ls="", label=f"mean {over_categories(data)}")
    if seeds > 1:
        return [mean, Patch(color=colour, alpha=0.3, lw=0, label=f"± standard deviation, {seeds} seeds")]
    return [mean, Line2D([], [], ls="", label="one seed, hence no spread")]
