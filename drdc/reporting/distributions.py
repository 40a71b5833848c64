"""Pictures of how far normal and anomalous test images lie apart: histograms, curves, effect sizes."""

from collections.abc import Iterator
from math import ceil, isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from drdc.evaluation.category import COMPARED
from drdc.reporting.aggregate import METHODS, in_paper_order
from drdc.reporting.figures import COLOUR_OF, COLOURS, DASH_OF, DPI, MARKER_OF, no_figure, plain, save_png
from drdc.reporting.separation import ALL, PERCENT, cohens_d, limit, overlap
from drdc.results.scores import typed
from drdc.runtime.errors import UserError

Floats = NDArray[np.float64]

LOOKS: dict[str, dict[str, Any]] = {  # filled and hatched, so that they differ without colour
    "normal": {"facecolor": COLOURS[5], "edgecolor": COLOURS[0], "lw": 1.0},
    "anomalous": {"facecolor": "none", "edgecolor": COLOURS[1], "hatch": "////", "lw": 1.2},
}
BINS = 20  # of a histogram
ONE_BLOCK = 8  # categories from which the histograms stand in two blocks
WIDTH, TALLEST, ROW = 8.0, 15.9, 1.55  # inches: figures, histograms, one row of them
SHIFT = 0.14  # of a row, up and down, in the figure of separation
GRID = np.linspace(0.0, 1.0, 301) ** 2  # common places of curves, dense near 0
LEVELS = {"image": "images", "pixel": "pixels"}


def histograms(image_scores: pd.DataFrame, path: Path, category: str | None = None) -> None:
    """Histograms of the image scores of normal and anomalous test images: base on the left, DRDC beside it.

    One row per category and one for all together, or only the row of `category`; of the lowest seed. The
    overlap (in the corner; n/d without one of the two) and the threshold (dashed; left out where the held-out
    normal images are too few) are those of the table of separation.

    `image_scores`: image_scores.csv. `path`: the PNG, 1200 pixels wide and at most 2400 high. Raises
    `UserError` for a missing column, no test image, scores that are not finite, or an unknown `category`.
    """
    save_png(draw_histograms(image_scores, category), path, DPI)


def curves(curves: pd.DataFrame, path: Path) -> None:
    """ROC and precision-recall curves of base and DRDC, a row for images and a row for pixels.

    Thin: one category, mean over seeds; thick: mean over these. ROC curves are averaged over recall at equal
    false-positive rate (linear in between), the others over precision at equal recall (in steps, as in
    average precision). A level without curves is left out; where there is none at all, the picture says so.

    `curves`: curves.csv. `path`: the PNG, 1200 pixels wide. Raises `UserError` for a missing column.
    """
    texts, numbers = ("seed", "method", "category", "level"), ("recall", "precision", "fpr")
    frame = typed(curves, texts, numbers, "curves.csv")
    frame = frame[frame["method"].isin(COMPARED)]
    if frame.empty:
        no_figure("No curve is defined: each needs normal and anomalous test images of one category.", path)
    else:
        save_png(draw_curves(frame), path, DPI)


def separation(image_scores: pd.DataFrame, path: Path) -> None:
    """Cohen's d between anomalous and normal test images per category, base joined to DRDC.

    Sorted by DRDC's; the row of all categories together is last. Values: `effect_sizes`; bars: one standard
    deviation over seeds. `path`: the PNG, 1200 pixels wide. Raises `UserError` as `effect_sizes` does.
    """
    save_png(draw_separation(effect_sizes(image_scores)), path, DPI)


def effect_sizes(image_scores: pd.DataFrame) -> pd.DataFrame:
    """Cohen's d of the image scores: category, method, mean, std (ddof = 1), seeds (their count).

    `separation.cohens_d` of each seed's test images, then mean and std over the seeds. Of several categories
    a last one, "all together", pools all images. Raises `UserError` for a missing column, no test
    image, or scores that are not finite.
    """
    frame = _checked(image_scores)
    test = frame[frame["split"] == "test"]
    rows = []
    for category, part in _by_category(test):
        for method in COMPARED:
            values = [cohens_d(*_classes(one, method)) for _, one in part.groupby("seed")]
            rows.append((category, method, np.mean(values), _spread(values), len(values)))
    return pd.DataFrame(rows, columns=["category", "method", "mean", "std", "seeds"])


