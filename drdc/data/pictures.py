"""One image from wherever it comes: a file, a Pillow image or an array."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from drdc.data.images import read_rgb
from drdc.errors import UserError
from drdc.files import sha256_of


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that is read, and the text from which its noise follows.

    Attributes:
        image: RGB, upright.
        key: SHA-256 of the file, or of the pixels where there is no file.
    """

    image: Image.Image
    key: str


Source = str | Path | Image.Image | NDArray[np.uint8] | Picture


def read_picture(source: Source) -> Picture:
    """Read an image from a file, a Pillow image, or an array of uint8: (H, W), (H, W, 3) or (H, W, 4).

    Files may be of any kind that `drdc.data.images.read_rgb` reads; alpha is dropped.

    Raises:
        UserError: the file is no readable image, or the pixels are of another kind or number.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, str | Path):
        image = read_rgb(Path(source))
        return Picture(image, sha256_of(Path(source)))
    image = source if isinstance(source, Image.Image) else _from_array(source)
    if image.mode.startswith(("I", "F")) or not min(image.size):
        raise UserError(
            f"the image of mode {image.mode} and size {image.size}: give 8-bit pixels, at least one"
        )
    image = ImageOps.exif_transpose(image).convert("RGB")
    return Picture(image, hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest())


def _from_array(pixels: Any) -> Image.Image:
    values = np.asarray(pixels)
    if values.dtype != np.uint8 or not (values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))):
        raise UserError(
            f"the array of shape {values.shape} and kind {values.dtype} is no image; "
            "give uint8 (H, W), (H, W, 3) or (H, W, 4)"
        )
    return Image.fromarray(values)
