"""Histograms of the image scores of normal and anomalous test images."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from drdc.reporting.declared import figure
from drdc.reporting.described import NONE, Methods, name_of
from drdc.reporting.effect_sizes import by_category, tested
from drdc.reporting.figures import WIDTH, legend, looks, new_figure, plain, save
from drdc.reporting.formats import FAILED
from drdc.reporting.lost import NOTHING, Failed, why_lost
from drdc.reporting.separation import (
    ALL,
    PERCENT,
    classes,
    limit,
    lost_images,
    of_first_seed,
    overlap,
)
from drdc.runtime.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

LOOKS: dict[str, dict[str, Any]] = {  # filled and hatched, so that they differ without colour
    "normal": {"facecolor": "0.78", "edgecolor": "0.5", "lw": 0.8},
    "anomalous": {"facecolor": "none", "edgecolor": "0.2", "hatch": "/////", "lw": 1.0},
}
BINS = 20  # of a histogram
ONE_BLOCK = 8  # categories from which two methods stand in two blocks side by side
ACROSS = 5  # panels at most in a row
TALLEST, ROW, LOW_ROW, HEAD = 10.0, 1.15, 0.8, 0.6  # inches: two methods, their rows, rows of more, legend
SCORE, SHARE = "image score", "% of images"  # titles of the axes


@dataclass(frozen=True)
class Grid:
    """The arrangement of the panels.

    Attributes:
        across: methods in a row; further ones are in further blocks, one below the other.
        depth: rows of a block; further categories of two methods are in a block to the right.
        rows, columns: of the whole figure.
    """

    across: int
    depth: int
    rows: int
    columns: int

    @classmethod
    def of(cls, methods: int, categories: int) -> Grid:
        """For so many methods and rows of categories (all together is one of them)."""
        lines = ceil(methods / ACROSS)
        across = ceil(methods / lines)
        side = 2 if across <= 2 and categories > ONE_BLOCK + 1 else 1
        depth = ceil(categories / side)
        return cls(across, depth, lines * depth, across * side)

    def place(self, method: int, category: int) -> tuple[int, int]:
        """Row and column of the panel of a method and a category, both by their number."""
        line, column = divmod(method, self.across)
        side, row = divmod(category, self.depth)
        return line * self.depth + row, side * self.across + column

    def ends(self, category: int) -> bool:
        """Whether the row of a category is the lowest of its block, or of its side."""
        return category % self.depth == self.depth - 1

    @property
    def narrow(self) -> bool:
        """Whether there are more panels in a row than base and DRDC's."""
        return self.across > 2

    @property
    def height(self) -> float:
        """Inches of the figure."""
        if self.narrow:
            return max(LOW_ROW * self.rows, 2.0) + HEAD
        return min(max(ROW * self.rows, 2.0) + HEAD, TALLEST)


@figure(
    "histograms",
    of="image_scores",
    heading="Histograms of the image scores.",
    caption="""
    The less both overlap, the better; the dashed line is the threshold of `drdc detect` for a
    false-alarm rate of 5 %, from held-out normal images. Heights are in percent of the images of each kind,
    so that few normal images and many anomalous ones can be compared. The paper shows this in its supplement.
    """,
)
def histograms(
    image_scores: pd.DataFrame,
    path: Path,
    category: str | None = None,
    described: Methods = NONE,
    failed: Failed = NOTHING,
) -> None:
    """Histograms of the image scores of normal and anomalous test images: a column for each method.

    One row per category and one for all together, or only the row of `category`; of the first seed. Many
    methods are broken into blocks one below the other. The overlap (in the corner; n/d without one of the
    two) and the threshold (dashed; left out where the held-out normal images are too few) are those of the
    table of separation. A panel says "failed" where a method lacks its category, or any of all together.

    `image_scores`: image_scores.csv; `failed`: what is lacking there. `path`: the PNG, 1200 pixels wide, and
    of base and DRDC alone at most 2400 high. Raises `UserError` for a missing column, no test image, scores
    that are not finite, or an unknown `category`.
    """
    save(draw_histograms(image_scores, category, described, failed), path)


