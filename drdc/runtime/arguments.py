"""Numbers on the command line, for argparse's `type`."""

from __future__ import annotations

import argparse

#: Largest seed: torch, NumPy and the tables take 63 bits.
LARGEST_SEED = 2**63 - 1
MOST = 4096  # threads, processes, GPUs or images at a time


def natural(text: str) -> int:
    """A non-negative integer, at most `MOST`."""
    return _whole(text, 0, MOST)


def positive(text: str) -> int:
    """A positive integer, at most `MOST`."""
    return _whole(text, 1, MOST)


def seed(text: str) -> int:
    """A non-negative integer, at most `LARGEST_SEED`."""
    return _whole(text, 0, LARGEST_SEED)


def _whole(text: str, least: int, most: int) -> int:
    if not text.isdecimal() or len(text) > 100 or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"must be an integer from {least} to {most}, got {text[:100]!r}")
    return int(text)
