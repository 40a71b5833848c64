"""The exceptions for a mistake in the input rather than in the program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

#: Messages of NumPy, torch, CUDA and its libraries when there is no memory left.
_NO_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate",
    "alloc_failed",
)


class UserError(Exception):
    """Bad input. `str` is one clear sentence, "<subject>: <problem>; <fix>".

    The command line prints it without a traceback and exits with code 2. Code that catches it uses the
    fields, and never parses the sentence.

    Attributes:
        subject: the file, key or option that is wrong, "" where the problem names it itself.
        problem: what is wrong with it.
        fix: what to do about it, "" where the problem says so itself.
    """

    def __init__(self, subject: object, problem: str, fix: str) -> None:
        self.subject, self.problem, self.fix = str(subject), problem, fix
        super().__init__(self.subject, problem, fix)

    def __str__(self) -> str:
        about = f"{self.subject}: " if self.subject else ""
        return f"{about}{self.problem}; {self.fix}" if self.fix else f"{about}{self.problem}"

    def within(self, place: object) -> UserError:
        """The same mistake, with the place of its subject: the file of a key, the method of a setting."""
        subject = f"{place}: {self.subject}" if self.subject else place
        return UserError(subject, self.problem, self.fix)


class UserErrors(UserError):
    """Several mistakes at once, a line for each; the fields are those of the first.

    Attributes:
        errors: at least one.
    """

    def __init__(self, *errors: UserError) -> None:
        super().__init__(errors[0].subject, errors[0].problem, errors[0].fix)
        self.errors = self.args = errors

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))

    def within(self, place: object) -> UserErrors:
        """The same mistakes, each with the place of its subject."""
        return UserErrors(*(error.within(place) for error in self.errors))


@contextmanager
def enough_memory(key: str, parts: str = "") -> Iterator[None]:
    """If the memory of the machine or its GPU does not suffice, name the setting `key` to lower.

    `parts`: the setting to raise first, by which a batch is computed in parts, if there is one.

    Raises:
        UserError: an allocation inside failed; other errors pass as they are.
    """
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        lower = f"raise {parts}, lower {key}" if parts else f"lower {key}"
        raise UserError(
            "",
            f"out of memory ({first_line(error)})",
            f"{lower} or give the job more memory, then run the command again",
        ) from error


def first_line(error: Exception) -> str:
    """The beginning of a library's message, which may have pages."""
    return str(error).strip().partition("\n")[0][:200]


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that an allocation has failed."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(sign in said for sign in _NO_MEMORY)
    )
