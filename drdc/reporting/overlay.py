"""A heatmap over its image, with the outline of what exceeds a threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drdc.reporting.gallery import coloured

STRENGTH = 0.55  # opacity of the heat where it is strongest
FAINT = 0.25  # up to this part of the colour scale the image is left as it is
LINE, HALO = (0, 255, 255), (0, 0, 0)  # the outline: cyan, which the colour map lacks, next to black
SIDE_OF_LINE = 400  # pixels of the image's longer side for each pixel of the outline's width


def overlay(image: Image.Image, heatmap: NDArray[np.floating], usual: float, threshold: float) -> Image.Image:
    """The image with its heatmap in colours, and an outline of all pixels above the threshold.

    Args:
        image: RGB, width W and height H.
        heatmap: (H, W), finite, higher = more anomalous.
        usual, threshold: see `heat_of`.

    Returns:
        RGB of the same size.
    """
    heat = heat_of(heatmap, usual, threshold)
    opacity = STRENGTH * opacity_of(heat)[..., None]
    mixed = np.round((1 - opacity) * np.asarray(image) + opacity * coloured(heat)).astype(np.uint8)
    return outlined(Image.fromarray(mixed), heatmap, threshold)


def outlined(image: Image.Image, heatmap: NDArray[np.floating], threshold: float) -> Image.Image:
    """The image with the outline alone; arguments and result as of `overlay`."""
    pixels = np.array(image)
    _outline(pixels, heatmap > threshold)
    return Image.fromarray(pixels)


def heat_of(heatmap: NDArray[np.floating], usual: float, threshold: float) -> NDArray[np.floating]:
    """A heatmap on the colour scale, in [0, 1]; 0.5 is the threshold.

    Args:
        heatmap: (..., H, W), finite, higher = more anomalous.
        usual: value of a normal pixel, where the colour scale begins.
        threshold: value above which a pixel is anomalous.
    """
    scale = 2 * max(threshold - usual, float(np.finfo(np.float32).tiny))
    return np.clip((heatmap - usual) / scale, 0, 1)


def opacity_of(heat: NDArray[np.floating]) -> NDArray[np.floating]:
    """How much of the heat is seen, in [0, 1]: nothing up to `FAINT`, everything from the threshold on."""
    return np.clip((heat - FAINT) / (0.5 - FAINT), 0, 1)


def _outline(pixels: NDArray[np.uint8], marked: NDArray[np.bool_]) -> None:
    """Draw a bright line inside the rim of what is marked, and a dark one around it."""
    from scipy.ndimage import binary_dilation, binary_erosion

    width = max(1, round(max(marked.shape) / SIDE_OF_LINE))
    pixels[binary_dilation(marked) & ~marked] = HALO
    pixels[marked & ~binary_erosion(marked, iterations=width)] = LINE