def draw_histograms(image_scores: pd.DataFrame, category: str | None = None) -> Figure:
    """The figure that `histograms` writes."""
    frame = _checked(image_scores)
    seed = min(frame["seed"].unique(), key=int)
    frame = frame[frame["seed"] == seed]
    rows, held_out = list(_by_category(frame)), frame[frame["split"] == "val"]
    if category is not None:
        rows = [row for row in rows if row[0] == category]
    if not rows:
        raise UserError("", f"image_scores.csv holds no test image of category {category}", "name another")
    blocks = 1 if len(rows) <= ONE_BLOCK + 1 else 2
    depth = ceil(len(rows) / blocks)
    size = (WIDTH, min(max(ROW * depth, 2.0) + 0.7, TALLEST))
    figure = Figure(figsize=size, dpi=DPI, layout=ConstrainedLayoutEngine(h_pad=0.07))
    grid = figure.add_gridspec(depth, 2 * blocks)
    for index, (name, part) in enumerate(rows):
        for column, method in enumerate(COMPARED, 2 * (index // depth)):
            axes = figure.add_subplot(grid[index % depth, column])
            threshold, _ = limit(held_out, method, None if name == ALL else name)
            _histogram(axes, part, method, threshold)
            axes.set_title(f"{METHODS[method]}: {name}", loc="left", fontsize=8.5, pad=3, parse_math=False)
            if not column:
                axes.set_ylabel("images (%)", fontsize=8.5)
    figure.legend(
        handles=_histogram_legend(), title=f"image scores of seed {seed}", title_fontsize=8.5, ncols=3,
        loc="outside upper center", fontsize=8.5, frameon=False,
    )  # fmt: skip
    return figure


def _checked(image_scores: pd.DataFrame) -> pd.DataFrame:
    texts, numbers = ("seed", "category", "split"), ("label", *COMPARED)
    frame = typed(image_scores, texts, numbers, "image_scores.csv")
    if not (frame["split"] == "test").any():
        raise UserError("", "image_scores.csv holds no test image", "run the score step again")
    if not np.isfinite(frame[list(COMPARED)]).all(axis=None):
        raise UserError("", "image_scores.csv holds scores that are not finite", "run the score step again")
    return frame


def _classes(test: pd.DataFrame, method: str) -> tuple[Floats, Floats]:
    """The scores of the normal and of the anomalous images."""
    scores, labels = test[method].to_numpy(float), test["label"].to_numpy()
    return scores[labels == 0], scores[labels == 1]


def _by_category(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Each category that has test images with its rows, then all together where they are several."""
    names = in_paper_order(frame.loc[frame["split"] == "test", "category"].unique())
    for name in names:
        yield name, frame[frame["category"] == name]
    if len(names) > 1:
        yield ALL, frame


def _histogram(axes: Axes, part: pd.DataFrame, method: str, threshold: float) -> None:
    """One panel of the histograms; `threshold`: NaN for none."""
    normal, anomalous = _classes(part[part["split"] == "test"], method)
    plain(axes)
    edges = np.histogram_bin_edges(np.concatenate([normal, anomalous]), BINS)
    for values, look in zip((normal, anomalous), LOOKS.values(), strict=True):
        if len(values):
            parts = np.full(len(values), 100.0 / len(values))
            axes.hist(values, edges.tolist(), weights=parts, histtype="stepfilled", **look)
    if isfinite(threshold):
        axes.axvline(threshold, color="black", lw=1.2, ls="--", label="threshold")
    words = f"{100 * overlap(normal, anomalous):.0f} %" if len(normal) and len(anomalous) else "n/d"
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.0}
    axes.text(
        0.99, 0.97, f"overlap {words}", transform=axes.transAxes, ha="right", va="top", size=8, bbox=box
    )
    axes.set_ylim(top=1.3 * axes.get_ylim()[1])
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))


def _histogram_legend() -> list[Patch | Line2D]:
    entries: list[Patch | Line2D] = [
        Patch(**look, label=f"{name} test images") for name, look in LOOKS.items()
    ]
    words = f"threshold for a false-alarm rate of {PERCENT}"
    return [*entries, Line2D([], [], color="black", lw=1.2, ls="--", label=words)]


def draw_curves(curves: pd.DataFrame) -> Figure:
    """The figure that `curves` writes, of the rows of base and DRDC."""
    levels = [level for level in LEVELS if (curves["level"] == level).any()]
    figure = Figure(figsize=(WIDTH, 3.5 * len(levels) + 0.4), dpi=DPI, layout="constrained")
    panels = figure.subplots(len(levels), 2, squeeze=False)
    for level, (roc, precision) in zip(levels, panels, strict=True):
        part = curves[curves["level"] == level]
        for method in COMPARED:
            own = part[part["method"] == method]
            _draw_curves(roc, own, method, "fpr")
            _draw_curves(precision, own, method, "recall")
        thing = LEVELS[level]
        roc.plot([0, 1], [0, 1], color="0.5", lw=1.0, ls=":", label="chance")
        _name(roc, f"false-positive rate, {thing}", f"recall (true-positive rate), {thing}")
        _name(precision, f"recall, {thing}", f"precision, {thing}")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=8.5, frameon=False)
    return figure


def _draw_curves(axes: Axes, part: pd.DataFrame, method: str, across: str) -> None:
    """The categories' curves and their mean, over `across` ("fpr": ROC, "recall": precision)."""
    along, at_zero = {"fpr": (_recall, 0.0), "recall": (_precision, nan)}[across]
    colour, dash = COLOUR_OF[method], DASH_OF[method]
    lines = [
        np.mean([along(one) for _, one in own.groupby("seed")], axis=0) for _, own in part.groupby("category")
    ]
    if not lines:
        return
    x = np.append(0.0, GRID)
    seeds = part["seed"].nunique()
    for index, line in enumerate(lines if len(lines) > 1 else []):
        label = f"{METHODS[method]}, one category" if not index else "_"
        axes.plot(x, np.append(at_zero, line), color=colour, lw=0.6, alpha=0.4, ls=dash, label=label)
    over = f"mean of {len(lines)} categories" if len(lines) > 1 else str(part["category"].iloc[0])
    label = f"{METHODS[method]}, {over}" + (f", {seeds} seeds" if seeds > 1 else "")
    mean = np.append(at_zero, np.mean(lines, axis=0))
    axes.plot(x, mean, color=colour, lw=2.2, ls=dash, label=label)


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
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)


def draw_separation(sizes: pd.DataFrame) -> Figure:
    """The figure that `separation` writes, of the numbers that `effect_sizes` returns."""
    table = {method: own.set_index("category") for method, own in sizes.groupby("method")}
    drdc = table["drdc"]["mean"]
    names = list(drdc.drop(ALL, errors="ignore").sort_values(ascending=False, kind="stable").index)
    names += [ALL] if ALL in drdc else []
    figure = Figure(figsize=(WIDTH, 0.27 * len(names) + 1.1), dpi=DPI, layout="constrained")
    axes = figure.subplots()
    plain(axes)
    places, seeds = -np.arange(len(names)), int(sizes["seeds"].max())
    shift = SHIFT if seeds > 1 else 0.0  # so that the bars of the two do not cover each other
    ends = {method: table[method].reindex(names) for method in COMPARED}
    heights = {"base": places + shift, "drdc": places - shift}
    axes.plot([e["mean"] for e in ends.values()], list(heights.values()), color="0.7", lw=2.0, zorder=1)
    for method, values in ends.items():
        axes.errorbar(
            values["mean"], heights[method], xerr=values["std"].fillna(0.0), fmt=MARKER_OF[method],
            color=COLOUR_OF[method], ms=5, elinewidth=1.0, capsize=2.0 * (seeds > 1),
            label=METHODS[method],
        )  # fmt: skip
    undefined = ends["base"]["mean"].isna() | ends["drdc"]["mean"].isna()
    for place in places[undefined]:
        axes.text(0.0, place, " not defined", va="center", size=8)
    _dress_separation(axes, names, places, seeds)
    return figure


def _dress_separation(axes: Axes, names: list[str], places: NDArray[np.int_], seeds: int) -> None:
    axes.axvline(0.0, color="0.4", lw=1.0)
    axes.set_yticks(places, names, parse_math=False)
    axes.set_ylim(places[-1] - 0.6, 0.6)
    if ALL in names:
        axes.axhline(places[-1] + 0.5, color="0.4", lw=0.8)
        axes.get_yticklabels()[-1].set_fontweight("bold")
    spread = f"; bars: ± standard deviation over {seeds} seeds" if seeds > 1 else ""
    axes.set_xlabel(f"Cohen's d, anomalous against normal test images{spread}", fontsize=9)
    axes.legend(fontsize=8.5, frameon=False, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)


def _spread(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else nan
