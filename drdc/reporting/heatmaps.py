"""What each method sees: one image of each category, with the heatmaps of all methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from drdc.config.variants import COMPARED
from drdc.reporting.declared import figure
from drdc.reporting.described import name_of
from drdc.reporting.figures import DPI, new_figure, save
from drdc.reporting.gallery import (
    FOOT,
    GAP,
    LETTERS,
    Group,
    chosen,
    colour_bar,
    heatmap_panel,
    limits_of,
    marked,
    median_of,
    resized,
    text_at,
)
from drdc.runtime.errors import UserError

if TYPE_CHECKING:
    from drdc.reporting.shown_images import Rgb, ShownImages

#: Pixels: figure, title of a category, names of methods, between categories, largest panel.
WIDTH, TITLE, HEAD, BREAK, LARGEST = 1200, 34, 26, 12, 170
MOST = 8  # panels in a line


@figure(
    "heatmaps",
    of="heatmaps",
    heading="Heatmaps: what each method sees.",
    caption="""
    Of each category the anomalous image with the median image score of DRDC (a row of Figure 3), as base
    model, DRDC and every method of the configuration see it. Colours run from the 1st to the 99.8th
    percentile of this category's rows in Figure 3, for each method separately: bright where a method is
    most certain, not where it is right.
    """,
)
def heatmaps(images: ShownImages, path: Path) -> None:
    """Draw the median image of each category in Figure 3, as base model, DRDC and all methods see it."""
    draw_heatmaps(list(chosen(images).values()), [*COMPARED, *images.methods], path)


def draw_heatmaps(groups: Sequence[Group], methods: Sequence[str], path: Path) -> None:
    """Draw input, ground truth and the heatmaps of all methods of one image of each category.

    `groups`: of each category the images that `drdc.reporting.gallery.choose` names; the median one is drawn,
    with a colour scale for each category and method, from the 1st to the 99.8th percentile of all of them.
    `methods`: base, drdc and those of the configuration. `path`: the PNG, 1200 pixels wide; long rows are
    broken into lines. Raises `UserError` when there is no image.
    """
    shown = [group for group in groups if group]
    if not shown:
        raise UserError("", "There is no test image whose heatmaps could be shown", "")
    names = ["input", "ground truth", *map(name_of, methods)]
    lines = -(-len(names) // MOST)
    across = -(-len(names) // lines)
    side = min(WIDTH // across - GAP, LARGEST)
    block = TITLE + lines * (HEAD + side + GAP) + BREAK
    canvas = np.full((len(shown) * block + FOOT, WIDTH, 3), 255, np.uint8)
    figure = new_figure(WIDTH / DPI, len(canvas) / DPI, layout=None)
    for index, group in enumerate(shown):
        start = index * block + TITLE
        text_at(
            figure, 4, start - TITLE / 2, f"{group[0].category}: {median_of(group).defect_type}", size=8.0
        )
        for place, panel in enumerate(_panels(group, methods, side)):
            top = start + place // across * (HEAD + side + GAP) + HEAD
            left = place % across * (side + GAP)
            canvas[top : top + side, left : left + side] = panel
            size = _size_of(names[place], side)
            text_at(figure, left + side / 2, top - HEAD / 2, names[place], "center", size)
    figure.figimage(canvas, origin="upper", zorder=-1)
    colour_bar(figure, "method")
    save(figure, path)


def _size_of(name: str, side: int) -> float:
    """Points of letters, which are about half as wide as high, with which a name fits above its panel."""
    return min(LETTERS, side / (0.58 * len(name)) * 72 / DPI)


def _panels(group: Group, methods: Sequence[str], side: int) -> list[Rgb]:
    item = median_of(group)
    maps = [heatmap_panel(item.heatmaps[method], limits_of(group, method), side) for method in methods]
    return [resized(item.image, side), marked(item, side), *maps]
