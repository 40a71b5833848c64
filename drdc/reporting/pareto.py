"""Accuracy against time: which methods are worth their cost."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from drdc.reporting.aggregate import METRICS
from drdc.reporting.declared import figure
from drdc.reporting.described import NONE, Methods, name_of
from drdc.reporting.figures import (
    DPI,
    WIDTH,
    Look,
    looks,
    new_figure,
    no_figure,
    percent_height,
    percent_limits,
    plain,
    save,
)
from drdc.reporting.method_means import method_means, over_categories
from drdc.results.scores import typed
from drdc.runtime.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.figure import Figure
    from matplotlib.transforms import Bbox

TEXTS = ("method", "variant", "device", "threads", "batch_size")
SECONDS = "seconds_per_image"
SHOWN = ("image_auroc", "pixel_ap")
HEIGHT, LINE = 2.7, 88  # inches of a panel, signs of a line underneath
NEAR = 6.0  # points between a marker and a label that needs no line to it
DISTANCES = (NEAR, 10.0, 18.0, 27.0, 38.0, 52.0, 68.0, 86.0, 106.0)  # of a label, the nearest first
ANGLES = (90, 135, 180, 315, 270, 45, 0, 225, 110, 70, 250, 290, 160, 20, 200, 340)  # the likeliest first


@figure(
    "pareto",
    of="costs_and_scores",
    heading="Accuracy against time (Pareto front).",
    section="glance",
    caption="""
    Upper left is better: more found in less time. The grey steps are the Pareto front, the methods (filled)
    that no other beats in both.
    """,
)
def pareto(costs: pd.DataFrame, scores: pd.DataFrame, path: Path, described: Methods = NONE) -> None:
    """Image AUROC and pixel AP over the seconds for one image, with the Pareto front as steps.

    A named marker per method and variant with a cost and a score; on the front, filled. Scores are means over
    categories, then over the seeds that all of them share (`method_means.method_means`).

    `costs`: costs.csv; `scores`: tidy scores of one experiment; `path`: the PNG, 1200 pixels wide. Where no
    method has a cost and a score, it says why. Raises `UserError` for a missing column or a duplicate method.
    """
    found = points(costs, scores)
    if found["percent"].isna().all():
        no_figure(f"No method has both a cost and a score: {found['note'].iloc[0]}.", path)
    else:
        save(draw(found, conditions(costs), described), path)


def points(costs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """What is drawn: method, variant, seconds, metric, percent (NaN where not defined), seeds, categories,
    note, front.

    `front`: whether no other method is both at least as fast and at least as good, and better in one of the
    two. Errors: as `pareto`.
    """
    frame = typed(costs, TEXTS, (SECONDS,), "costs.csv")
    if frame.duplicated(["method", "variant"]).any():
        twice = " ".join(frame[frame.duplicated(["method", "variant"])].iloc[0][["method", "variant"]])
        raise UserError("costs.csv", f"the method {twice} appears twice", "keep one of its rows")
    frame = frame[frame[SECONDS] > 0]
    seconds = frame.set_index(["method", "variant"])[SECONDS]
    if seconds.empty:
        raise UserError("", "costs.csv has no time of any method", "run `drdc costs` first")
    means = method_means(scores, [(str(m), str(v)) for m, v in seconds.index], SHOWN)
    means["seconds"] = [
        seconds[method, variant] for method, variant in means[["method", "variant"]].to_numpy()
    ]
    means["percent"] = 100.0 * means["mean"]
    of_metric = dict(list(means.groupby("metric")))
    means["front"] = [
        _on_front(seconds, percent, of_metric[metric])
        for seconds, percent, metric in zip(means["seconds"], means["percent"], means["metric"], strict=True)
    ]
    return means.drop(columns=["mean", "std"])


def conditions(costs: pd.DataFrame) -> str:
    """On what the times were measured, each combination of device, threads and batch size once."""
    where = dict.fromkeys(
        f"{device}, threads: {threads}, batch size: {size}"
        for device, threads, size in costs[["device", "threads", "batch_size"]].to_numpy()
    )
    return f"Time: shortest of five for one test image on {'; '.join(where)}."


def draw(points: pd.DataFrame, underneath: str, described: Methods = NONE) -> Figure:
    """The figure of what `points` returns, a panel per metric that is defined, `underneath` below it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    known = points.dropna(subset="percent")
    metrics = [metric for metric in SHOWN if (known["metric"] == metric).any()]
    note = textwrap.wrap(f"{underneath} {_about(points, int(known['seeds'].max()))}", LINE)
    figure = new_figure(WIDTH, HEIGHT * len(metrics) + 0.16 * len(note))
    figure.supxlabel("\n".join(note), x=0.01, ha="left", fontsize=8, parse_math=False)
    panels = figure.subplots(len(metrics), 1, squeeze=False)[:, 0]
    drawn = looks(points["method"], described)
    for axes, metric in zip(panels, metrics, strict=True):
        _panel(axes, known[known["metric"] == metric], drawn)
        axes.set_ylabel(f"{METRICS[metric]} (%)", fontsize=9)
    figure.draw_without_rendering()  # settles where the axes are
    for axes, metric in zip(panels, metrics, strict=True):
        _label(axes, known[known["metric"] == metric], FigureCanvasAgg(figure).get_renderer())
    return figure


