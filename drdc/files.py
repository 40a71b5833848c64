"""Files that are whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drdc.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; on success it replaces `path`, on failure it is removed.

    The data are flushed to the disk before the move, and the folder after it, so that a crash leaves either
    the old file or the new one. A temporary file that a killed process left behind is overwritten.

    Raises:
        UserError: the disk is full or the folder cannot be written; names the path and the free space.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        _remove(temporary)
        raise UserError(
            f"{path}: cannot be written ({error.strerror or error}; {_free_space(path)} MiB free there); "
            "free some space or make the folder writable, then run the same command again"
        ) from error
    except BaseException:
        _remove(temporary)
        raise


def _remove(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink()


def _free_space(path: Path) -> int:
    """MiB free where the nearest existing folder of `path` lies."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    return shutil.disk_usage(folder).free // 2**20


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a finished model as safetensors; `metadata` is kept as JSON in the header."""
    from safetensors.torch import save

    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic(path) as temporary:
        temporary.write_bytes(save(plain, {"drdc": json.dumps(metadata, sort_keys=True)}))


def save_state(path: Path, content: Mapping[str, Any]) -> None:
    """Write the state of a training in torch's format."""
    import torch

    with atomic(path) as temporary:
        try:
            torch.save(dict(content), temporary)
        except RuntimeError as error:  # how torch reports a full disk
            raise OSError(errno.EIO, "torch could not write all of it") from error


def load_weights(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_weights` wrote, with the key `kind` in its metadata.

    Raises:
        UserError: the file is missing, damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads(file.metadata()["drdc"])
            if kind not in metadata:
                raise ValueError(f"it is no {kind} model")
            keys = file.keys()
            return {key: file.get_tensor(key) for key in keys}, metadata
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: holds no model of this project ({error}); train it again") from None


def create_array(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """A new array file, memory-mapped for writing.

    Its space is taken at once: on a full disk that is an OSError here, while writing to a mapped file without
    space would kill the process.
    """
    import numpy as np

    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def load_array(path: Path, rows: int, stage: str) -> np.ndarray:
    """An array that `stage` wrote, memory-mapped: (rows, ...), one row for each row of the manifest.

    Raises:
        UserError: the file is missing or damaged, or belongs to another manifest.
    """
    import numpy as np

    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run `drdc {stage}` first") from None
    if len(array) != rows:
        raise UserError(
            f"{path}: has {len(array)} rows, but the manifest {rows}; "
            f"run `drdc {stage}` again, and what follows it"
        )
    return array
