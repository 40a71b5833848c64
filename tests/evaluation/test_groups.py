"""Groups that training images alone decide about, and the false alarms in each of them."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from drdc.evaluation.calibration import RATE, Calibration, members, needed, threshold
from drdc.evaluation.groups import FAR, Familiar, Groups, embedding

NAMES = np.array(["capsule", "gear", "nut"])
CENTRES = np.array([[0.0, 0.0, 0.0], [6.0, 0.0, 1.0], [0.0, 6.0, -1.0]])


def drawn(rng: np.random.Generator, number: int) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    kinds = rng.integers(0, 3, number)
    return CENTRES[kinds] + rng.normal(size=(number, 3)), NAMES[kinds]


def test_an_embedding_is_the_mean_over_positions() -> None:
    features = np.random.default_rng(0).normal(size=(2, 5, 3, 3)).astype(np.float16)
    found = embedding(features)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, features.astype(np.float64).mean((2, 3)), rtol=1e-3, atol=1e-4)


def test_an_image_is_most_like_the_category_of_most_of_its_nearest_training_images() -> None:
    rng = np.random.default_rng(1)
    train, kinds = drawn(rng, 90)
    new, own = drawn(rng, 300)
    groups = Groups.of(train, kinds)
    found, distances = groups.nearest(new)
    scale = train.std(0)
    reference = KNeighborsClassifier(5).fit(train / scale, kinds)
    assert (found == reference.predict(new / scale)).mean() > 0.99, "but for ties"
    np.testing.assert_allclose(distances, reference.kneighbors(new / scale)[0][:, 0], rtol=1e-5)
    assert 0.9 < (found == own).mean() <= 1


def test_fewer_training_images_than_neighbours_suffice() -> None:
    groups = Groups.of(CENTRES[:2], NAMES[:2])
    assert groups.nearest(CENTRES[:2])[0].shape == (2,)


def test_an_image_of_no_known_product_is_strange_and_a_known_one_is_not() -> None:
    rng = np.random.default_rng(2)
    groups = Groups.of(*drawn(rng, 90))
    held_out = groups.nearest(drawn(rng, 60)[0])
    familiar = Familiar.of(groups, *held_out)
    assert not any(map(familiar.strange, *held_out))
    new = groups.nearest(drawn(rng, 2000)[0])
    assert np.mean(list(map(familiar.strange, *new))) < 1 / 61
    far = groups.nearest(np.array([[40.0, 40.0, 40.0], [-30.0, 5.0, 5.0]]))
    assert all(map(familiar.strange, *far))
    assert FAR > 1


def test_few_held_out_images_do_not_make_normal_ones_strange() -> None:
    """Two of each product, as with 20 photos: the training images tell how far normal ones can be."""
    warned, shown = 0, 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        groups = Groups.of(*drawn(rng, 60))
        familiar = Familiar.of(groups, *groups.nearest(CENTRES.repeat(2, 0) + 0.5 * rng.normal(size=(6, 3))))
        new = groups.nearest(drawn(rng, 200)[0])
        warned, shown = warned + sum(map(familiar.strange, *new)), shown + 200
        far = groups.nearest(np.array([[40.0, 40.0, 40.0], [-30.0, 5.0, 5.0]]))
        assert all(map(familiar.strange, *far))
    assert warned / shown < 0.005


@pytest.mark.parametrize("number", [1, 2])
def test_a_product_of_one_training_image_has_no_other_to_compare_it_with(number: int) -> None:
    """Its nearest one is another product's, and would make everything familiar."""
    groups = Groups.of(CENTRES[:number], NAMES[:number])
    assert groups.spread()[1].size == 0


def sizes(**numbers: int) -> NDArray[np.str_]:
    return np.repeat(list(numbers), list(numbers.values()))


def together(groups: NDArray[np.str_], rate: float, group: str | None) -> set[str]:
    return set(groups[members(groups, rate, group)].tolist())


def test_small_groups_join_until_they_are_enough() -> None:
    assert needed(RATE) == 19
    held_out = sizes(a=30, b=25, c=10, d=4)
    assert together(held_out, RATE, "a") == {"a"}
    assert together(held_out, RATE, "b") == together(held_out, RATE, "c") == {"b", "c", "d"}
    assert together(held_out, 0.15, "c") == {"c", "d"}
    assert together(held_out, 0.15, "b") == {"b"}
    assert together(held_out, 0.001, "a") == {"a", "b", "c", "d"}
    assert together(sizes(a=30, c=12, d=8), RATE, "c") == {"c", "d"}
    assert together(held_out, RATE, None) == {"a", "b", "c", "d"}


def test_a_group_without_held_out_images_joins_the_smallest() -> None:
    assert together(sizes(a=30, b=20), RATE, "none") == {"b"}


def test_the_new_image_counts_in_its_own_group() -> None:
    held_out = sizes(a=60, c=19, d=18, e=3)
    assert together(held_out, RATE, "c") == {"c"}
    assert together(held_out, RATE, "d") == {"c", "d", "e"}
    assert together(sizes(a=60, c=20, d=18, e=3), RATE, "d") == {"d", "e"}


@given(
    st.lists(st.sampled_from("abcdef"), min_size=11, max_size=60),
    st.sampled_from([0.1, 0.2, 0.35]),
    st.randoms(),
)
def test_whichever_image_is_the_new_one_false_alarms_keep_their_rate(
    kinds: list[str], rate: float, random: Random
) -> None:
    """Of n + 1 images each is judged by the n others: at most α (n + 1) of them are above their threshold.

    That this holds for any scores is what makes the rate hold; the scores here depend on the group.
    """
    names = np.array(kinds)
    scores = np.array([10.0 * ord(kind) * random.choice([0, 1]) + random.random() for kind in kinds])
    alarms = 0
    for new in range(len(names)):
        others = np.arange(len(names)) != new
        chosen = members(names[others], rate, kinds[new])
        alarms += scores[new] > threshold(scores[others][chosen], rate)
    assert alarms <= rate * len(names)


def test_false_alarms_keep_their_rate_in_every_group_although_the_categories_differ() -> None:
    """The scores of one product are far higher than those of the others: one threshold for all is unfair."""
    rng = np.random.default_rng(3)
    groups = Groups.of(*drawn(rng, 60))
    shift = {"capsule": 3.0, "gear": 0.0, "nut": 0.0}
    alarms: dict[str, list[float]] = {name: [] for name in NAMES}
    unfair: list[float] = []
    for _ in range(300):
        held_out, kinds = drawn(rng, 90)
        scores = rng.normal(size=90) + [shift[kind] for kind in kinds.tolist()]
        calibration = Calibration(scores, scores, kinds, groups.nearest(held_out)[0])
        new, own = drawn(rng, 60)
        found = groups.nearest(new)[0]
        fresh = rng.normal(size=60) + [shift[kind] for kind in own.tolist()]
        for name in NAMES.tolist():
            above = fresh[found == name] > calibration.reference(RATE, group=name).threshold
            alarms[name] += above.tolist()
        unfair += (fresh[own == "capsule"] > calibration.reference(RATE).threshold).tolist()
    for name in NAMES.tolist():
        assert np.mean(alarms[name]) <= RATE + 3 * np.sqrt(RATE / len(alarms[name])), name
        assert np.mean(alarms[name]) > 0.02, name
    assert np.mean(unfair) > 2 * RATE
