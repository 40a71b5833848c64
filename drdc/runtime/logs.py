"""The format of log messages, in every process."""

from __future__ import annotations

import logging
import sys


def log_to_stderr(level: int = logging.INFO) -> None:
    """Print messages of `level` and above to stderr, with their time; those of libraries from warnings on."""
    logging.basicConfig(
        level=max(level, logging.WARNING), format="%(asctime)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("drdc").setLevel(level)
