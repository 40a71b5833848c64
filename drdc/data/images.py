"""Decode image and mask files of any common format into plain 8-bit RGB and boolean arrays."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from drdc.data.decoding import FORMATS, decode, image_count, may_be_deep, orientation
from drdc.data.depth import Decoded, Deep
from drdc.data.masks import Mask, binarise, nearest
from drdc.runtime.errors import UserError, first_line

_SIDEWAYS = 5  # from this EXIF orientation on, width and height change places


def read_rgb(path: Path, bits: int | None = None) -> Image.Image:
    """Read one image file as 8-bit RGB, upright.

    Grey images are repeated over the three channels, palettes resolved, alpha dropped, values of more than
    8 bits scaled to 0..255, and the camera's rotation in EXIF is applied.

    Args:
        path: the file.
        bits: in a deep file, white is 2^bits - 1; None for the range that the file alone suggests.

    Raises:
        UserError: the file is missing, damaged, not an image, of several images, or its value range unknown.
    """
    return read_decoded(path).rgb(bits)


def read_decoded(path: Path) -> Decoded:
    """Read and decode one image file. Raises UserError as `read_rgb`."""
    return decode_file(path, read_content(path))


def read_content(path: Path) -> bytes:
    """The bytes of a file. Raises UserError where they cannot be read."""
    if not path.is_file():
        raise UserError(path, "no such file", "restore it or prepare the dataset again")
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "replace or remove the file") from None


def decode_file(path: Path, content: bytes) -> Decoded:
    """Decode the content of an image file. Raises UserError with the file's name, see `read_rgb`."""
    try:
        return decode(content)
    except UserError as error:
        raise error.within(path) from None


def pixel_digest(image: Image.Image) -> str:
    """SHA-256 of an image's size and pixels, in hexadecimal: the same for the same image in any file."""
    return hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()


def to_square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resize an RGB image to (size, size, 3) uint8: bilinear, no crop, as UniAD does (its data protocol)."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)


def decode_mask(path: Path, image_size: tuple[int, int], turned: int = 1) -> Mask:
    """Read a ground-truth mask, upright; `drdc.data.masks.binarise` says which values are marked.

    Args:
        path: the mask file, of any mode that Pillow can read.
        image_size: (width, height) in pixels of the upright image that the mask belongs to.
        turned: the EXIF orientation of that image's file.

    Raises:
        UserError: the file is unreadable or contains several images, or its size is not the image's.
    """
    mask, own = _open_mask(path)
    if mask.size != image_size:
        raise UserError(path, *_misfit(mask.size, image_size, turned))
    try:
        return replace(binarise(mask), turned=own)
    except ValueError as error:
        raise UserError(
            path, f"the mask cannot be read ({first_line(error)})", "write 0 and 255 as PNG"
        ) from error


def resize_mask(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Resize an (H, W) bool mask to (size, size) bool by nearest neighbour (UniAD's protocol)."""
    return nearest(mask.astype(np.uint8), size) > 0


def _misfit(size: tuple[int, int], image_size: tuple[int, int], turned: int) -> tuple[str, str]:
    """The error for a mask of another size than its image."""
    found, wanted = ("{} x {}".format(*pair) for pair in (size, image_size))
    if turned >= _SIDEWAYS and size == image_size[::-1]:
        return (
            f"the mask is {found} pixels and fits its image ({wanted}) only as stored, before the rotation "
            f"by the image's EXIF orientation ({turned})"
        ), "store both upright"
    return f"the mask is {found} pixels but its image is {wanted}", "give it the same size"


def _open_mask(path: Path) -> tuple[Image.Image, int]:
    """A mask file upright, with the format of its file, and the EXIF orientation by which it was rotated."""
    content = read_content(path)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            turned, frames = orientation(image), image_count(image)  # before the pixels, as `decode` does
            image.load()
            upright = ImageOps.exif_transpose(image)
            upright.format = image.format
    except Exception as error:  # Pillow's decoders raise many kinds
        reason = str(error) or type(error).__name__
        raise UserError(path, f"not a readable image ({reason})", "replace or remove the file") from error
    if frames > 1:
        raise UserError(path, f"the mask file contains {frames} images", "save the mask as one PNG")
    if upright.mode not in ("I", "F") and may_be_deep(path):  # of other modes Pillow keeps 8 bits
        upright = _deep_mask(path, content, upright)
    return upright, turned


def _deep_mask(path: Path, content: bytes, image: Image.Image) -> Image.Image:
    """The values of a mask of up to 16 bits, of its brightest channel; `image`: as Pillow reads it."""
    decoded = decode_file(path, content)
    if not isinstance(decoded, Deep):
        return image
    alpha = np.asarray(image.getchannel("A")) if "A" in image.getbands() else np.array(255)
    if not alpha.min() == alpha.max() > 0:
        raise UserError(
            path,
            "the mask has 16 bits and transparent pixels",
            "save it with 8 bits, or without transparency",
        )
    values = decoded.values if decoded.values.ndim == 2 else decoded.values.max(axis=2)
    if decoded.white_is_zero:
        values = (decoded.white or 65535) - values
    deep = Image.fromarray(values.astype(np.uint16))
    deep.format = image.format
    return deep
