"""Batches: whole passes, equal categories, and nothing but (seed, step) decides."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drdc.training.sampler import BatchSampler

ROWS = np.array([3, 4, 5, 10, 11, 12, 13, 20])
CATEGORIES = np.array(["cap"] * 3 + ["nut"] * 4 + ["bolt"])


def sampler(batch_size: int = 3, seed: int = 0, balanced: bool = False) -> BatchSampler:
    return BatchSampler(ROWS, CATEGORIES, batch_size, seed, balanced)


def drawn(source: BatchSampler, images: int) -> list[int]:
    """The first `images` row numbers."""
    steps = -(-images // source.batch_size)
    return np.concatenate([source.batch(step) for step in range(steps)])[:images].tolist()


@settings(deadline=None, max_examples=40)
@given(
    batch_size=st.integers(1, 19),
    seed=st.integers(0, 2**31),
    balanced=st.booleans(),
    passes=st.integers(1, 4),
)
def test_every_pass_covers_every_image(batch_size: int, seed: int, balanced: bool, passes: int) -> None:
    source = sampler(batch_size, seed, balanced)
    length = 12 if balanced else len(ROWS)  # three categories, repeated to the four images of the largest
    rows = drawn(source, passes * length)
    for start in range(0, len(rows), length):
        counts = Counter(rows[start : start + length])
        assert set(counts) == set(ROWS.tolist())
        if not balanced:
            assert set(counts.values()) == {1}


def test_a_balanced_pass_holds_all_categories_equally_often() -> None:
    category = dict(zip(ROWS.tolist(), CATEGORIES.tolist(), strict=True))
    rows = drawn(sampler(balanced=True), 12)
    assert Counter(category[row] for row in rows) == {"cap": 4, "nut": 4, "bolt": 4}
    assert Counter(rows)[20] == 4
    plain = drawn(sampler(), len(ROWS))
    assert Counter(category[row] for row in plain) == {"cap": 3, "nut": 4, "bolt": 1}


def test_over_many_passes_all_images_of_a_small_category_are_seen_equally_often() -> None:
    """Of three images for four places one is there twice, each in a third of 600 passes."""
    counts = Counter(drawn(sampler(balanced=True), 600 * 12))
    for row in ROWS[CATEGORIES == "cap"].tolist():
        assert 740 < counts[row] < 860, "800 on average, with a standard deviation of 12"
    assert {counts[row] for row in ROWS[CATEGORIES == "nut"].tolist()} == {600}


@settings(deadline=None, max_examples=25)
@given(order=st.lists(st.integers(0, 30), min_size=1, max_size=12), balanced=st.booleans())
def test_a_batch_depends_on_seed_and_step_alone(order: list[int], balanced: bool) -> None:
    shared = sampler(seed=7, balanced=balanced)
    for step in order:  # any order, with repetitions: like a run that was stopped and resumed
        fresh = sampler(seed=7, balanced=balanced)
        assert shared.batch(step).tolist() == fresh.batch(step).tolist()


def test_passes_and_seeds_differ_and_batches_keep_their_size() -> None:
    source = sampler(batch_size=8)
    passes = [source.batch(step).tolist() for step in range(4)]
    assert len({tuple(rows) for rows in passes}) == 4
    assert sampler(batch_size=8, seed=1).batch(0).tolist() != passes[0]
    assert [len(sampler(batch_size=5).batch(step)) for step in range(6)] == [5] * 6


def test_a_batch_may_be_larger_than_the_dataset() -> None:
    counts = Counter(sampler(batch_size=20).batch(0).tolist())
    assert sum(counts.values()) == 20
    assert set(counts.values()) <= {2, 3}


def test_torchs_and_numpys_global_generators_are_neither_read_nor_moved() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()  # type: ignore[index]
    first = sampler().batch(2).tolist()
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]
    np.random.seed(1)
    assert sampler().batch(2).tolist() == first
