"""Where a heatmap exceeds its threshold: the regions that were found in an image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


class Region(NamedTuple):
    """Connected pixels above the pixel threshold, and the box around them; all in pixels of the image.

    Attributes:
        left, top: the box's first column and row, from 0.
        width, height: of the box.
        area: number of pixels above the threshold.
    """

    left: int
    top: int
    width: int
    height: int
    area: int


def regions(heatmap: NDArray[np.floating], threshold: float) -> list[Region]:
    """All regions of a heatmap (H, W), the largest first; pixels that touch at a corner belong together."""
    labels, count = ndimage.label(heatmap > threshold, np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:].tolist()
    found = []
    for area, (rows, columns) in zip(areas, ndimage.find_objects(labels), strict=True):
        size = columns.stop - columns.start, rows.stop - rows.start
        found.append(Region(columns.start, rows.start, *size, area))
    return sorted(found, key=lambda one: (-one.area, one.top, one.left))
