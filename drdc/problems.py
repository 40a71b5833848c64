"""What can be wrong with a dataset: every kind of problem has a name, which `dataset.accept` may list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

#: Errors that mislead the numbers, unless whoever lists them in `dataset.accept` knows better.
Acceptable = Literal["mask-empty", "mask-missing", "test-image-in-training"]
#: Errors with which nothing can be computed.
Fatal = Literal["category-name", "file-name", "no-training-images", "one-training-image", "unreadable"]
#: What is only worth a look.
Minor = Literal[
    "categories-differ-in-case",
    "few-training-images",
    "left-out",
    "mask-full",
    "mask-many-values",
    "mask-without-image",
    "no-masks",
    "no-test-images",
    "only-anomalous-test-images",
    "only-normal-test-images",
    "same-pixels",
    "sizes-differ",
]
Kind = Acceptable | Fatal | Minor


@dataclass(frozen=True)
class Problem:
    """Something wrong with a dataset.

    Attributes:
        kind: its stable name.
        category: the category it concerns, "" for all.
        file: POSIX path of a file or folder relative to the dataset's root, "" for all.
        problem, mend: what is wrong, and what to do about it.
    """

    kind: Kind
    category: str
    file: str
    problem: str
    mend: str

    @property
    def severity(self) -> Literal["error", "warning"]:
        """Return "error" where the workflow stops or its numbers would mislead, "warning" for all else."""
        return "warning" if self.kind in get_args(Minor) else "error"
