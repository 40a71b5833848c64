"""Thresholds with a stated rate of false alarms, from the scores of held-out normal images alone.

Split conformal prediction: where n held-out normal images and a new normal image are exchangeable (their
order carries no information, as if all were drawn from one source), the new one's score is equally likely to
take each of the n + 1 ranks. So it exceeds the ⌈(n + 1)(1 − α)⌉-th smallest held-out score with probability
at most α, whatever the distribution of the scores and however good the model (Papadopoulos et al., "Inductive
Confidence Machines for Regression", ECML 2002; Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random
World", Springer 2005; for outliers Bates et al., "Testing for outliers with conformal p-values", Annals of
Statistics 51, 2023).

What it does not say: the probability is over the draw of the held-out images too, so the rate of one fixed
model scatters around α, the more the fewer images were held out. It says nothing about images from another
camera or of another product. And the two heatmaps are brought to one scale by means over the same held-out
images (`drdc.results.predictions`): a new image is not in these means, so exchangeability holds only up to
that small difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import floor, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drdc.config.names import ALL
from drdc.runtime.errors import UserError

RATE = 0.05  # of false alarms, where none is asked for
Floats = NDArray[np.floating]


def threshold(held_out: Floats, rate: float) -> float:
    """The ⌈(n + 1)(1 − α)⌉-th smallest of n held-out values, α the rate of false alarms.

    Args:
        held_out: (n,) scores of normal images that no model was trained on, in any order.
        rate: α, between 0 and 1.

    Raises:
        UserError: α is not between 0 and 1, or n is too small for it.
    """
    if not 0 < rate < 1:
        raise UserError(
            "", f"the false-alarm rate must be between 0 and 1, got {rate}", f"use for example {RATE}"
        )
    count = len(held_out)
    above = _ranks_above(count, rate)
    if not above:
        raise UserError(
            "",
            f"a false-alarm rate of {rate:g} needs at least {needed(rate)} held-out normal images, and "
            f"there are {count}",
            f"use a rate of at least {ceiled(smallest_rate(count))} or hold out more images",
        )
    return float(np.sort(held_out)[count - above])


def _ranks_above(count: int, rate: float) -> int:
    """Ranks that a new image may take above the threshold: ⌊α(n + 1)⌋, by the same division as `p_value`."""
    ranks = floor(rate * (count + 1)) + 1
    while ranks / (count + 1) > rate:
        ranks -= 1
    return ranks


def smallest_rate(count: int) -> float:
    """The smallest rate of false alarms for which `count` held-out images give a threshold: 1 / (n + 1)."""
    return 1 / (count + 1)


def needed(rate: float) -> int:
    """The smallest number of held-out images that gives a threshold for a rate of false alarms."""
    count = max(0, floor(1 / rate) - 2)
    while smallest_rate(count) > rate:
        count += 1
    return count


def members(groups: NDArray[Any], rate: float, group: str | None) -> NDArray[np.bool_]:
    """Which of n held-out images, (n,), an image of a group is compared with.

    Groups that are too small for the rate join, the smallest first, until they are enough: a partition that
    depends on the sizes of the groups with the new image in its own, and on no score. Hence each of those
    n + 1 images may be the new one, and the rate holds in each part: a group, or those that join.

    Args:
        groups: of the held-out images, (n,).
        rate: of false alarms.
        group: of the new image; None for all images, whatever their group.
    """
    names = np.asarray(groups)
    if group is None:
        return np.ones(len(names), dtype=bool)
    sizes = Counter([*names.tolist(), group])
    small, images = set[str](), 0
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        if smallest_rate(sizes[name] - 1) <= rate and (not small or smallest_rate(images - 1) <= rate):
            break
        small.add(name)
        images += sizes[name]
    return np.isin(names, sorted(small if group in small else {group}))


def by_group(held_out: Floats, groups: NDArray[Any], rate: float, names: Iterable[str]) -> dict[str, float]:
    """The threshold of images of each group in `names`, see `members`; and of `ALL`, the one for all images.

    Args:
        held_out: (n,) values of held-out normal images.
        groups: of these, (n,).
    """
    own = {name: threshold(held_out[members(groups, rate, name)], rate) for name in names}
    return own | {ALL: threshold(held_out, rate)}


def offered_rate(count: int) -> float:
    """The default rate of false alarms: `RATE`, or the smallest that so few images allow."""
    return max(RATE, smallest_rate(count))


def p_value(held_out: Floats, score: float) -> float:
    """Conformal p-value (1 + #{held-out ≥ score}) / (n + 1).

    For a normal image it is at most α with probability at most α. It is at most α exactly where the score
    exceeds `threshold(held_out, α)`.
    """
    return float((1 + np.count_nonzero(np.asarray(held_out) >= score)) / (len(held_out) + 1))


@dataclass(frozen=True, eq=False)
class Calibration:
    """The scores of n held-out normal images.

    Attributes:
        scores: image scores, (n,).
        peaks: largest value of each image's heatmap, (n,).
        categories: category of each image, (n,) texts.
        groups: the category that each image is most like (`drdc.evaluation.groups`), (n,) texts.
    """

    scores: Floats
    peaks: Floats
    categories: NDArray[np.str_]
    groups: NDArray[np.str_]

    def __post_init__(self) -> None:
        """Raises UserError where a score or peak is NaN or infinite: a threshold would be too."""
        if not (np.isfinite(self.scores).all() and np.isfinite(self.peaks).all()):
            raise UserError(
                "", "scores of held-out images are NaN or infinite", "train and export the model again"
            )

    def reference(
        self, rate: float | None, category: str | None = None, group: str | None = None
    ) -> Reference:
        """The thresholds at a rate of false alarms.

        Args:
            rate: of false alarms; None for `offered_rate`.
            category: compare with the held-out images of this category.
            group: compare with those of this group. Categories, or groups, with too few images join.
                Without either, compare with all images.

        Raises:
            UserError: an unknown category, or too few images for the rate even in all categories together.
        """
        if rate is None:
            rate = offered_rate(len(self.scores)) if len(self.scores) else RATE
        names, own = (self.groups, group) if category is None else (self.categories, category)
        if category is not None and category not in names:
            known = ", ".join(sorted(set(names.tolist())))
            raise UserError("", f"category {category!r} is not known to this model", f"known: {known}")
        chosen = members(names, rate, own)
        scores, peaks = self.scores[chosen], self.peaks[chosen]
        kinds = _listed(set(names[chosen].tolist()), set(names.tolist()))
        about = f"{len(scores)} held-out normal images of {kinds}"
        limits = threshold(scores, rate), threshold(peaks, rate)
        return Reference(rate, own or ALL, about, scores, *limits)


def _listed(names: set[str], every: set[str]) -> str:
    """Categories in words."""
    if names >= every and len(every) > 1:
        return "all categories"
    return f"categor{'y' if len(names) == 1 else 'ies'} {', '.join(sorted(names))}"


@dataclass(frozen=True, eq=False)
class Reference:
    """The held-out images that new ones are compared with, and the thresholds from them.

    Attributes:
        rate: probability of a false alarm, at most.
        category: the category, or the group, of the image that is compared; `ALL` where it is not told.
        about: which images these are, in words.
        scores: their image scores, (n,).
        threshold: an image with a larger score is anomalous.
        pixel_threshold: a normal image has a pixel above it with probability `rate` at most.
    """

    rate: float
    category: str
    about: str
    scores: Floats
    threshold: float
    pixel_threshold: float

    def moved(self, threshold: float | None = None, added: float = 0.0) -> Reference:
        """With another threshold, or with something added to it; `rate` is what it then stands for.

        Raises:
            UserError: the sum is NaN or infinite.
        """
        value = (self.threshold if threshold is None else threshold) + added
        if value == self.threshold:
            return self
        if not isfinite(value):
            raise UserError("", f"the threshold becomes {value}", "give finite scores as threshold and added")
        rate = float((1 + np.count_nonzero(np.asarray(self.scores) > value)) / (len(self.scores) + 1))
        return replace(self, threshold=value, rate=rate)


def ceiled(rate: float) -> str:
    """A rate as three decimals, rounded up, so that the advice suffices."""
    return f"{-floor(-1000 * rate) / 1000:g}"
