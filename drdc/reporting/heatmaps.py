"""What each method sees: one image of each category, with the heatmaps of all methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from drdc.config.variants import COMPARED
from drdc.reporting.declared import figure
from drdc.reporting.described import name_of
from drdc.reporting.figures import new_figure, save_png
from drdc.reporting.gallery import (
    DPI,
    GAP,
    Group,
    chosen,
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

#: Pixels: figure, names of categories, names of methods, between categories, largest panel.
WIDTH, LABEL, HEAD, BREAK, LARGEST = 1200, 100, 18, 12, 170
MOST = 11  # panels in a line


@figure(
    "heatmaps",
    of="heatmaps",
    heading="What each method sees.",
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
    side = min((WIDTH - LABEL) // across - GAP, LARGEST)
    block = lines * (HEAD + side + GAP) + BREAK
    canvas = np.full((len(shown) * block, WIDTH, 3), 255, np.uint8)
    figure = new_figure(WIDTH / DPI, len(canvas) / DPI, layout=None, dpi=DPI)
    for index, group in enumerate(shown):
        start = index * block
        text_at(figure, 8, start + HEAD + side / 2, f"{group[0].category}\n{median_of(group).defect_type}")
        for place, panel in enumerate(_panels(group, methods, side)):
            top = start + place // across * (HEAD + side + GAP) + HEAD
            left = LABEL + place % across * (side + GAP)
            canvas[top : top + side, left : left + side] = panel
            text_at(figure, left + side / 2, top - HEAD / 2, names[place], "center", 8.0)
    figure.figimage(canvas, origin="upper", zorder=-1)
    save_png(figure, path, DPI)


def _panels(group: Group, methods: Sequence[str], side: int) -> list[Rgb]:
    item = median_of(group)
    maps = [heatmap_panel(item.heatmaps[method], limits_of(group, method), side) for method in methods]
    return [resized(item.image, side), marked(item, side), *maps]
