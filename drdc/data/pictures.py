"""One image from any source: a file, a Pillow image or an array."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from drdc.data.depth import Decoded, Deep, Ranges, Shallow
from drdc.data.images import pixel_digest, read_decoded
from drdc.runtime.errors import UserError


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that was read, and the text from which its noise is derived.

    Attributes:
        image: RGB, upright.
        key: digest of its pixels.
        notes: on its range of grey values, in words.
    """

    image: Image.Image
    key: str
    notes: tuple[str, ...] = ()


Source = str | Path | Image.Image | NDArray[np.uint8] | NDArray[np.uint16] | Picture


def read_picture(
    source: Source, ranges: Ranges | None = None, *, category: str | None = None, bits: int | None = None
) -> Picture:
    """Read an image from a file, a Pillow image, or an array of uint8 or uint16, (H, W) or (H, W, 3 or 4).

    Files may be of any format that `drdc.data.images.read_rgb` reads; alpha is dropped.

    Args:
        source: the image; a `Picture` is returned as it is.
        ranges: of the model's training images of more than 8 bits.
        category: of the image, where it is known.
        bits: bit depth of an image of more than 8 bits, whatever its file or the training images say.

    Raises:
        UserError: the file is not a readable image, the pixels are of another type or shape, or the range of
            their values depends on the category, which is not given.
    """
    if isinstance(source, Picture):
        return source
    decoded = _decoded(source)
    known = Ranges(bits) if bits else ranges or Ranges()
    try:
        notes = known.notes(decoded, category)
    except UserError as error:
        raise (error.within(source) if isinstance(source, str | Path) else error) from None
    image = decoded.rgb(known.bits(decoded, category))
    return Picture(image, pixel_digest(image), tuple(notes.values()))


def _decoded(source: Any) -> Decoded:
    if isinstance(source, str | Path):
        return read_decoded(Path(source))
    if isinstance(source, Image.Image):
        return _from_pillow(source)
    return _from_array(np.asarray(source))


def _from_pillow(image: Image.Image) -> Decoded:
    if not min(image.size) or (image.mode.startswith(("I", "F")) and not image.mode.startswith("I;16")):
        raise UserError(
            "",
            f"the image of mode {image.mode} and size {image.size} cannot be used",
            "give 8-bit or 16-bit pixels, at least one",
        )
    upright = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return Deep(np.asarray(upright).astype(np.uint16))
    return Shallow(upright.convert("RGB"))


def _from_array(values: NDArray[Any]) -> Decoded:
    shaped = values.ndim == 2 or (values.ndim == 3 and values.shape[2] in (3, 4))
    if values.dtype not in (np.uint8, np.uint16) or not shaped or not values.size:
        raise UserError(
            "",
            f"the array of shape {values.shape} and type {values.dtype} is not an image",
            "give uint8 or uint16 (H, W), (H, W, 3) or (H, W, 4), of at least one pixel",
        )
    if values.dtype == np.uint16:
        return Deep(values if values.ndim == 2 else values[..., :3])
    return Shallow(Image.fromarray(values).convert("RGB"))
