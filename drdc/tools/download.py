"""`drdc download`: fetch everything that a configuration needs, or one published dataset by its name."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

from drdc.data.datasets import READERS, SOURCES
from drdc.runtime.endings import say
from drdc.runtime.errors import UserError
from drdc.tools import weights


def arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    titles = ", ".join(f"{source.title} ({source.size / 1e9:.1f} GB)" for source in SOURCES.values())
    parser.add_argument("name", nargs="?", choices=READERS, help=titles)
    parser.add_argument("--to", metavar="FOLDER", help="the dataset's folder (default: data/NAME)")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="the dataset and pre-trained networks of a configuration",
    )
    parser.add_argument("--only-dataset", action="store_true", help="with --config: no pre-trained networks")


def run(*, name: str | None, to: str | None, config: str | None, only_dataset: bool) -> None:
    """Fetch the dataset `name` into the folder `to`, or what the experiment of the file `config` needs.

    Raises:
        UserError: as `drdc.data.download.obtain` and `drdc.stages.weights`, or the arguments do not fit.
    """
    if (name is None) == (config is None):
        raise UserError(
            "drdc download",
            "needs a dataset or a configuration",
            "give the name of a dataset or --config FILE",
        )
    if name is not None:
        return _fetch(name, Path(to or f"data/{name}"))
    if to is not None:
        raise UserError("--to", "does not go with --config", "set dataset.root in that file")
    from drdc.experiment.stage_settings import stage_settings
    from drdc.results.layout import Layout
    from drdc.stages.download import download

    experiment, settings = stage_settings("download", str(config))
    download(Layout(experiment), **settings)
    if not only_dataset:
        weights.run(network=None, config=str(config))


def _fetch(name: str, folder: Path) -> None:
    """The published dataset of that name, unless the folder exists."""
    from drdc.data.download import obtain

    if name not in SOURCES:
        raise UserError(
            name, f"{READERS[name].title} has no address to download it from", READERS[name].by_hand
        )
    source = SOURCES[name]
    say(f"{source.title}: {source.licence}; {source.home}")
    fetched = obtain(source, folder)
    say(f"{folder}: {'ready' if fetched else 'exists already and was left as it is'}")
