"""The categories that results per image lack because a job failed: what pools all of them has no value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain

import pandas as pd

from drdc.reporting.aggregate import in_paper_order
from drdc.reporting.formats import FAILED

#: (method, seed, category) -> the note of its scores, which begins with `FAILED`.
Failed = Mapping[tuple[str, str, str], str]
NOTHING: Failed = {}
#: category -> why a method lacks it at a seed.
Lost = Mapping[str, str]


def lost(frames: Mapping[str, pd.DataFrame], failed: Failed = NOTHING) -> dict[str, dict[str, Lost]]:
    """method -> seed -> the categories that it lacks, because they failed or another method or seed has them.

    `frames`: rows of each method, with seed and category.
    """
    every = {name for frame in frames.values() for name in frame["category"].unique()}
    found: dict[str, dict[str, Lost]] = {}
    for method, frame in frames.items():
        found[method] = {}
        for seed, part in frame.groupby("seed", sort=False):
            known = {category: why for (*of, category), why in failed.items() if of == [method, seed]}
            absent = in_paper_order({*every, *known} - {*part["category"]})
            found[method][str(seed)] = {
                name: known.get(name, f"{FAILED}; no scores of {name} for seed {seed}") for name in absent
            }
    return found


def with_lost(named: Iterable[Iterable[str]], gone: Mapping[str, Mapping[str, Lost]]) -> tuple[str, ...]:
    """Categories that some methods have, and those that are lost (`lost`), in the paper's order."""
    return in_paper_order({*chain(*named, *(own for seeds in gone.values() for own in seeds.values()))})


def why_lost(seeds: Iterable[Lost], category: str | None) -> str:
    """Why a category, or all together (None), has no value at some of the seeds; "" if nothing is lost."""
    told = (why for own in seeds for name, why in own.items() if category in (None, name))
    each = ", ".join(dict.fromkeys(why.removeprefix(f"{FAILED}; ") for why in told))
    return each and f"{FAILED}; {each}"
