"""The kinds of problem of a dataset, each with a name that `dataset.accept` may list."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal, get_args

from drdc.config.dataset import Acceptable
from drdc.config.names import printable
from drdc.runtime.errors import UserError, UserErrors

#: Errors with which it is undefined what to compute.
Fatal = Literal[
    "category-name",
    "file-name",
    "good-by-another-name",
    "images-of-one-mask",
    "masks-of-one-image",
    "names-differ-in-form",
    "no-training-images",
    "one-training-image",
    "unreadable",
]
#: Warnings.
Minor = Literal[
    "beyond-range",
    "categories-differ-in-case",
    "depths-differ",
    "few-training-images",
    "left-out",
    "mask-labels",
    "mask-soft",
    "mask-turned",
    "mask-vanishes",
    "mask-without-image",
    "no-masks",
    "no-test-images",
    "only-anomalous-test-images",
    "only-normal-test-images",
    "range-guessed",
    "same-pixels",
    "sizes-differ",
]
Kind = Acceptable | Fatal | Minor

#: Columns of a table of problems.
HEAD = ("severity", "kind", "category", "file", "problem", "what to do")
#: Of a kind, so many files are named in a summary, and so many errors printed in full; others are counted.
SHOWN, TOLD = 3, 10


@dataclass(frozen=True)
class Problem:
    """Something wrong with a dataset.

    Attributes:
        kind: its stable name.
        category: the category it concerns, "" for all.
        file: POSIX path of a file or folder relative to the dataset's root, "" for all.
        problem, fix: what is wrong, and what to do about it.
    """

    kind: Kind
    category: str
    file: str
    problem: str
    fix: str

    @property
    def severity(self) -> Literal["error", "warning"]:
        """Return "error" where the workflow stops or its numbers would be misleading, else "warning"."""
        return "warning" if self.kind in get_args(Minor) else "error"

    def error(self, root: Path | None = None) -> UserError:
        """It as an exception; a file with its path from `root`."""
        path = str(root / self.file) if root else self.file
        where = printable(path if self.file else f"category '{self.category}'")
        return UserError(where, printable(self.problem), printable(self.fix))


def ordered(problems: Sequence[Problem]) -> list[Problem]:
    """Errors first, then by kind, category and file."""
    return sorted(problems, key=lambda p: (p.severity, p.kind, p.category, p.file, p.problem))


def grade(problem: Problem, accept: Collection[str]) -> str:
    """The severity of a problem, "accepted" for an error of a kind in `accept`."""
    return "accepted" if problem.severity == "error" and problem.kind in accept else problem.severity


def summary(problems: Sequence[Problem], accept: Collection[str] = ()) -> list[str]:
    """A line for each kind, errors first: how many there are, the first of them, and where others are."""
    lines = []
    for kind, group in groupby(ordered(problems), lambda p: p.kind):
        first, *others = group
        files = [printable(p.file or p.category) for p in others[: SHOWN - 1]]
        more = ["..."] if len(others) > len(files) else []
        also = f" (also {', '.join([*files, *more])})" if others else ""
        lines.append(f"{grade(first, accept)} {kind}, {1 + len(others)} x: {first.error()}{also}")
    return lines


def accepted(problems: Sequence[Problem], accept: Collection[Acceptable], root: Path) -> list[Problem]:
    """The problems, if every error among them is of a kind in `accept`.

    Raises:
        UserError: some are not; the first ones of each kind.
    """
    errors = [p for p in problems if p.severity == "error" and p.kind not in accept]
    if not errors:
        return list(problems)
    answers = sorted({p.kind for p in errors} & set(get_args(Acceptable)))
    knowingly = f", or accept them by dataset.accept: [{', '.join(answers)}]" if answers else ""
    if len(errors) == 1:
        only = errors[0].error(root)
        raise UserError(only.subject, only.problem, only.fix + knowingly)
    fix = f"correct them (`drdc check --all` lists each){knowingly}"
    raise UserErrors(UserError(root, f"{len(errors)} errors", fix), *_told(errors, root))


def _told(errors: Sequence[Problem], root: Path) -> Iterator[UserError]:
    """Each of the first `TOLD` errors of a kind."""
    for kind, group in groupby(ordered(errors), lambda p: p.kind):
        own = list(group)
        yield from (problem.error(root).within(kind) for problem in own[:TOLD])
        if len(own) > TOLD:
            yield UserError(kind, f"{len(own) - TOLD} more", "")


def write_problems(problems: Sequence[Problem], accept: Collection[str], path: Path) -> None:
    """Write the table of problems as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEAD)
        writer.writerows(row(problem, accept) for problem in ordered(problems))


def row(problem: Problem, accept: Collection[str]) -> tuple[str, ...]:
    """The values of `HEAD`, each on one line."""
    texts = (problem.kind, problem.category, problem.file, problem.problem, problem.fix)
    return grade(problem, accept), *map(printable, texts)
