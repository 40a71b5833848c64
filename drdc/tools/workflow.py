"""`drdc workflow`: where the Snakefile is, and the experiments and profiles next to it."""

from __future__ import annotations

import argparse

from drdc.runtime.endings import say
from drdc.runtime.errors import UserError
from drdc.runtime.project import PROJECT, SNAKEFILE


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "file",
        nargs="?",
        default=SNAKEFILE.name,
        help="a file or folder next to it, as config/mvtec.yaml or profiles/slurm (default: the Snakefile)",
    )


def run(file: str) -> None:
    """Print a path.

    Raises:
        UserError: there is no such file.
    """
    path = PROJECT / file
    if not path.exists():
        folder = path.parent if path.parent.is_dir() else PROJECT
        there = ", ".join(sorted(one.name for one in folder.iterdir() if not one.name.startswith(".")))
        raise UserError(path, "does not exist", f"{folder} has {there}")
    say(str(path))
