"""SHA-256 of every file that a stage writes for another, whose reader refuses it if it was changed since.

It is next to the file `<name>` as `.<name>.sha256`, in the format of sha256sum. Where the rows of the file
are those of a manifest, a second line has the digest of that one, and both paths are relative to its folder.
Files of weights are copied alone, so that theirs is in their header: `seal` and `check_seal`.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from pathlib import Path

from drdc.runtime.errors import UserError

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
#: Placeholder of the digest in the header of weights while that is computed.
BLANK = "-" * 64
#: No header of safetensors is longer, in bytes.
_LONGEST = 100_000_000


def sidecar(path: Path) -> Path:
    """The path of the digest of a file."""
    return path.with_name(f".{path.name}.sha256")


def noted(path: Path, digest: str, manifest: tuple[Path, str] | None = None) -> str:
    """The content of a sidecar: of a file with this digest, and of the manifest that its rows belong to."""
    if manifest is None:
        return f"{digest}  {path.name}\n"
    name = Path(os.path.relpath(path, manifest[0].parent)).as_posix()
    return f"{digest}  {name}\n{manifest[1]}  {manifest[0].name}\n"


def verify(path: Path, stage: str) -> None:
    """Read a file once in this process and compare it with the digest next to it.

    Args:
        stage: the command that writes it, for the message.

    Raises:
        UserError: the file is missing, damaged, changed by hand, another one of this project, or of another
            manifest; or there is no digest.
    """
    maker = f"`drdc {stage}` or the same `snakemake` command"
    if not path.is_file():
        raise UserError(path, "is missing", f"run `drdc {stage}` first")
    digest, name, of_manifest, manifest = _read(path, maker)
    depth = len(Path(name).parts)
    if path.absolute().parts[-depth:] != Path(name).parts:
        raise UserError(
            path, f"was written as {name}, for something else", f"remove it and run {maker} again"
        )
    if digest_of(path) != digest:
        raise UserError(
            path,
            f"is damaged or was changed by hand, its SHA-256 is not the one in {sidecar(path).name}",
            f"remove it and run {maker} again",
        )
    its_manifest = path.absolute().parents[depth - 1] / manifest
    if of_manifest and not (its_manifest.is_file() and digest_of(its_manifest) == of_manifest):
        raise UserError(path, "belongs to another manifest", f"remove it and run {maker} again")


def _read(path: Path, maker: str) -> tuple[str, str, str, str]:
    """(digest, name) of a file, and of its manifest or twice ""."""
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
    if not lines or len(found) != len(lines) or len(found) > 2:
        raise UserError(sidecar(path), "is damaged", f"remove {path} and run {maker} again")
    own, manifest = [*found, ("", "")][:2]
    return own[0], own[1], manifest[0], manifest[1]


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
        length = file.read(8)
        header = file.read(min(int.from_bytes(length, "little"), _LONGEST))
        blank = hashlib.sha256(length + header.replace(digest.encode(), BLANK.encode(), 1))
        for piece in iter(lambda: file.read(2**20), b""):
            blank.update(piece)
    return blank.hexdigest()
