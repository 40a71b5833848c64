"""Pre-trained networks: fetched once by the stage `weights`, read from the hub's cache by all later ones."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Pretrained:
    """A pre-trained network that a stage loads.

    Attributes:
        name: of the timm model, or of its repository on the hub.
        source: `hub`, `package`, or a local file or folder.
        digest: fetches it if it is not cached yet; returns the SHA-256 of its weights in hexadecimal.
    """

    name: str
    source: str
    digest: Callable[[], str]


def local_files(source: str) -> list[tuple[str, int, int]]:
    """(path, size in bytes, time of the last change in nanoseconds) of each file of a local source.

    None of the `hub` or a `package`, or where nothing is there (yet).
    """
    if source in ("hub", "package"):
        return []
    walked = os.walk(source, followlinks=True)
    files = [Path(source), *(Path(folder, name) for folder, _, names in walked for name in names)]
    about = [(str(path), path.stat()) for path in sorted(files) if path.is_file()]
    return [(name, status.st_size, status.st_mtime_ns) for name, status in about]


def not_cached(error: BaseException | None) -> str:
    """The fix for weights that are missing because the network is not used; "" for other errors.

    The libraries in between raise errors of their own from that of the hub.
    """
    from huggingface_hub.constants import HF_HUB_CACHE, is_offline_mode
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    while error is not None and not isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
        error = error.__cause__ or error.__context__
    if error is None or not is_offline_mode():
        return ""
    return (
        "run `drdc weights` with the same configuration on a machine that has a network and sees the cache, "
        f"{HF_HUB_CACHE}"
    )
