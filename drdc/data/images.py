"""Decode image and mask files of any common kind into plain 8-bit RGB and boolean arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from drdc.data.masks import Mask, binarise, nearest
from drdc.errors import UserError

#: What is read, whatever the file is called: no format of vectors or scripts, which would start a program.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
#: Where a decoded mask keeps the EXIF orientation of its file; from 5 on, width and height change places.
_TURNED, _SIDEWAYS = "orientation", 5
#: Where it keeps how many images its file holds.
_FRAMES = "frames"


def read_rgb(path: Path) -> Image.Image:
    """Read one image file as 8-bit RGB, upright.

    Grey images are repeated over the three channels, palettes resolved, alpha dropped, 16-bit values
    0..65535 scaled to 0..255, and the rotation that a camera noted in EXIF is applied.

    Raises:
        UserError: the file is missing, truncated, no image, or its pixels have no known value range.
    """
    image = _decode(path)
    if image.mode.startswith(("I", "F")):
        image = _to_8_bit(image, path)
    return image.convert("RGB")


def to_square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resize an RGB image to (size, size, 3) uint8: bilinear, no crop, as UniAD does (its data protocol)."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)


def orientation(path: Path) -> int:
    """The EXIF orientation, 1 to 8, that a readable image file notes; 1 is upright."""
    with Image.open(path, formats=_FORMATS) as image:
        return _orientation(image)


def read_mask(path: Path, image_size: tuple[int, int], turned: int = 1) -> NDArray[np.bool_]:
    """Read a ground-truth mask as (H, W) bool, true on defects. Arguments and errors as of `decode_mask`."""
    return decode_mask(path, image_size, turned).marked


def decode_mask(path: Path, image_size: tuple[int, int], turned: int = 1) -> Mask:
    """Read a ground-truth mask, upright; `drdc.data.masks.binarise` says which values are marked.

    Args:
        path: the mask file, of any mode that Pillow can read.
        image_size: (width, height) in pixels of the upright image that the mask belongs to.
        turned: the `orientation` of that image's file.

    Raises:
        UserError: the file is unreadable or holds several images, or its size is not the image's.
    """
    mask = _decode(path)
    if mask.info[_FRAMES] > 1:
        raise UserError(f"{path}: the mask holds {mask.info[_FRAMES]} images; save its own as one PNG.")
    if mask.size != image_size:
        raise UserError(f"{path}: {_misfit(mask.size, image_size, turned)}.")
    try:
        return replace(binarise(mask), turned=mask.info[_TURNED])
    except ValueError as error:
        raise UserError(f"{path}: the mask cannot be read ({error}); write 0 and 255 as PNG.") from error


def resize_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Resize an (H, W) bool mask to (size, size) bool by nearest neighbour (UniAD's protocol)."""
    return nearest(mask.astype(np.uint8), size) > 0


def _misfit(size: tuple[int, int], image_size: tuple[int, int], turned: int) -> str:
    found, wanted = ("{} x {}".format(*pair) for pair in (size, image_size))
    if turned >= _SIDEWAYS and size == image_size[::-1]:
        return (
            f"the mask is {found} pixels and fits its image ({wanted}) only as stored, before the rotation "
            f"that the image's EXIF note asks for (orientation {turned}); store both upright"
        )
    return f"the mask is {found} pixels but its image is {wanted}; give it the same size"


def _decode(path: Path) -> Image.Image:
    if not path.is_file():
        raise UserError(f"{path}: no such file; restore it or prepare the dataset again.")
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
            upright = ImageOps.exif_transpose(image)
            upright.format = image.format
            upright.info[_TURNED] = _orientation(image)
            upright.info[_FRAMES] = getattr(image, "n_frames", 1)
            return upright
    except Exception as error:  # Pillow's decoders raise many kinds
        reason = str(error) or type(error).__name__
        raise UserError(f"{path}: not a readable image ({reason}); replace or remove the file.") from error


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


def _to_8_bit(image: Image.Image, path: Path) -> Image.Image:
    """Scale 16-bit grey values to 8 bits; wider integers and floats have no range we could know."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path}: pixels of mode {image.mode} outside 8 or 16 bits; convert it to 8-bit RGB.")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
