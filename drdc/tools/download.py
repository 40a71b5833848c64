"""`drdc download`: fetch a published dataset, or verify and unpack an archive that was fetched by hand."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from drdc.data.datasets import SOURCES
from drdc.runtime.endings import say


def arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    titles = ", ".join(f"{source.title} ({source.size / 1e9:.1f} GB)" for source in SOURCES.values())
    parser.add_argument("name", choices=SOURCES, help=titles)
    parser.add_argument("--to", metavar="FOLDER", help="the dataset's folder (default: data/NAME)")


def run(*, name: str, to: str | None) -> None:
    """Fetch the dataset `name` into the folder `to`, unless that exists; raises as `obtain` does."""
    from drdc.data.download import obtain

    source, folder = SOURCES[name], Path(to or f"data/{name}")
    say(f"{source.title}: {source.licence}; {source.home}")
    fetched = obtain(source, folder)
    say(f"{folder}: {'ready' if fetched else 'exists already and was left as it is'}")
