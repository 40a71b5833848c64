"""Synthetic image scores, for the tests of the figures that show them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

NAMES = (
    "gear",
    "valve",
    "nut",
    "cap",
    "rod",
    "pin",
    "bolt",
    "ring",
    "disc",
    "wire",
    "lid",
    "cog",
    "pad",
    "tap",
)


def images(categories: int = 2, seeds: int = 1, first: int = 0) -> pd.DataFrame:
    """Scores 1-2 of normal and 1.6-2.6 (base) or 2.1-3.1 (DRDC) of anomalous images, in every category."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(first, first + seeds):
        for category in NAMES[:categories]:
            for split, label, count in (("val", 0, 40), ("test", 0, 10), ("test", 1, 15)):
                for score in 1.0 + rng.random(count):
                    rows.append((str(seed), category, split, label, "base", score + 0.6 * label))
                    rows.append((str(seed), category, split, label, "drdc", score + 1.1 * label))
    frame = pd.DataFrame(rows, columns=["seed", "category", "split", "label", "method", "score"])
    return frame.assign(group=frame["category"])


def of(frame: pd.DataFrame, method: str, label: int, split: str = "test") -> np.ndarray:
    """The scores of one method's images of a kind."""
    chosen = (frame["split"] == split) & (frame["label"] == label) & (frame["method"] == method)
    return frame.loc[chosen, "score"].to_numpy()


def with_methods(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The same images as further methods score them, better and better."""
    base = frame[frame["method"] == "base"]
    shifts = {name: 0.2 * (place + 1) * base["label"] for place, name in enumerate(names)}
    others = [base.assign(method=name, score=base["score"] + shift) for name, shift in shifts.items()]
    return pd.concat([frame, *others], ignore_index=True)
