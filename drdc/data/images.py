"""Decode image and mask files of any common kind into plain 8-bit RGB and boolean arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from drdc.errors import UserError

#: What is read, whatever the file is called: no format of vectors or scripts, which would start a program.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")


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


def read_mask(path: Path, image_size: tuple[int, int]) -> NDArray[np.bool_]:
    """Read a ground-truth mask as (H, W) bool; every value above 0 marks an anomalous pixel.

    Arguments and errors as of `mask_values`.
    """
    marked: NDArray[np.bool_] = mask_values(path, image_size) > 0
    return marked


def mask_values(path: Path, image_size: tuple[int, int]) -> NDArray[Any]:
    """The values of a ground-truth mask, (H, W): of its brightest channel, in the file's own range.

    Args:
        path: the mask file, of any mode that Pillow can read.
        image_size: (width, height) in pixels of the image that the mask belongs to.

    Raises:
        UserError: the file is unreadable, or its size is not the image's.
    """
    mask = _decode(path)
    if mask.size != tuple(image_size):
        found, wanted = ("{} x {}".format(*size) for size in (mask.size, image_size))
        raise UserError(
            f"{path}: the mask is {found} pixels but its image is {wanted}; give it the same size."
        )
    colour = mask if mask.mode.startswith(("I", "F")) else mask.convert("RGB")
    values: NDArray[Any] = np.asarray(colour).reshape(mask.height, mask.width, -1).max(axis=2)
    return values


def resize_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Resize an (H, W) bool mask to (size, size) bool by nearest neighbour (UniAD's protocol)."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST)) > 0


def _decode(path: Path) -> Image.Image:
    if not path.is_file():
        raise UserError(f"{path}: no such file; restore it or prepare the dataset again.")
    try:
        with Image.open(path, formats=_FORMATS) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow's decoders raise many kinds
        reason = str(error) or type(error).__name__
        raise UserError(f"{path}: not a readable image ({reason}); replace or remove the file.") from error


def _to_8_bit(image: Image.Image, path: Path) -> Image.Image:
    """Scale 16-bit grey values to 8 bits; wider integers and floats have no range we could know."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise UserError(f"{path}: pixels of mode {image.mode} outside 8 or 16 bits; convert it to 8-bit RGB.")
    return Image.fromarray(((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
