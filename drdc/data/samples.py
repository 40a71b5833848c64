"""What a reader of a dataset returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drdc.errors import UserError

#: Defect type of normal images.
NORMAL = "good"


@dataclass(frozen=True)
class Sample:
    """One image of a dataset.

    Attributes:
        path: POSIX path of the image relative to the dataset's root.
        category: kind of object or texture, e.g. "bottle".
        split: "train" (normal images only) or "test".
        label: 0 normal, 1 anomalous.
        defect_type: "good" for normal images.
        mask: POSIX path of the ground-truth mask relative to the root, "" if there is none.
    """

    path: str
    category: str
    split: Literal["train", "test"]
    label: Literal[0, 1]
    defect_type: str
    mask: str = ""


def choose(wanted: Sequence[str] | None, found: Sequence[str], root: Path) -> list[str]:
    """The wanted categories, once each and in the order asked; all that were found if None is given.

    Raises:
        UserError: one of them was not found in the dataset's folder `root`.
    """
    if wanted is None:
        return list(found)
    unknown = [name for name in wanted if name not in found]
    if unknown:
        names = ", ".join(f"'{name}'" for name in unknown)
        raise UserError(f"{root}: unknown category {names}; found here: {', '.join(found)}.")
    return list(dict.fromkeys(wanted))
