"""Files that are complete or absent, written next to their place and moved into it; and locks on them."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drdc.runtime.digests import (
    BLANK,
    NO_SOURCES,
    check_seal,
    noted,
    seal,
    sha256_of,
    sidecar,
    source_digests,
    verify,
)
from drdc.runtime.errors import UserError, first_line
from drdc.runtime.locks import open_alone, remove

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Work on `path` alone: another process that needs it waits until this one has ended.

    A kernel lock on `<path>.lock`, released with its process, however that ends: after a hard kill of
    Snakemake its jobs continue, and the user starts the same command again.

    Raises:
        UserError: the lock cannot be made; names the path and the free space.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open_alone(lock, f"another process works on {path}")
    except OSError as error:
        raise not_written(path, error) from error
    try:
        yield
    finally:
        remove(lock, handle)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; on success it replaces `path`, on failure it is removed.

    The data are flushed to the disk before the move, and the folder after it, so that a crash leaves either
    the old file or the new one. A temporary file that a killed process left behind is emptied and used; where
    a living process writes it, this one waits.

    Raises:
        UserError: the disk is full or the folder cannot be written; names the path and the free space.
    """
    temporary = path.with_name(f".{path.name}.partial")
    handle = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open_alone(temporary, f"another process writes {temporary}")
        os.ftruncate(handle, 0)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        if handle is not None:
            remove(temporary, handle)


@contextmanager
def artefact(path: Path, *sources: Path) -> Iterator[Path]:
    """`atomic` for what a later stage reads: with a digest next to the file (`drdc.runtime.digests`).

    Args:
        sources: the manifest that the file belongs to, and models; whoever reads it refuses it with others.
    """
    digests = source_digests(sources)
    with atomic(path) as temporary:
        yield temporary
        stamp(path, sha256_of(temporary), digests)


def stamp(path: Path, digest: str, sources: Mapping[Path, str] = NO_SOURCES) -> None:
    """Write the digest of a file next to it, before it gets its name, so that none is ever without.

    Args:
        sources: of the file, with their digests.

    Raises:
        UserError: as `atomic`.
    """
    text = noted(path, digest, sources)
    with atomic(sidecar(path)) as temporary:
        write_whole(temporary, text.encode())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; raises OSError also where the disk silently writes only a part of it."""
    path.write_bytes(content)
    if (size := path.stat().st_size) != len(content):
        raise OSError(errno.EIO, f"only {size} of {len(content)} bytes were written")


def move(source: Path, target: Path) -> None:
    """Move a file that is complete and flushed into its place, on the same file system.

    Raises:
        UserError: the folder cannot be written; names the path and the free space.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        _flush(target.parent)
    except OSError as error:
        raise not_written(target, error) from error


def not_written(path: Path, error: OSError) -> UserError:
    """The error for a file or folder that cannot be written: names it, the reason and the free space."""
    return UserError(
        path,
        f"cannot be written ({error.strerror or error}; {free_space(path)} MiB free there)",
        "free some space or make the folder writable, then run the same command again",
    )


def free_space(path: Path) -> int:
    """MiB free at the nearest existing folder of `path`."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    return shutil.disk_usage(folder).free // 2**20


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a finished model as safetensors; `metadata` is kept as JSON in the header.

    Its key `sha256` is the digest of the file (`drdc.runtime.digests.seal`).
    """
    from safetensors.torch import save

    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    header = json.dumps({**metadata, "sha256": BLANK}, sort_keys=True)
    with atomic(path) as temporary:
        write_whole(temporary, seal(save(plain, {"drdc": header})))


def load_weights(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_weights` wrote, with the key `kind` in its metadata, and compare it with its digest.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    try:
        return read_weights(path, kind)
    except (OSError, ValueError) as error:
        raise no_model(path, error) from None


def load_metadata(path: Path) -> dict[str, Any]:
    """The description alone of a model that `save_weights` wrote; the digest is that of the whole file.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return read_metadata(path)
    except (OSError, ValueError) as error:
        raise no_model(path, error) from None


def no_model(path: Path, reason: Exception) -> UserError:
    """What to raise where a file of weights cannot be read."""
    if isinstance(reason, FileNotFoundError):
        return UserError(path, "is missing", f"run `drdc train {path.stem}` first")
    return UserError(path, f"is not a drdc model file ({reason})", "remove it and train it again")


def read_weights(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """`load_weights`; raises ValueError or OSError with the reason alone."""
    with _open_weights(path) as (file, metadata):
        if kind not in metadata:
            raise ValueError(f"it is not a {kind} model")
        return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118 (no dictionary)


def read_metadata(path: Path) -> dict[str, Any]:
    """`load_metadata`; raises ValueError or OSError with the reason alone."""
    with _open_weights(path) as (_, metadata):
        return metadata


@contextmanager
def _open_weights(path: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads(file.metadata()["drdc"])
            if "sha256" not in metadata:
                raise ValueError("it has no digest, like those of an older drdc")
            check_seal(path, metadata["sha256"])
            yield file, metadata
    except (SafetensorError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from None


def below(tensors: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """The tensors of one part of a model, without the part's name and the dot after it."""
    head = f"{part}."
    return {key.removeprefix(head): value for key, value in tensors.items() if key.startswith(head)}


def create_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A new array file, memory-mapped for writing.

    Its space is allocated at once: on a full disk that is an OSError here, while writing to a mapped file
    without space would kill the process.
    """
    import numpy as np

    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def open_array(path: Path, stage: str) -> np.ndarray:
    """An array that `stage` wrote, memory-mapped; all of the file is compared with its digest.

    Raises:
        UserError: the file is missing, damaged, changed, or of another manifest.
    """
    import numpy as np

    verify(path, stage)
    try:
        return np.lib.format.open_memmap(path, mode="r")  # reads no pickles and no archives
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            path, f"cannot be read ({first_line(error)})", f"remove it and run `drdc {stage}` again"
        ) from None


def load_array(path: Path, rows: int, stage: str) -> np.ndarray:
    """The same where it has one row for each row of the manifest: (rows, ...).

    Raises:
        UserError: the file is missing or damaged, or belongs to another manifest.
    """
    array = open_array(path, stage)
    if len(array) != rows:
        raise UserError(
            path,
            f"has {len(array)} rows, but the manifest {rows}",
            f"run `drdc {stage}` again, and what follows it",
        )
    return array
