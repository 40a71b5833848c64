"""Which images a command line means, and under which name the results of each are written."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from drdc.data.listing import EXTENSIONS

LONGEST = 180  # bytes of a name, so that endings fit into the 255 that file systems allow


def find_images(arguments: Iterable[str], output: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """The images of files, folders (with all below them) and patterns, in the order of the arguments.

    A file that is named is taken whatever it is called; of a folder only files that are called like images,
    without hidden ones and without what lies in `output`. No image is taken twice.

    Returns:
        (image, name of its results below the output folder, without ending) of each, all names different also
        where upper and lower case are the same; and the arguments that mean no image.
    """
    found: dict[Path, Path] = {}
    empty = []
    for argument in arguments:
        files = [(file, name) for file, name in _meant(argument) if not _within(file, output)]
        for file, name in files:
            found.setdefault(file, name)
        if not files:
            empty.append(argument)
    return _unique(found), empty


def _meant(argument: str) -> Iterator[tuple[Path, Path]]:
    """(file, path that its results keep) of one argument."""
    path = Path(argument)
    if path.is_dir():
        yield from _below(path)
    elif path.exists() or not glob.has_magic(argument):
        yield path, Path(path.name)
    else:
        for match in sorted(glob.glob(argument, recursive=True)):  # noqa: PTH207  Path.glob takes no absolute pattern
            other = Path(match)
            if other.is_dir():
                yield from _below(other)
            elif _is_image(other):
                yield other, Path(other.parent.name, other.name)


def _below(folder: Path) -> Iterator[tuple[Path, Path]]:
    """All images of a folder and of those in it; links to folders are not followed."""
    top = folder.resolve().name
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(Path(parent, name) for name in files):
            if _is_image(file):
                yield file, Path(top, file.relative_to(folder))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and path.is_file()


def _within(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _unique(found: dict[Path, Path]) -> list[tuple[Path, Path]]:
    """Names without ending; a second one of the same name gets a number."""
    taken: set[str] = set()
    named = []
    for image, path in found.items():
        plain = Path(*(_short(part) for part in path.with_suffix("").parts))
        name, number = plain, 1
        while str(name).casefold() in taken:
            number += 1
            name = plain.with_name(f"{plain.name}-{number}")
        taken.add(str(name).casefold())
        named.append((image, name))
    return named


def _short(part: str) -> str:
    """A part of a path that leaves room for an ending, still different from others of its beginning."""
    content = os.fsencode(part)
    if len(content) <= LONGEST:
        return part
    beginning = content[: LONGEST - 9].decode(errors="ignore")
    return f"{beginning}-{hashlib.sha256(content).hexdigest()[:8]}"
