"""What each system sees: one image of each category, with the heatmaps of all systems side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from drdc.reporting.aggregate import METHODS
from drdc.reporting.figures import save_png
from drdc.reporting.gallery import (
    DPI,
    GAP,
    Group,
    Rgb,
    heatmap_panel,
    limits_of,
    marked,
    median_of,
    resized,
    text_at,
)
from drdc.runtime.errors import UserError

#: Pixels: figure, names of categories, names of systems, between categories, largest panel.
WIDTH, LABEL, HEAD, BREAK, LARGEST = 1200, 100, 18, 12, 170
MOST = 11  # panels in a line


def heatmaps(groups: Sequence[Group], systems: Sequence[str], path: Path) -> None:
    """Draw input, ground truth and the heatmaps of all systems of one image of each category.

    `groups`: of each category the images that `drdc.reporting.gallery.choose` names; the median one is drawn,
    with a colour scale for each category and system, from the 1st to the 99.8th percentile of all of them.
    `systems`: base, drdc and compared systems. `path`: the PNG, 1200 pixels wide; long rows are broken into
    lines. Raises `UserError` when there is no image.
    """
    shown = [group for group in groups if group]
    if not shown:
        raise UserError("", "There is no test image whose heatmaps could be shown", "")
    names = ["input", "ground truth", *(METHODS.get(system, system) for system in systems)]
    lines = -(-len(names) // MOST)
    across = -(-len(names) // lines)
    side = min((WIDTH - LABEL) // across - GAP, LARGEST)
    block = lines * (HEAD + side + GAP) + BREAK
    canvas = np.full((len(shown) * block, WIDTH, 3), 255, np.uint8)
    figure = Figure(figsize=(WIDTH / DPI, len(canvas) / DPI), dpi=DPI)
    for index, group in enumerate(shown):
        start = index * block
        text_at(figure, 8, start + HEAD + side / 2, f"{group[0].category}\n{median_of(group).defect_type}")
        for place, panel in enumerate(_panels(group, systems, side)):
            top = start + place // across * (HEAD + side + GAP) + HEAD
            left = LABEL + place % across * (side + GAP)
            canvas[top : top + side, left : left + side] = panel
            text_at(figure, left + side / 2, top - HEAD / 2, names[place], "center", 8.0)
    figure.figimage(canvas, origin="upper", zorder=-1)
    save_png(figure, path, DPI)


def _panels(group: Group, systems: Sequence[str], side: int) -> list[Rgb]:
    item = median_of(group)
    maps = [heatmap_panel(item.heatmaps[system], limits_of(group, system), side) for system in systems]
    return [resized(item.image, side), marked(item, side), *maps]
