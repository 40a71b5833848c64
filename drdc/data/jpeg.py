"""Damage inside a JPEG file, for which decoders give only a warning."""

from __future__ import annotations

import re

import simplejpeg

from drdc.runtime.errors import UserError

_DAMAGE = ("Corrupt JPEG data", "Premature end of JPEG file")
_LEFT = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")


def refuse_damage(content: bytes) -> None:
    """Raise UserError where libjpeg warns that the compressed pixels of a JPEG file are damaged.

    Bytes after the end, fill bytes and faults of the header alone do not count as damage. A file that
    cannot be decoded at all is left to the decoder.
    """
    try:  # an eighth of the size: all compressed data is read, few pixels are computed
        simplejpeg.decode_jpeg(content, "GRAY", min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        warning = str(error)
        if warning.startswith(_DAMAGE) and not _is_filling(warning, content):
            raise UserError(
                "", f"not a readable image (damaged inside: {warning})", "replace or remove the file"
            ) from None


def _is_filling(warning: str, content: bytes) -> bool:
    """Whether the extraneous bytes that libjpeg found are fill bytes, which some cameras write."""
    left = _LEFT.search(warning)
    if left is None:
        return False
    count, marker = int(left[1]), bytes.fromhex(left[2])
    return re.search(rb"[\x00\xff]{%d}\xff%s" % (count, re.escape(marker)), content) is not None
