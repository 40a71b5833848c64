"""The images that a reader of a dataset returns, and how some of them are chosen for a split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from drdc.data.listing import same_form
from drdc.runtime.errors import UserError

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


def choose(wanted: Sequence[str] | None, found: Sequence[str], root: Path) -> dict[str, str]:
    """The wanted categories in the order asked (None: all), and the names by which they were found.

    The two may differ in their Unicode form: one character in one system may be two in another.

    Raises:
        UserError: one of them was not found in the dataset's folder `root`.
    """
    if wanted is None:
        return {name: name for name in found}
    known = {same_form(name): name for name in found} | {name: name for name in found}
    unknown = [name for name in wanted if name not in known and same_form(name) not in known]
    if unknown:
        asked, there = (", ".join(f"'{name}'" for name in names) for names in (unknown, found))
        raise UserError(root, f"unknown category {asked}", f"found here: {there}")
    return {name: known.get(name) or known[same_form(name)] for name in wanted}


def smallest_hashes(keys: Collection[str], fraction: float) -> set[str]:
    """Choose round(fraction * n) of n keys, those with the smallest SHA-256: pseudo-random, of any order.

    At least one key is chosen if fraction > 0 and n >= 2, and at least one is always left.
    """
    if fraction <= 0 or len(keys) < 2:
        return set()
    count = min(max(1, round(fraction * len(keys))), len(keys) - 1)
    return set(sorted(keys, key=lambda key: hashlib.sha256(os.fsencode(key)).hexdigest())[:count])
