"""Numbers on the command line, for argparse's `type`."""

from __future__ import annotations

import argparse


def natural(text: str) -> int:
    """A whole number, 0 or larger."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number, 0 or larger")
    return int(text)


def positive(text: str) -> int:
    """A whole number, 1 or larger."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number, 1 or larger")
    return int(text)
