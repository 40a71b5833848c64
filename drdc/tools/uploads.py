"""The folder of uploads to `drdc serve`: emptied by age, and deleted with its server."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "drdc-serve-"


@contextmanager
def upload_folder(age: float) -> Iterator[Path]:
    """A folder in which nothing gets older than `age` seconds, and which is deleted at the end.

    Folders of servers that were killed are deleted at the start. A server holds a lock of the kernel on its
    folder, which is released with the process, however it ends.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if (handle := _lock(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(handle)
    folder, ended = Path(tempfile.mkdtemp(prefix=PREFIX)), threading.Event()
    handle = _lock(folder)
    try:
        threading.Thread(target=_sweep, args=(folder, age, ended), daemon=True).start()
        yield folder
    finally:
        ended.set()
        shutil.rmtree(folder, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def sweep(folder: Path, age: float) -> None:
    """Delete every file that is older than `age` seconds, and the folders that are empty then."""
    before = time.time() - age
    for parent, _, files in os.walk(folder, topdown=False):
        for path in (*(Path(parent, name) for name in files), Path(parent)):
            with suppress(OSError):
                if path.lstat().st_mtime < before and path != folder:
                    path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _sweep(folder: Path, age: float, ended: threading.Event) -> None:
    while not ended.wait(min(60, age / 2)):
        sweep(folder, age)


def _lock(folder: Path) -> int | None:
    """A lock on a folder of this user as a descriptor; None where a living server holds it."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(handle).st_uid == os.getuid():
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
    except OSError:
        pass
    os.close(handle)
    return None
