"""The base model's memory bank, and what its loss is compared with."""

from __future__ import annotations

import numpy as np
import pytest

from drdc.methods.drdc.base import means_loss, memory_bank
from drdc.training.job import Images

SIDE, CHANNELS = 3, 4


@pytest.fixture
def images() -> Images:
    """Six images, of which the features say which image and place they are of."""
    stored = np.zeros((6, CHANNELS, SIDE, SIDE), np.float16)
    stored[:, 0] = np.arange(6)[:, None, None]
    stored[:, 1] = np.arange(SIDE**2).reshape(SIDE, SIDE)
    names = np.array([f"{i}.png" for i in range(6)])
    return Images(stored, names, np.repeat("nut", 6), np.array([0, 2, 5]), np.array([1, 3]))


def test_it_has_each_feature_of_the_training_images_at_most_once(images: Images) -> None:
    found = memory_bank(images, 20, seed=0).numpy()
    assert found.shape == (20, CHANNELS)
    assert found.dtype == np.float16
    places = {(int(image), int(place)) for image, place in found[:, :2]}
    assert len(places) == 20
    assert {image for image, _ in places} == {0, 2, 5}


def test_it_has_all_of_them_where_they_are_fewer(images: Images) -> None:
    assert memory_bank(images, 1000, seed=0).shape == (3 * SIDE**2, CHANNELS)


def test_the_seed_decides(images: Images) -> None:
    first, again, other = (memory_bank(images, 9, seed=seed).numpy() for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_answer_without_the_image_has_the_spread_of_held_out_images_around_their_category() -> None:
    features = np.array([1, 3, 5, 4, 10, 30, 20, 21], np.float16).reshape(8, 1, 1, 1)
    kinds = np.repeat(["a", "b"], 4)
    images = Images(features, kinds, kinds, np.array([0, 1, 4, 5]), np.array([2, 3, 6, 7]))
    assert means_loss(images) == pytest.approx(np.mean([(5 - 2) ** 2, (4 - 2) ** 2, 0, 1]))


def test_a_category_that_is_held_out_whole_is_compared_with_the_mean_of_all() -> None:
    features = np.array([1, 3, 8], np.float16).reshape(3, 1, 1, 1)
    kinds = np.array(["a", "a", "b"])
    images = Images(features, kinds, kinds, np.array([0, 1]), np.array([2]))
    assert means_loss(images) == (8 - 2) ** 2
