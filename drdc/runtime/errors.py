"""The one exception that stands for a mistake in the input rather than in the program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

#: How NumPy, torch, CUDA and its libraries say that there is no memory left.
_NO_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate",
    "alloc_failed",
)


class UserError(Exception):
    """Bad input: its message is one clear sentence that names the file or key and the mend.

    The command line prints the message without a traceback and exits with code 2.
    """


@contextmanager
def enough_memory(key: str) -> Iterator[None]:
    """Where the memory of the machine or its GPU does not suffice, name the setting `key` to lower.

    Raises:
        UserError: an allocation inside failed; other errors pass as they are.
    """
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0][:200]
        raise UserError(
            f"out of memory ({reason}); lower {key} or give the job more memory, then run the command again"
        ) from error


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that an allocation has failed."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in said for sign in _NO_MEMORY)
    )
