"""TIFF files: which of their pages is the image, and its values where they have more than 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import SAMPLEFORMAT, TiffFile, TiffPage

from drdc.data.depth import Deep, holding
from drdc.runtime.errors import UserError

_KINDS = (254, 255)  # NewSubfileType, a set of bits, and the older SubfileType, a number
_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2  # PhotometricInterpretation
_LARGEST = (281, 341)  # MaxSampleValue, SMaxSampleValue


def only_page(tiff: TiffFile) -> TiffPage:
    """The one page that is neither a smaller copy of another nor a mask.

    Raises:
        UserError: there are several, or none.
    """
    pages = [page for page in tiff.pages if isinstance(page, TiffPage) and _is_image(page)]
    stacked = (tiff.imagej_metadata or {}).get("images", 1)  # without a page for each
    number = len(pages) if len(pages) != 1 else max(pages[0].imagedepth, stacked)
    if number != 1:
        raise UserError("", f"contains {number} images", "save each in a file of its own")
    return pages[0]


def is_deep(page: TiffPage) -> bool:
    """Whether a value has more than 8 bits."""
    return page.bitspersample > 8


def refuse_negative(page: TiffPage) -> None:
    """Raise UserError for a page of 8 bits with negative values; Pillow would read -1 as 255."""
    if page.sampleformat == SAMPLEFORMAT.INT:
        whole(page.asarray())


def deep_page(page: TiffPage) -> Deep:
    """The values of a page as stored, not turned.

    Raises:
        UserError: fractions, negative numbers, more than 16 bits, or colours other than grey and RGB.
    """
    if page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        raise UserError(
            "", f"has {page.bitspersample}-bit colours that are neither grey nor RGB", "save it as RGB"
        )
    values = _channels(np.moveaxis(page.asarray(), 0, -1) if page.axes == "SYX" else page.asarray())
    colours = 3 if page.photometric == _RGB else 1
    if values.ndim != 3 or values.shape[2] not in (colours, colours + 1):
        raise UserError("", f"has {page.samplesperpixel} channels", "save it as grey or RGB")
    known = 2**page.bitspersample - 1 if page.bitspersample < 16 else None
    grey_or_rgb = whole(values[..., 0] if colours == 1 else values[..., :3])
    return Deep(grey_or_rgb, known, _claimed(page), page.photometric == _WHITE_IS_ZERO)


def whole(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Values as uint16.

    Raises:
        UserError: they are not integers from 0 to 65535.
    """
    if values.dtype.kind not in "iu":
        raise UserError(
            "", f"has values of type {values.dtype}, whose range is unknown", "save it with 8 or 16 bits"
        )
    if values.min() < 0 or values.max() > 65535:
        raise UserError(
            "",
            f"has values from {values.min()} to {values.max()}, outside 16 bits",
            "save it with 8 or 16 bits",
        )
    return values.astype(np.uint16)


def _channels(values: NDArray[Any]) -> NDArray[Any]:
    """(H, W) as (H, W, 1)."""
    return values[..., None] if values.ndim == 2 else values


def _is_image(page: Any) -> bool:
    new, old = (page.tags.valueof(code, default=0) for code in _KINDS)
    return not (new & (_REDUCED | _MASK) or old == _OLD_REDUCED)


def _claimed(page: TiffPage) -> int | None:
    """Bits of the largest possible value, where a tag gives it."""
    values = [page.tags.valueof(code) for code in _LARGEST]
    largest = [v for value in values if value is not None for v in np.atleast_1d(value)]
    return holding(min(int(max(largest)), 65535)) if largest and max(largest) > 0 else None