def _on_front(seconds: float, percent: float, others: pd.DataFrame) -> bool:
    no_worse = (others["seconds"] <= seconds) & (others["percent"] >= percent)
    better = (others["seconds"] < seconds) | (others["percent"] > percent)
    return bool(np.isfinite(percent) and not (no_worse & better).any())


def _about(points: pd.DataFrame, seeds: int) -> str:
    """How many seeds the scores are of, and which methods are not drawn."""
    spread = f"mean over {seeds} seeds" if seeds > 1 else "one seed"
    over = over_categories(points)
    text = f"Scores: mean {over}, {spread}. Filled: on the Pareto front (grey)."
    scored = points["percent"].notna().groupby([points["method"], points["variant"]], sort=False).any()
    without = [_name(str(method), str(variant)) for method, variant in scored.index[~scored]]
    return f"{text} Without a score: {', '.join(without)}." if without else text


def _name(method: str, variant: str) -> str:
    """What a marker is called."""
    return name_of(method) if variant in ("full", "") else f"{name_of(method)}, {variant}"


def _panel(axes: Axes, points: pd.DataFrame, looks: dict[str, Look]) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    plain(axes)
    low, high = points["seconds"].min(), points["seconds"].max()
    pad = max((high / low) ** 0.18, 1.5)
    axes.set_xscale("log")
    axes.set_xlim(low / pad, high * pad)
    height = percent_height(points["percent"].min(), points["percent"].max()) * 1.15
    axes.set_ylim(percent_limits(points["percent"].min(), points["percent"].max(), height))
    front = points[points["front"]].sort_values("seconds")
    steps = np.append(front["seconds"], high * pad), np.append(front["percent"], front["percent"].iloc[-1])
    axes.plot(*steps, color="0.6", lw=1.4, drawstyle="steps-post", zorder=1, label="Pareto front")
    for method, (colour, marker, _) in looks.items():
        own = points[points["method"] == method]
        faces = [colour if front else "white" for front in own["front"]]
        look: dict[str, Any] = {"marker": marker, "edgecolors": colour, "linewidths": 1.4, "zorder": 3}
        axes.scatter(own["seconds"], own["percent"], s=32, c=faces, **look)
    axes.set_xlabel("time (seconds for one image)", fontsize=9)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high * pad**2 / low < 100 else (1.0,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def _label(axes: Axes, points: pd.DataFrame, renderer: RendererAgg) -> None:
    """Names next to the markers, each at the nearest place that is free of markers and of other names."""
    from matplotlib.patheffects import withStroke
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    frame = axes.get_window_extent(renderer)
    centres = axes.transData.transform(points[["seconds", "percent"]].to_numpy(float))
    reach = 4.5 * DPI / 72
    taken = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in centres]
    line = {"arrowstyle": "-", "color": "0.6", "lw": 0.7, "shrinkA": 0.0, "shrinkB": 3.0}
    halo = [withStroke(linewidth=2.0, foreground="white")]
    names = [_name(*pair) for pair in points[["method", "variant"]].to_numpy()]
    for name, place in zip(names, points[["seconds", "percent"]].to_numpy(float), strict=True):
        text = axes.annotate(
            name, tuple(place), (0.0, 0.0), textcoords="offset points", fontsize=8, parse_math=False,
            ha="center", va="center", zorder=4, arrowprops=line, path_effects=halo,
        )  # fmt: skip
        text.set_in_layout(False)
        text.update_positions(renderer)
        size = Text.get_window_extent(text, renderer)
        offset, distance = _free_place(size, frame, taken)
        text.set_position((offset[0] * 72 / DPI, offset[1] * 72 / DPI))
        if text.arrow_patch:
            text.arrow_patch.set_visible(distance > NEAR)
        taken.append(size.translated(*offset).padded(1.5))


def _free_place(size: Bbox, frame: Bbox, taken: list[Bbox]) -> tuple[tuple[float, float], float]:
    """The nearest free offset (pixels) of a label, and its distance (points); if none is free, the farthest.

    `size`: the box of the label if it lay on its marker; `frame`: the axes; all in pixels.
    """
    for distance in DISTANCES:
        for angle in np.radians(ANGLES):
            gap = distance * DPI / 72
            offset = np.cos(angle) * (gap + size.width / 2), np.sin(angle) * (gap + size.height / 2)
            box = size.translated(*offset).padded(1.5)
            inside = frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)
            if inside and not any(box.overlaps(other) for other in taken):
                return offset, distance
    return offset, distance
