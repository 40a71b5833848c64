"""How a command ends: its exit code, its last sentence, and output that cannot be written."""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

from drdc.runtime.errors import UserError, first_line, out_of_memory

UNUSABLE, FAULT, INTERRUPTED = 2, 70, 130  # exit codes; 70 as in the sysexits.h of BSD


def exit_code(command: Callable[[], int]) -> int:
    """Run a command to its exit code; whatever ends it early is reported on stderr.

    Returns:
        That of the command; 2 for bad input, insufficient memory, or standard output that cannot be written
        (a full disk, a closed pipe); 70 for a bug of the program, with its traceback; 130 after Ctrl-C. Never
        1, unless the command itself returns it.
    """
    _open_streams()
    try:
        return _tried(command)
    finally:
        _settle(sys.stdout)
        _settle(sys.stderr)


def say(text: str) -> None:
    """Print a line on standard output.

    Raises:
        UserError: it cannot be written.
    """
    try:
        print(text, flush=True)
    except OSError as error:
        raise UserError(
            "", f"standard output cannot be written ({error.strerror})", "the command has stopped there"
        ) from None


def tell(message: str) -> None:
    """Print a message of the program on stderr; where that cannot be written, the work continues."""
    with suppress(OSError):
        print(f"drdc: {message}", file=sys.stderr)


def _tried(command: Callable[[], int]) -> int:
    try:
        return command()
    except UserError as error:
        tell(str(error))
        return UNUSABLE
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        return _failed(error)


def _interrupted() -> int:
    tell("interrupted; the same command resumes a training or a prediction from its last saved state")
    return INTERRUPTED


def _failed(error: Exception) -> int:
    """Report why a command could not continue, and return its exit code."""
    if _from_interrupt(error):
        return _interrupted()
    if out_of_memory(error):
        tell(f"out of memory ({first_line(error)}); give the command more memory, or less to do at a time")
        return UNUSABLE
    with suppress(OSError):
        traceback.print_exception(error)
    return FAULT


def _from_interrupt(error: BaseException | None) -> bool:
    """Whether Ctrl-C caused an error: a module in C that is being imported then raises its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _open_streams() -> None:
    """Make standard output and error usable: characters that a terminal lacks are escaped.

    Where the caller closed one, the next file to be opened would take its number and what is printed.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    sys.stdout, sys.stderr = (
        stream or os.fdopen(number, "w") for number, stream in ((1, sys.stdout), (2, sys.stderr))
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _settle(stream: TextIO) -> None:
    """Write the buffer of a stream, or drop it: Python would fail with it when it ends."""
    try:
        stream.flush()
    except OSError:
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
