"""Damage inside a JPEG file, for which decoders give only a warning."""

from __future__ import annotations

import re

import simplejpeg

from drdc.runtime.errors import UserError

_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG file")
#: A header of JFIF with another revision than 1, of which libjpeg warns before it sees any damage.
_REVISION = re.compile(rb"\A(.{6}JFIF\0)[^\x01]", re.DOTALL)
#: Places with fill bytes that are looked behind.
_MOST_FILLINGS = 100
_LEFT = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")


def refuse_damage(content: bytes) -> None:
    """Raise UserError where libjpeg warns that the compressed pixels of a JPEG file are damaged.

    Bytes after the end, fill bytes and faults of the header alone do not count as damage. A file that
    cannot be decoded at all is left to the decoder.
    """
    content = _REVISION.sub(b"\\g<1>\x01", content)
    for _ in range(_MOST_FILLINGS):
        warning = _first_warning(content)
        if not warning.startswith(_DAMAGE):
            return
        filling = _filling(warning)
        if filling is None or not filling.search(content):
            raise UserError(
                "", f"not a readable image (damaged inside: {warning})", "replace or remove the file"
            )
        content = filling.sub(b"", content, count=1)


def _first_warning(content: bytes) -> str:
    """What libjpeg says first of a file, which hides all that follows; "" where it says nothing."""
    try:  # an eighth of the size: all compressed data is read, few pixels are computed
        simplejpeg.decode_jpeg(content, "GRAY", min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        return str(error)
    return ""


def _filling(warning: str) -> re.Pattern[bytes] | None:
    """The extraneous bytes of a warning, where they may be fill bytes, which some cameras write.

    A 0 behind 255 is data.
    """
    left = _LEFT.search(warning)
    if left is None:
        return None
    count, marker = int(left[1]), re.escape(bytes.fromhex(left[2]))
    return re.compile(rb"(?<!\xff)[\x00\xff]{%d}(?=\xff%s)" % (count, marker))
