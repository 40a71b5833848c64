"""Training sets for studies: fewer images, and defective ones among them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drdc.data.samples import Sample, drawn
from drdc.runtime.errors import UserError


def dataset(train: int = 40, good: int = 5, bad: int = 20) -> list[Sample]:
    """Of two categories."""
    samples = []
    for category in ("gear", "lid"):
        kinds = (("train", 0, "good", train), ("test", 0, "good", good), ("test", 1, "torn", bad))
        samples += [
            Sample(f"{category}/{split}/{kind}/{i}.png", category, split, label, kind, f"{i}" * label)  # type: ignore[arg-type]
            for split, label, kind, count in kinds
            for i in range(count)
        ]
    return samples


def of(samples: list[Sample], category: str, split: str, label: int = 0) -> set[str]:
    return {s.path for s in samples if (s.category, s.split, s.label) == (category, split, label)}


@given(st.integers(2, 40), st.integers(0, 1000))
def test_so_many_training_images_of_each_category_are_drawn_and_the_test_stays(
    images: int, draw: int
) -> None:
    before, after = dataset(), drawn(dataset(), images, 0, 0, draw)
    for category in ("gear", "lid"):
        assert len(of(after, category, "train")) == images
        assert of(after, category, "train") <= of(before, category, "train")
        for label in (0, 1):
            assert of(after, category, "test", label) == of(before, category, "test", label)


@given(st.sampled_from([0.0, 0.025, 0.05, 0.1, 0.3]), st.integers(0, 1000))
def test_defective_images_replace_normal_ones_and_leave_the_test(share: float, draw: int) -> None:
    before, after = dataset(), drawn(dataset(), None, share, 0.3, draw)
    for category in ("gear", "lid"):
        train = of(after, category, "train")
        slipped_in = train & of(before, category, "test", 1)
        assert len(train) == 40
        assert len(slipped_in) == round(40 * share)
        assert len(of(after, category, "test", 1)) == 20 - 12
        assert of(after, category, "test") == of(before, category, "test")
        assert not train & of(after, category, "test", 1)
    assert all(not s.mask and s.defect_type == "good" for s in after if s.split == "train")


def test_several_shares_of_one_draw_are_tested_on_the_same_images_and_draws_differ() -> None:
    tested = [of(drawn(dataset(), None, share, 0.1, 3), "lid", "test", 1) for share in (0.0, 0.05, 0.1)]
    assert tested[0] == tested[1] == tested[2]
    other = of(drawn(dataset(), None, 0.0, 0.1, 4), "lid", "test", 1)
    assert other != tested[0]
    few = [of(drawn(dataset(), images, 0, 0, 3), "lid", "train") for images in (4, 8)]
    assert few[0] < few[1], "a larger number adds to the smaller one"


def test_without_a_wish_nothing_changes_and_the_order_of_the_files_does_not_matter() -> None:
    assert drawn(dataset(), None, 0, 0, 7) == dataset()
    forward, backward = (drawn(samples, 8, 0.25, 0, 1) for samples in (dataset(), dataset()[::-1]))
    assert set(forward) == set(backward)


def test_too_few_images_are_one_sentence() -> None:
    with pytest.raises(UserError, match=r"gear: has 40 training images; lower dataset\.drawn\.images"):
        drawn(dataset(), 41, 0, 0, 0)
    with pytest.raises(UserError, match="gear: has 20 anomalous test images, 20 are to leave"):
        drawn(dataset(), None, 0, 0.5, 0)
