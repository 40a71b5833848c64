"""The kernel's locks on files: released with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

from drdc.runtime.errors import UserError

log = logging.getLogger(__name__)

#: The error codes of a file system without locks.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


def lock(handle: int, wait: bool = False) -> bool:
    """Lock an open file for this process alone, until the descriptor is closed.

    Returns:
        False where another process holds it, unless this one is to `wait`. True also where the file system
        has no locks, which is logged once.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):  # NFS answers EACCES
        if wait:
            raise
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _warn(os.strerror(error.errno))
    return True


@cache
def _warn(reason: str) -> None:
    log.warning(
        "this file system has no locks (flock: %s); make sure that no two processes write the same files",
        reason,
    )


def open_alone(path: Path, told: str) -> int:
    """Open a file, created if missing, and lock it; waits for a process that holds it, and logs `told`.

    The lock that was waited for is on the file as it was opened, which its former holder may have moved or
    removed meanwhile: then there is a new one to open.

    Raises:
        UserError: as `open_plain`.
        OSError: the folder cannot be written.
    """
    while True:
        handle = open_plain(path)
        try:
            if not lock(handle):
                log.info("%s; waiting until it has ended", told)
                lock(handle, wait=True)
        except BaseException:
            os.close(handle)
            raise
        if is_at(path, handle):
            return handle
        os.close(handle)


def open_plain(path: Path) -> int:
    """Open a file for reading and writing, created if missing: no link, pipe or device.

    Raises:
        UserError: it is not a regular file of its own, so that data would be written elsewhere.
        OSError: the folder cannot be written.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError:
        if path.is_symlink():
            raise _no_plain_file(path) from None
        raise
    about = os.fstat(handle)
    if stat.S_ISREG(about.st_mode) and about.st_nlink <= 1:
        return handle
    os.close(handle)
    raise _no_plain_file(path)


def _no_plain_file(path: Path) -> UserError:
    return UserError(
        path, "is a link or a device, and nothing is written through it", "remove it and start again"
    )


def is_at(path: Path, handle: int) -> bool:
    """Whether `path` is still the file that was opened as `handle`."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def remove(path: Path, handle: int) -> None:
    """Close a file that `open_alone` opened, and remove it unless its name is another file's by now."""
    with suppress(OSError):
        if is_at(path, handle):
            path.unlink()
    os.close(handle)
