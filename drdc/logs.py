"""How messages look, in every process."""

from __future__ import annotations

import logging
import sys


def log_to_stderr(level: int = logging.INFO) -> None:
    """Print messages of `level` and above to stderr, with their time."""
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", stream=sys.stderr)
