"""The images that a reader of a dataset returns, and how some of them are chosen for a split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
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


def drawn(
    samples: Sequence[Sample], images: int | None, defective: float, reserved: float, draw: int
) -> list[Sample]:
    """Other training images: fewer, or with defective ones among them (`drdc.config.dataset.Drawn`).

    Of each category, in a random order that follows from the paths and `draw`, the first `images` training
    images are used, of which the last ones are replaced by the first anomalous test images.

    Raises:
        UserError: a category has fewer of either.
    """
    if images is None and max(defective, reserved) == 0:
        return list(samples)
    chosen: list[Sample] = []
    for category in dict.fromkeys(sample.category for sample in samples):
        own = [sample for sample in samples if sample.category == category]
        normal = _shuffled((sample for sample in own if sample.split == "train"), draw)
        anomalous = _shuffled((sample for sample in own if sample.label), draw)
        count = len(normal) if images is None else images
        replaced, gone = (round(count * share) for share in (defective, max(defective, reserved)))
        if count > len(normal):
            raise UserError(
                category, f"has {len(normal)} training images", "lower dataset.drawn.images or study.values"
            )
        if gone and gone >= len(anomalous):
            raise UserError(
                category,
                f"has {len(anomalous)} anomalous test images, {gone} are to leave",
                "lower their share",
            )
        chosen += normal[: count - replaced]
        chosen += [
            replace(own, split="train", label=0, defect_type=NORMAL, mask="") for own in anomalous[:replaced]
        ]
        chosen += [sample for sample in own if sample.split == "test" and sample not in anomalous[:gone]]
    return chosen


def _shuffled(samples: Iterable[Sample], draw: int) -> list[Sample]:
    """Pseudo-random, of any order."""
    return sorted(
        samples, key=lambda own: hashlib.sha256(f"{draw} ".encode() + os.fsencode(own.path)).digest()
    )


def smallest_hashes(keys: Collection[str], fraction: float) -> set[str]:
    """Choose round(fraction * n) of n keys, those with the smallest SHA-256: pseudo-random, of any order.

    At least one key is chosen if fraction > 0 and n >= 2, and at least one is always left.
    """
    if fraction <= 0 or len(keys) < 2:
        return set()
    count = min(max(1, round(fraction * len(keys))), len(keys) - 1)
    return set(sorted(keys, key=lambda key: hashlib.sha256(os.fsencode(key)).hexdigest())[:count])
