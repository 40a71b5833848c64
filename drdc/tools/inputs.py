"""The images of a command line, and the name under which the results of each are written."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from drdc.data.listing import EXTENSIONS, below, called_image, is_system, why_left_out
from drdc.runtime.errors import UserError

LONGEST = 180  # bytes of a name, so that endings fit into the 255 that file systems allow


_OF_OUTPUT = "file in --output"
Found = Iterator[tuple[Path, Path | None]]


def find_images(
    arguments: Iterable[str], output: Path
) -> tuple[list[tuple[Path, Path]], list[str], Counter[str]]:
    """The images of files, folders (with all below them) and patterns, in the order of the arguments.

    A file given by name is taken whatever its suffix; of a folder only files with the suffix of an image,
    without hidden ones and without those in `output`. No image is taken twice.

    Returns:
        (image, name of its results below the output folder, without suffix) of each, all names different also
        where upper and lower case are the same; the arguments without an image; and how many files and
        folders were left out for which reason.

    Raises:
        UserError: all images are in `output`, where results could overwrite them.
    """
    found: dict[Path, tuple[Path, Path]] = {}
    left_out: dict[Path, str] = {}
    empty, results = [], output.resolve()
    for argument in arguments:
        entries: dict[Path, tuple[Path, Path | None]] = {}
        for file, name in _meant(argument):
            entries.setdefault(_place(file), (file, name))
        images = {place: (file, name) for place, (file, name) in entries.items() if name}
        apart = {place: own for place, own in images.items() if results not in place.parents}
        for place in entries.keys() - apart.keys():
            left_out[place] = _OF_OUTPUT if place in images else why_left_out(place)
        found |= {place: own for place, own in apart.items() if place not in found}
        if not apart:
            empty.append(argument)
    if not found and _OF_OUTPUT in left_out.values():
        raise UserError(f"--output {output}", "all images are in it", "name another folder")
    return _unique(found.values()), empty, Counter(left_out.values())


def total_left_out(reasons: Counter[str]) -> str:
    """How many files and folders were left out; "" for none."""
    folders = sum(number for reason, number in reasons.items() if reason.endswith("folder"))
    numbers = {"file": reasons.total() - folders, "folder": folders}
    total = " and ".join(_counted(number, kind) for kind, number in numbers.items() if number)
    return total and f"{total} left out"


def about_left_out(reasons: Counter[str]) -> str:
    """One line on what was left out, and why; for at least one file."""
    kinds = ", ".join(_counted(number, reason) for reason, number in sorted(reasons.items()))
    return f"{total_left_out(reasons)}: {kinds}; images are called {', '.join(sorted(EXTENSIONS))}"


def _counted(number: int, noun: str) -> str:
    many = re.sub(r"\b(file|folder|link)\b", r"\1s", noun, count=1)
    return f"{number} {many if number > 1 else noun}"


def _meant(argument: str) -> Found:
    """(file, path that its results keep) of one argument; None where it is not an image."""
    path = Path(argument)
    if path.is_dir():
        yield from _below(path)
    elif path.exists() or path.is_symlink():
        yield path, Path(path.name)
    else:
        for match in sorted(glob.glob(argument, recursive=True)):  # noqa: PTH207  Path.glob takes no absolute pattern
            yield from _matched(Path(match), Path(argument))


def _matched(path: Path, pattern: Path) -> Found:
    """The files of a match of a pattern; a folder of the operating system counts only where it is named."""
    named = next(i for i, part in enumerate(pattern.parts) if glob.has_magic(part))
    if any(map(is_system, path.parts[named:])):
        return
    if path.is_dir():
        yield from _below(path)
    else:
        yield path, Path(path.parent.name, path.name) if _is_image(path) else None


def _below(folder: Path) -> Found:
    """All files of a folder and its subfolders; links to folders are not followed."""
    top = folder.resolve().name
    for file in below(folder):
        yield file, Path(top, file.relative_to(folder)) if _is_image(file) else None


def _is_image(path: Path) -> bool:
    return called_image(path) and path.is_file()


def _place(file: Path) -> Path:
    """The place of a file, whatever links to folders led to it."""
    return file.parent.resolve() / file.name


def _unique(found: Iterable[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    """Names without suffix; a second one of the same name gets a number."""
    taken: set[str] = set()
    named = []
    for image, path in found:
        plain = Path(*(_short(part) for part in path.with_suffix("").parts))
        name, number = plain, 1
        while str(name).casefold() in taken:
            number += 1
            name = plain.with_name(f"{plain.name}-{number}")
        taken.add(str(name).casefold())
        named.append((image, name))
    return named


def _short(part: str) -> str:
    """A part of a path that leaves room for a suffix, still different from others with the same beginning."""
    content = os.fsencode(part)
    if len(content) <= LONGEST:
        return part
    beginning = content[: LONGEST - 9].decode(errors="ignore")
    return f"{beginning}-{hashlib.sha256(content).hexdigest()[:8]}"
