"""Thresholds from held-out scores: the promised rate of false alarms, p-values, ties, too few images."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from drdc.evaluation.calibration import (
    RATE,
    Calibration,
    needed,
    offered_rate,
    p_value,
    smallest_rate,
    threshold,
)
from drdc.runtime.errors import UserError

SCORES = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=40)
RATES = st.fractions(Fraction(1, 50), Fraction(49, 50), max_denominator=50).map(float)


def enough(scores: list[float], rate: float) -> bool:
    return rate >= smallest_rate(len(scores))


@pytest.mark.parametrize(
    ("count", "rate", "rank"),
    [
        (19, 0.05, 19),
        (20, 0.05, 20),
        (39, 0.05, 38),
        (99, 0.01, 99),
        (99, 0.07, 93),
        (1, 0.5, 1),
        (9, 0.9, 1),
    ],
)
def test_the_threshold_is_the_score_of_the_right_rank(count: int, rate: float, rank: int) -> None:
    """⌈(n + 1)(1 − α)⌉, without what rounding adds: 100 · 0.93 is 93, not a little more."""
    shuffled = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert threshold(shuffled, rate) == rank


@pytest.mark.parametrize("draw", ["normal", "lognormal", "ties", "cauchy"])
@pytest.mark.parametrize(("count", "rate"), [(28, 0.05), (19, 0.05), (50, 0.2)])
def test_false_alarms_are_as_rare_as_promised(draw: str, count: int, rate: float) -> None:
    """Many draws of held-out images and a new one from one source, whatever its distribution.

    Without ties the exact probability is ⌊α (n + 1)⌋ / (n + 1); with ties it is less.
    """
    rng = np.random.default_rng(1)
    trials = 20_000
    draws = {
        "normal": rng.normal(size=(trials, count + 1)),
        "lognormal": rng.lognormal(size=(trials, count + 1)),
        "ties": rng.integers(0, 8, size=(trials, count + 1)).astype(float),
        "cauchy": rng.standard_cauchy(size=(trials, count + 1)),
    }[draw]
    alarms = sum(one[0] > threshold(one[1:], rate) for one in draws)
    exact = int(rate * (count + 1) + 1e-9) / (count + 1)
    low, high = binom.interval(1 - 1e-6, trials, exact)
    assert alarms <= high
    assert draw == "ties" or alarms >= low


def test_p_values_of_normal_images_are_uniform_over_the_ranks() -> None:
    """P(p ≤ k / (n + 1)) = k / (n + 1) for each k."""
    rng = np.random.default_rng(2)
    trials, count = 20_000, 19
    values = np.array([p_value(one[1:], one[0]) for one in rng.normal(size=(trials, count + 1))])
    for k in range(1, count + 2):
        low, high = binom.interval(1 - 1e-6, trials, k / (count + 1))
        assert low <= (values <= k / (count + 1) + 1e-12).sum() <= high


@given(SCORES, RATES, st.integers(-6, 6).map(float))
def test_an_image_is_called_anomalous_exactly_where_its_p_value_is_at_most_the_rate(
    scores: list[float], rate: float, new: float
) -> None:
    if enough(scores, rate):
        held_out = np.array(scores)
        small = p_value(held_out, new) <= rate
        assert (new > threshold(held_out, rate)) == small


@given(SCORES, RATES, RATES)
def test_a_smaller_rate_never_has_a_lower_threshold(scores: list[float], one: float, other: float) -> None:
    small, large = sorted((one, other))
    if enough(scores, small):
        assert threshold(np.array(scores), small) >= threshold(np.array(scores), large)


@given(SCORES, RATES)
def test_the_order_of_the_held_out_images_does_not_matter(scores: list[float], rate: float) -> None:
    if enough(scores, rate):
        assert threshold(np.array(scores), rate) == threshold(np.array(scores[::-1]), rate)


@given(st.integers(1, 60), RATES)
def test_too_few_images_are_refused_with_the_number_that_is_enough(count: int, rate: float) -> None:
    if rate >= smallest_rate(count):
        assert np.isfinite(threshold(np.zeros(count), rate))
        return
    with pytest.raises(UserError, match="held-out normal images") as caught:
        threshold(np.zeros(count), rate)
    words = str(caught.value).replace(";", " ").split()
    needed = int(words[words.index("least") + 1])
    assert np.isfinite(threshold(np.zeros(needed), rate))
    with pytest.raises(UserError):
        threshold(np.zeros(needed - 1), rate)
    advised = float(words[words.index("least", words.index("least") + 1) + 1])
    assert advised >= 1 or np.isfinite(threshold(np.zeros(count), advised))


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_rate_that_is_no_rate_is_refused(rate: float) -> None:
    with pytest.raises(UserError, match="between 0 and 1"):
        threshold(np.zeros(100), rate)


def test_the_rate_where_none_is_asked_for_is_always_possible() -> None:
    for count in range(1, 401):
        rate = offered_rate(count)
        assert rate == (RATE if count >= needed(RATE) else smallest_rate(count))
        assert threshold(np.arange(count, dtype=float), rate) in np.arange(count)
    assert needed(RATE) == 19


def calibration() -> Calibration:
    """25 images of `cap` with scores 0-24, 5 of `nut` with scores 100-104, 20 of `pin` with scores 50-69."""
    scores = np.array([*range(25), *range(100, 105), *range(50, 70)], dtype=float)
    names = np.array(["cap"] * 25 + ["nut"] * 5 + ["pin"] * 20)
    return Calibration(scores, 2 * scores, names, names[::-1])


def test_few_held_out_images_have_thresholds_where_no_rate_is_asked_for() -> None:
    assert calibration().reference(None).rate == RATE
    nine = Calibration(
        np.arange(9.0), np.arange(9.0), np.repeat(["cap", "nut", "pin"], 3), np.repeat("cap", 9)
    )
    found = nine.reference(None, category="nut")
    assert (found.rate, found.threshold) == (0.1, 8.0)
    assert found.about == "9 held-out normal images of all categories"
    with pytest.raises(UserError, match="needs at least 19"):
        nine.reference(RATE)


def test_a_category_with_enough_images_is_compared_with_itself() -> None:
    reference = calibration().reference(0.05, "cap")
    assert (reference.threshold, reference.pixel_threshold) == (24.0, 48.0)
    assert reference.about == "25 held-out normal images of category cap"
    assert len(reference.scores) == 25


def test_a_category_with_too_few_images_joins_the_smallest_and_that_is_said() -> None:
    reference = calibration().reference(0.05, "nut")
    assert reference.threshold == 104.0
    assert reference.about == "25 held-out normal images of categories nut, pin"
    assert reference.category == "nut"
    assert calibration().reference(0.05, "pin").threshold == 104.0, "one threshold for both"
    assert "category nut" in calibration().reference(0.2, "nut").about


def test_a_group_is_that_of_the_images_alike_and_none_means_all() -> None:
    own = calibration().reference(0.05, group="pin")
    assert own.threshold == 24.0, "the groups are those of the other end"
    assert own.category == "pin"
    every = calibration().reference(0.05)
    assert (every.category, every.about) == ("all", "50 held-out normal images of all categories")


@pytest.mark.parametrize(
    ("value", "added"), [(float("nan"), 0.0), (float("inf"), 0.0), (None, float("nan")), (1e308, 1e308)]
)
def test_a_threshold_that_is_not_finite_is_refused(value: float | None, added: float) -> None:
    with pytest.raises(UserError, match=r"the threshold becomes (nan|inf); give finite scores"):
        calibration().reference(0.05).moved(value, added)


def test_an_unknown_category_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match="'bolt' is not known to this model; known: cap, nut, pin"):
        calibration().reference(0.05, "bolt")
