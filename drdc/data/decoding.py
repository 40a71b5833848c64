"""The content of an image file of any supported format, as the values in the file."""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from tifffile import TiffFile

from drdc.data.depth import Decoded, Deep, Shallow
from drdc.data.jpeg import refuse_damage
from drdc.data.tiff import deep_page, is_deep, only_page, refuse_negative, whole
from drdc.runtime.errors import UserError

#: Supported formats, whatever the file's suffix; none of vectors or scripts, which would start a program.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000")
#: Pixels of the largest image that is read; as RGB it takes 2 GB of memory.
LARGEST = 500_000_000

Image.MAX_IMAGE_PIXELS = None  # Pillow's limit is below that of line-scan cameras; `LARGEST` stands for it

_ORIENTATION = 0x0112
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAY_BE_DEEP = (b"P2", b"P3", b"P5", b"P6", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")  # PNM, JPEG 2000
_PNG_HEAD = b"\x89PNG"
_PNM = re.compile(rb"P([2356])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)\s")


def decode(content: bytes) -> Decoded:
    """Decode a file, upright and without alpha.

    Raises:
        UserError: it is damaged, not an image, of several images, too large, or of an unknown value range; as
            "<problem>; <what to do>", without the file's name.
    """
    try:
        return _tiff(content) if content.startswith(_TIFF) else _any(content)
    except UserError:
        raise
    except UnidentifiedImageError:
        known = ", ".join(FORMATS).replace("PPM", "PNM").replace("JPEG2000", "JPEG 2000")
        reason = f"it is not one of {known}"
    except Exception as error:  # decoders raise many kinds
        reason = " ".join(str(error).split()) or type(error).__name__
    raise UserError("", f"not a readable image ({reason})", "replace or remove the file")


def may_be_deep(path: Path) -> bool:
    """Whether a file may have more than 8 bits a value, judged by its header."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(25)
        if head.startswith(_TIFF):
            with TiffFile(path) as tiff:
                return is_deep(only_page(tiff))
        return head.startswith(_MAY_BE_DEEP) or (head.startswith(_PNG_HEAD) and head[24:] == b"\x10")
    except Exception:  # damaged files raise many kinds
        return False


def _tiff(content: bytes) -> Decoded:
    with TiffFile(io.BytesIO(content)) as tiff:
        page = only_page(tiff)
        _refuse_large(page.imagewidth, page.imagelength)
        if is_deep(page):
            return _upright(deep_page(page), page.tags.valueof(_ORIENTATION, default=1))
        refuse_negative(page)
    with Image.open(io.BytesIO(content), formats=("TIFF",)) as image:
        image.seek(page.index)
        return _shallow(image)


def _any(content: bytes) -> Decoded:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        _refuse_large(*image.size)
        _refuse_pages(image)
        if image.format in ("JPEG", "MPO"):
            refuse_damage(content)
        deep = _DEEP.get(image.format or "", lambda content: None)(content)
        return _shallow(image) if deep is None else _upright(deep, orientation(image))


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an open file, 1 to 8; 1 is upright."""
    value = image.getexif().get(_ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def image_count(image: Image.Image) -> int:
    """How many images an open file holds: pages, frames, previews."""
    return getattr(image, "n_frames", 1)


def _shallow(image: Image.Image) -> Shallow:
    turned = orientation(image)  # before the pixels: of a TIFF, Pillow turns them and forgets it
    image.load()
    if image.mode.startswith(("I", "F")):
        raise UserError(
            "", f"has pixels of mode {image.mode}, whose range is unknown", "save it with 8 or 16 bits"
        )
    return Shallow(ImageOps.exif_transpose(image).convert("RGB"), turned)


def _refuse_large(width: int, height: int) -> None:
    if width * height > LARGEST:
        raise UserError(
            "",
            f"has {width} x {height} pixels, more than {LARGEST // 1_000_000} million",
            "crop or resize it",
        )


def _refuse_pages(image: Image.Image) -> None:
    """Refuse further frames of the first one's size; smaller ones are the previews that phones add."""
    own, frames = (image.size, image.mode), image_count(image)
    if image.format == "MPO":
        frames = sum(_frame(image, number) == own for number in range(frames))
    if frames > 1:
        raise UserError("", f"contains {frames} images", "save each in a file of its own")
    image.seek(0)


def _frame(image: Image.Image, number: int) -> tuple[tuple[int, int], str]:
    image.seek(number)
    return image.size, image.mode


def _upright(deep: Deep, turned: int) -> Deep:
    """Rotated and mirrored by the EXIF orientation (JEITA CP-3451, 4.6.4)."""
    values = deep.values
    if turned in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if turned in (3, 4, 7, 8):
        values = values[::-1]
    if turned in (2, 3, 6, 7):
        values = values[:, ::-1]
    return replace(deep, values=values, turned=turned)


def _png(content: bytes) -> Deep | None:
    """The values of a PNG of 16 bits."""
    if content[24] != 16:
        return None
    values = imagecodecs.png_decode(content)
    significant = next((data for kind, data in _chunks(content) if kind == b"sBIT"), b"")
    colours = 3 if values.ndim == 3 and values.shape[2] > 2 else 1
    return Deep(_colours(values), None, max(significant[:colours], default=None))


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of the chunks before the pixels."""
    start, kind = 8, b""
    while kind != b"IDAT":
        length, kind = struct.unpack_from(">I4s", content, start)
        yield kind, content[start + 8 : start + 8 + length]
        start += length + 12


def _pnm(content: bytes) -> Deep | None:
    """The values of a PGM or PPM, as text or in binary form, with more than 255 levels."""
    head = _PNM.match(content)
    if head is None or int(head[4]) <= 255:
        return None
    kind, width, height, white = map(int, head.groups())
    channels = 3 if kind in (3, 6) else 1
    count = width * height * channels
    if kind in (2, 3):
        values = np.array(re.sub(rb"#[^\n]*", b"", content[head.end() :]).split()[:count], np.uint32)
    else:
        values = np.frombuffer(content, ">u2", count, head.end()).astype(np.uint32)
    if len(values) < count or values.max() > white:
        raise UserError("", "is truncated or has values above its maximum", "replace or remove the file")
    pixels = whole(values.reshape(height, width, channels))
    return Deep(_colours(pixels), white if white < 65535 else None)


def _jpeg_2000(content: bytes) -> Deep | None:
    """The values of a JPEG 2000 image of more than 8 bits (SIZ marker: ISO/IEC 15444-1, A.5.1)."""
    component = content[content.index(b"\xff\x4f\xff\x51") + 42]
    bits = (component & 0x7F) + 1
    if bits <= 8:
        return None
    return Deep(_colours(whole(imagecodecs.jpeg2k_decode(content))), 2**bits - 1 if bits < 16 else None)


def _colours(values: NDArray[Any]) -> NDArray[np.uint16]:
    """(H, W) or (H, W, 3) of an array with or without alpha."""
    if values.ndim == 2:
        return values
    return values[..., :3] if values.shape[2] > 2 else values[..., 0]


_DEEP = {"PNG": _png, "PPM": _pnm, "JPEG2000": _jpeg_2000}
