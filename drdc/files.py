"""Files that are whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drdc.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder; on success it replaces `path`, on failure it is removed.

    The data are flushed to the disk before the move, and the folder after it, so that a crash leaves either
    the old file or the new one. A temporary file that a killed process left behind is overwritten.

    Raises:
        UserError: the disk is full or the folder cannot be written; names the path and the free space.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
        _flush(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free / 2**20
        raise UserError(
            f"{path}: cannot be written ({error.strerror}; {free:.0f} MiB free there); "
            "free some space or make the folder writable, then run the same command again"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_weights(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
    """Write a finished model as safetensors; `metadata` is kept as JSON in the header."""
    from safetensors.torch import save_file

    with atomic(path) as temporary:
        save_file(
            {key: value.detach().cpu().contiguous() for key, value in tensors.items()},
            temporary,
            {"drdc": json.dumps(metadata, sort_keys=True)},
        )


def load_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_weights` wrote; raises UserError for a file that is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            keys = file.keys()
            return {key: file.get_tensor(key) for key in keys}, json.loads(file.metadata()["drdc"])
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise UserError(f"{path}: holds no model of this project ({error}); train it again") from None