def draw_histograms(
    image_scores: pd.DataFrame,
    category: str | None = None,
    described: Methods = NONE,
    failed: Failed = NOTHING,
) -> Figure:
    """The figure that `histograms` writes."""
    every = tested(image_scores, described)
    frames = of_first_seed(every)
    seed = next(iter(frames.values()))["seed"].iloc[0]
    gone = {method: {seed: own.get(seed, {})} for method, own in lost_images(every, failed).items()}
    held_out = {method: frame[frame["split"] == "val"] for method, frame in frames.items()}
    rows = [(name, own) for name, own in by_category(frames, gone) if category in (None, name)]
    if not rows:
        raise UserError("", f"image_scores.csv has no test image of category {category}", "name another")
    grid = Grid.of(len(frames), len(rows))
    figure = new_figure(WIDTH, grid.height, None if grid.narrow else "constrained")
    cells = figure.add_gridspec(grid.rows, grid.columns, **(_margins(grid) if grid.narrow else {}))
    look = looks(frames, described)
    for row, (name, parts) in enumerate(rows):
        for column, method in enumerate(frames):
            place = grid.place(column, row)
            axes = figure.add_subplot(cells[place])
            group = None if name == ALL else name
            threshold, _ = limit(held_out[method], group, why_lost(gone[method].values(), None))
            if why_lost(gone[method].values(), group):
                _say(axes, FAILED)
            else:
                _histogram(axes, parts[method], threshold, look[method].colour)
            _dress(axes, method, name, grid, first=place[1] == 0)
            if grid.ends(row) or row == len(rows) - 1:
                axes.set_xlabel(SCORE, fontsize=6.5 if grid.narrow else 8, labelpad=1.5)
    shown = max(rows[-1][1].values(), key=lambda part: (part["split"] == "test").sum())
    legend(
        figure, handles=_entries(shown), title=f"Image scores of seed {seed}",
        title_fontsize=8.5, ncols=2, loc="upper center" if grid.narrow else "outside upper center",
    )  # fmt: skip
    return figure


def _margins(grid: Grid) -> dict[str, float]:
    """The positions of many panels: fixed, because matplotlib takes minutes to arrange hundreds of them."""
    top, bottom = (HEAD + 0.2) / grid.height, 0.3 / grid.height
    return {"left": 0.1, "right": 0.99, "top": 1 - top, "bottom": bottom, "wspace": 0.3, "hspace": 0.75}


def _histogram(axes: Axes, part: pd.DataFrame, threshold: float, colour: str) -> None:
    """One panel of the histograms; `threshold`: NaN for none; `colour`: of the method."""
    normal, anomalous = classes(part[part["split"] == "test"])
    edges = np.histogram_bin_edges(np.concatenate([normal, anomalous]), BINS)
    kinds = LOOKS["normal"], LOOKS["anomalous"] | {"edgecolor": colour}
    for values, look in zip((normal, anomalous), kinds, strict=True):
        if len(values):
            parts = np.full(len(values), 100.0 / len(values))
            axes.hist(values, edges.tolist(), weights=parts, histtype="stepfilled", **look)
    if isfinite(threshold):
        axes.axvline(threshold, color="black", lw=1.2, ls="--", label="threshold")
    words = f"{100 * overlap(normal, anomalous):.0f} %" if len(normal) and len(anomalous) else "n/d"
    _say(axes, f"overlap {words}")
    axes.set_ylim(top=1.3 * axes.get_ylim()[1])


def _say(axes: Axes, words: str) -> None:
    """Words in the corner of a panel."""
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.0}
    axes.text(0.99, 0.97, words, transform=axes.transAxes, ha="right", va="top", size=8, bbox=box)


def _dress(axes: Axes, method: str, category: str, grid: Grid, first: bool) -> None:
    """Names and ticks of a panel; small where there are many, with the category at the first of a row."""
    from matplotlib.ticker import MaxNLocator

    plain(axes)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.xaxis.set_major_locator(MaxNLocator(3 if grid.columns > 2 else 6))
    if not grid.narrow:
        size = 8.5 if grid.columns == 2 else 6.5
        axes.set_title(f"{name_of(method)}: {category}", loc="left", fontsize=size, pad=3, parse_math=False)
        if first:
            axes.set_ylabel(SHARE, fontsize=8)
        return
    axes.set_title(name_of(method), loc="left", fontsize=6.5, pad=2, parse_math=False)
    if first:
        axes.set_ylabel(f"{category}\n{SHARE}", fontsize=6.5, parse_math=False)
    axes.tick_params(labelsize=6, pad=1.5, length=2)
    for text in axes.texts:
        text.set_fontsize(6)


def _entries(part: pd.DataFrame) -> list[Patch | Line2D]:
    """Of the legend; `part`: a method's image scores of all that is shown."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    kinds = zip(LOOKS.items(), classes(part[part["split"] == "test"]), strict=True)
    entries: list[Patch | Line2D] = [
        Patch(**look, label=f"{len(values)} {name} test images") for (name, look), values in kinds
    ]
    words = f"threshold for {PERCENT} false alarms"
    return [*entries, Line2D([], [], color="black", lw=1.2, ls="--", label=words)]
