"""SHA-256 of every file that a stage writes for another, whose reader refuses it if it was changed since.

It is next to the file `<name>` as `.<name>.sha256`, in the format of sha256sum. Further lines have the
digests of its *sources*, what it belongs to: the manifest of its images, and models. All paths are then
relative to the manifest's folder. Files of weights are copied alone, so that theirs is in their header
(`seal` and `check_seal`), and the lines of models are comments to sha256sum.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from drdc.runtime.errors import UserError

_LINE = re.compile(r"(?:# )?([0-9a-f]{64})  (.+)")
#: Placeholder of the digest in the header of weights while that is computed.
BLANK = "-" * 64
#: No header of safetensors is longer, in bytes.
_LONGEST = 100_000_000
#: How the names of models end, which may be removed once everything is computed.
_WEIGHTS = ".safetensors"
#: Of a file that was made from nothing that is noted.
NO_SOURCES: Mapping[Path, str] = MappingProxyType({})


def sidecar(path: Path) -> Path:
    """The path of the digest of a file."""
    return path.with_name(f".{path.name}.sha256")


def noted(path: Path, digest: str, sources: Mapping[Path, str] = NO_SOURCES) -> str:
    """The content of a sidecar: names and digests of a file and of its sources, a manifest first."""
    root = next(iter(sources), path).parent
    lines = []
    for file, own in {path: digest, **sources}.items():
        name = Path(os.path.relpath(file, root)).as_posix()
        lines.append(f"{'# ' if file.suffix == _WEIGHTS else ''}{own}  {name}\n")
    return "".join(lines)


def verify(path: Path, stage: str) -> None:
    """Read a file once in this process and compare it with the digest next to it.

    Args:
        stage: the command that writes it, for the message.

    Raises:
        UserError: the file is missing, damaged, changed by hand, another one of this project, or of other
            sources; or there is no digest.
    """
    maker = f"`drdc {stage}` or the same `snakemake` command"
    if not path.is_file():
        raise UserError(path, "is missing", f"run `drdc {stage}` first")
    (name, digest), *sources = _read(path, maker).items()
    root = _root(path, name)
    if root is None:
        raise UserError(
            path, f"was written as {name}, for something else", f"remove it and run {maker} again"
        )
    if digest_of(path) != digest:
        raise UserError(
            path,
            f"is damaged or was changed by hand, its SHA-256 is not the one in {sidecar(path).name}",
            f"remove it and run {maker} again",
        )
    if other := _changed(root, sources):
        raise UserError(path, f"belongs to another {other}", f"remove it and run {maker} again")


def is_current(path: Path) -> bool:
    """Whether there is such a file, of the images and models that there are now.

    Raises:
        UserError: it has no digest, or a damaged one.
    """
    if not path.is_file():
        return False
    (name, _), *sources = _read(path, "the same command").items()
    root = _root(path, name)
    return root is None or not _changed(root, sources)  # None: `verify` says what is wrong


def _root(path: Path, name: str) -> Path | None:
    """The folder in which a file has that name, which may have folders; None where it is called otherwise."""
    parts = Path(name).parts
    own = path.absolute()
    return own.parents[len(parts) - 1] if own.parts[-len(parts) :] == parts else None


def _changed(root: Path, sources: Iterable[tuple[str, str]]) -> str:
    """What the first of the sources that is another file now is called in a sentence, "" for none.

    `sources`: name and digest of each.
    """
    for name, digest in sources:
        path = root / name
        weights = path.suffix == _WEIGHTS
        same = _source_digest(path) == digest if path.is_file() else weights
        if not same:
            return f"model than {name}" if weights else "manifest"
    return ""


def source_digests(paths: Iterable[Path]) -> dict[Path, str]:
    """The digests of sources, a manifest first; models that do not exist are left out.

    Raises:
        UserError: a file cannot be read.
    """
    return {path: _source_digest(path) for path in paths if path.suffix != _WEIGHTS or path.is_file()}


def _source_digest(path: Path) -> str:
    return _sealed_digest(path.absolute(), *_state(path)) if path.suffix == _WEIGHTS else digest_of(path)


def _read(path: Path, maker: str) -> dict[str, str]:
    """Name and digest of a file, and then of its sources."""
    try:
        lines = sidecar(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except FileNotFoundError:
        raise UserError(
            path,
            f"cannot be verified, {sidecar(path).name} is missing: an older drdc wrote the file, or it was "
            "copied alone",
            f"remove it and run {maker} again",
        ) from None
    except (OSError, UnicodeDecodeError):
        lines = []
    found = [match.groups() for line in lines if (match := _LINE.fullmatch(line))]
    if not lines or len(found) != len(lines):
        raise UserError(sidecar(path), "is damaged", f"remove {path} and run {maker} again")
    return {name: digest for digest, name in found}


def digest_of(path: Path) -> str:
    """`sha256_of`, computed again only where the file was written since.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        return _digest(path.absolute(), *_state(path))
    except OSError as error:
        raise _unreadable(path, error) from None


def _state(path: Path) -> tuple[int, int, int, int]:
    """Numbers of which at least one changes when a file is written or replaced."""
    about = path.stat()
    return about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns


@lru_cache(maxsize=4096)
def _digest(path: Path, *_: int) -> str:
    return sha256_of(path)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> UserError:
    return UserError(path, f"cannot be read ({error.strerror or error})", "make it again")


def seal(content: bytes) -> bytes:
    """Put the SHA-256 of a file in the place of `BLANK` in its header."""
    return content.replace(BLANK.encode(), hashlib.sha256(content).hexdigest().encode(), 1)


@lru_cache(maxsize=4096)
def _sealed_digest(path: Path, *_: int) -> str:
    """The digest in the header of a file that `seal` made, not compared with its bytes; "" for none."""
    try:
        with path.open("rb") as file:
            header = json.loads(_header(file)[1])
        return str(json.loads(header["__metadata__"]["drdc"])["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _header(file: BinaryIO) -> tuple[bytes, bytes]:
    """How long the header of a file of weights is, as it is written there, and the header."""
    length = file.read(8)
    return length, file.read(min(int.from_bytes(length, "little"), _LONGEST))


def check_seal(path: Path, digest: str) -> None:
    """Compare a file that `seal` made with the digest in its header, every byte of it.

    Raises:
        ValueError: it is another one.
        OSError: the file cannot be read.
    """
    if _unsealed(digest, path.absolute(), *_state(path)) != digest:
        raise ValueError("it is damaged: its SHA-256 is not the one in its header")


@lru_cache(maxsize=4096)
def _unsealed(digest: str, path: Path, *_: int) -> str:
    """SHA-256 of a file with `BLANK` in the place of its digest."""
    with path.open("rb") as file:
        length, header = _header(file)
        blank = hashlib.sha256(length + header.replace(digest.encode(), BLANK.encode(), 1))
        for piece in iter(lambda: file.read(2**20), b""):
            blank.update(piece)
    return blank.hexdigest()
