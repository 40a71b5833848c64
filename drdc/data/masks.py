"""The meaning of the values of a ground-truth file: which pixels are marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

#: A lossy file whose largest value is at most this marks nothing: compression alone gives such values (ours;
#: half a step of JPEG's DC coefficient at quality 10 is 5).
NOISE = 8
#: Pillow's modes of images whose values are indices of a palette.
PALETTES = ("P", "PA")
#: Formats, and compressions within a TIFF, that are always lossy. WebP and others may be: the values decide.
_LOSSY = ("JPEG", "MPO", "jpeg", "tiff_jpeg")


@dataclass(frozen=True)
class Mask:
    """A ground-truth mask.

    Attributes:
        marked: (H, W) bool, true on defects.
        coding: how its values were read, see `binarise`.
        values: how many different values the file has.
        largest: the largest of them.
        turned: the EXIF orientation of its file, 1 to 8; 1 is upright.
    """

    marked: NDArray[np.bool_]
    coding: Literal["two values", "labels", "soft"]
    values: int
    largest: float
    turned: int = 1


def binarise(image: Image.Image) -> Mask:
    """Which pixels of a mask file are marked.

    A palette means its indices, 0 is background, whatever the colours (Pascal VOC, annotation tools).
    Transparent pixels are background; where all opaque ones have one colour, the alpha is the mask. Colours
    count by their brightest channel. Of these values

    - **two values** are background and defect: what is above 0 is marked (MVTec AD, BTAD);
    - **labels** are above 0 too (VisA numbers the defects, MVTec LOCO AD has one value for each kind): more
      values, which are indices, or integers up to `NOISE`, or at least half of them in regions of their own,
      not the borders of others;
    - **soft** edges, of a mask that was resized, anti-aliased or compressed with loss, are thresholded at
      half of the largest value, which keeps the edge in its place (ours). A lossy file marks nothing if its
      largest value is at most `NOISE`.

    Args:
        image: upright, of any mode that Pillow reads, with the `format` and `info` of its file.

    Raises:
        ValueError: pixels of a mode that has no colours, or that are NaN or infinite.
    """
    values = _values(image)
    lossy = image.format in _LOSSY or image.info.get("compression") in _LOSSY
    distinct = np.unique(values)
    if not np.isfinite(distinct).all():
        raise ValueError("it has pixels that are NaN or infinite")
    largest = distinct[-1]
    coding = _coding(values, distinct, lossy, image.mode in PALETTES)
    if coding != "soft":
        marked = values > 0
    elif largest <= NOISE and lossy:
        marked = np.zeros(values.shape, bool)
    else:
        marked = values >= largest / 2
    return Mask(marked, coding, len(distinct), float(largest))


def nearest(values: NDArray[Any], size: int) -> NDArray[Any]:
    """Resize (H, W) uint8 or int32 values to (size, size) by nearest neighbour (UniAD's protocol)."""
    return np.asarray(Image.fromarray(values).resize((size, size), Image.Resampling.NEAREST))


def _values(image: Image.Image) -> NDArray[Any]:
    """(H, W): indices, alpha or the brightest channel, in the file's own range."""
    if image.mode in PALETTES:
        return np.asarray(image).reshape(image.height, image.width, -1)[..., 0]
    if image.mode.startswith(("I", "F")):
        return np.asarray(image)
    if image.has_transparency_data:
        pixels = np.asarray(image.convert("RGBA"))
        return _opaque(pixels[..., :3], pixels[..., 3])
    return np.asarray(image.convert("RGB")).max(axis=2)


def _opaque(colours: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The brightest channel where an image is opaque; its alpha where everything opaque has one colour."""
    if alpha.min() == alpha.max() > 0:
        return colours.max(axis=2)
    opaque = alpha >= max(1, alpha.max() / 2)
    seen = colours[opaque]
    if (seen == seen[:1]).all():
        return alpha
    return np.where(opaque, colours.max(axis=2), 0).astype(np.uint8)


def _coding(
    values: NDArray[Any], distinct: NDArray[Any], lossy: bool, indices: bool
) -> Literal["two values", "labels", "soft"]:
    if lossy:
        return "soft"
    if len(distinct) <= 2:
        return "two values"
    few = distinct[-1] <= NOISE and not (distinct % 1).any()  # a soft mask may run from 0.0 to 1.0
    return "labels" if indices or few or _own_regions(values, distinct) >= 0.5 else "soft"


def _own_regions(values: NDArray[Any], distinct: NDArray[Any]) -> float:
    """Share of the values between 0 and the largest that form regions of their own.

    Such a value has at least half of its pixels where all marked neighbours have it too: a label, thin or
    touching others. The border of a soft edge lies between a darker and a brighter one.
    """
    codes = np.searchsorted(distinct, values).astype(np.int32) + 1
    marked = values > 0
    highest = ndimage.maximum_filter(np.where(marked, codes, 0), 3)
    lowest = ndimage.minimum_filter(np.where(marked, codes, len(distinct) + 1), 3)
    alike = (highest == codes) & (lowest == codes)
    between = codes[marked & (values < distinct[-1])]
    total = np.bincount(between, minlength=len(distinct) + 1)
    own = np.bincount(codes[marked & alike], minlength=len(distinct) + 1)
    found = total > 0
    return float((own[found] >= total[found] / 2).mean()) if found.any() else 1.0
