"""A heatmap over its image, with the outline of what exceeds a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drdc.reporting.browser import HALO, LINE
from drdc.reporting.gallery import coloured

STRENGTH = 0.55  # opacity of the heat where it is strongest
FAINT = 0.25  # up to this part of the colour scale the image is left as it is
SIDE_OF_LINE = 400  # pixels of the image's longer side for each pixel of the outline's width


def overlay(image: Image.Image, heatmap: NDArray[np.floating], usual: float, threshold: float) -> Image.Image:
    """The image with its heatmap in colours, and an outline of all pixels above the threshold.

    Args:
        image: RGB, width W and height H.
        heatmap: (H, W), finite, higher = more anomalous.
        usual: value of a normal pixel, where the colour scale begins; the threshold is in its middle.
        threshold: value above which a pixel is anomalous.

    Returns:
        RGB of the same size.
    """
    scale = 2 * max(threshold - usual, float(np.finfo(np.float32).tiny))
    heat = np.clip((heatmap - usual) / scale, 0, 1)
    opacity = STRENGTH * np.clip((heat - FAINT) / (0.5 - FAINT), 0, 1)[..., None]
    colours = coloured(heat)
    mixed = np.round((1 - opacity) * np.asarray(image) + opacity * colours).astype(np.uint8)
    _outline(mixed, heatmap > threshold)
    return Image.fromarray(mixed)


def _outline(pixels: NDArray[np.uint8], marked: NDArray[np.bool_]) -> None:
    """Draw a bright line inside the rim of what is marked, and a dark one around it."""
    from scipy.ndimage import binary_dilation, binary_erosion

    width = max(1, round(max(marked.shape) / SIDE_OF_LINE))
    pixels[binary_dilation(marked) & ~marked] = HALO
    pixels[marked & ~binary_erosion(marked, iterations=width)] = LINE
