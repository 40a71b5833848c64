"""The datasets by name: the files of `drdc.data.readers`."""

from __future__ import annotations

import pkgutil
import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from drdc.data import readers
from drdc.data.problems import Problem
from drdc.data.reader import Reader, Source
from drdc.data.samples import Sample
from drdc.runtime.errors import UserError


def _readers() -> dict[str, Reader]:
    names = sorted(file.name for file in pkgutil.iter_modules(readers.__path__))
    return {name: import_module(f"{readers.__name__}.{name}").READER for name in names}


#: All datasets that the configuration can name.
READERS = _readers()
#: Those that can be downloaded.
SOURCES = {name: reader for name, reader in READERS.items() if isinstance(reader, Source)}


@contextmanager
def readable() -> Iterator[None]:
    """Raises UserError in place of OSError for a file or folder that cannot be read."""
    try:
        yield
    except OSError as error:
        raise UserError(error.filename, f"cannot be read ({error.strerror})", "allow reading it") from error


def scan(
    name: str, root: Path, categories: Sequence[str] | None = None, good: Collection[str] | None = None
) -> tuple[list[Sample], list[Problem]]:
    """`Reader.scan` of the dataset `name`; a folder that cannot be read is a UserError, too."""
    with readable():
        return READERS[name].scan(root, categories, good)


def dataset_root(name: str, root: str | Path | None = None) -> Path:
    """The existing folder of a dataset; "elpv" needs no root when its package is installed.

    Raises:
        UserError: unknown dataset, no root given, or the folder is missing (with where to get the data).
    """
    if name not in READERS:
        raise UserError("", f"dataset name '{name}' is unknown", f"choose one of {', '.join(READERS)}")
    reader = READERS[name]
    if root is None and reader.find_root is not None:
        return reader.find_root()
    if root is None:
        raise UserError("dataset root", f"dataset '{name}' needs a folder", reader.by_hand)
    folder = Path(root)
    if not folder.is_dir():
        how = reader.by_hand
        if name in SOURCES:
            how = f"run `drdc download {name} --to {shlex.quote(str(folder))}`, or {how}"
        raise UserError(folder, f"the folder of dataset '{name}' does not exist", how)
    return folder
