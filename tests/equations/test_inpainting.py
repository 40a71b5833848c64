"""Partitions and masked conditions (Sec. 4.2)."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drdc.equations.inpainting import combine, masked_condition, partition


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.sampled_from([1, 2, 4, 8, 16]), st.integers(2, 5), st.integers(0, 10_000))
def test_sets_are_disjoint_and_cover_the_image(grid_size: int, sets: int, seed: int) -> None:
    holes = 1 - partition(48, grid_size, sets, generator(seed))
    assert holes.shape == (sets, 1, 48, 48)
    assert set(holes.unique().tolist()) == {0.0, 1.0}
    assert (holes.sum(0) == 1).all()


@given(st.sampled_from([2, 4, 8, 16]), st.integers(2, 5), st.integers(0, 10_000))
def test_sets_consist_of_whole_cells_and_have_nearly_equal_size(grid_size: int, sets: int, seed: int) -> None:
    holes = 1 - partition(48, grid_size, sets, generator(seed))
    side = 48 // grid_size
    cells = holes.view(sets, side, grid_size, side, grid_size).transpose(2, 3).flatten(3)
    assert (cells.amin(-1) == cells.amax(-1)).all()
    counts = cells[..., 0].flatten(1).sum(1)
    assert counts.max() - counts.min() <= 1


def test_two_sets_are_exact_halves_and_each_others_complement() -> None:
    first, second = partition(224, 16, 2, generator())
    assert first.mean() == 0.5
    assert torch.equal(first, 1 - second)


def test_every_cell_is_equally_often_in_each_set() -> None:
    source = generator(1)
    mean = torch.stack([partition(8, 2, 2, source)[0] for _ in range(2000)]).mean(0)
    assert (mean - 0.5).abs().max() < 0.06


def test_the_partition_follows_from_the_generator() -> None:
    assert torch.equal(partition(32, 4, 3, generator(5)), partition(32, 4, 3, generator(5)))
    assert not torch.equal(partition(32, 4, 3, generator(5)), partition(32, 4, 3, generator(6)))


@pytest.mark.parametrize(("grid_size", "sets"), [(5, 2), (32, 2), (16, 5)])
def test_impossible_partitions_are_refused(grid_size: int, sets: int) -> None:
    with pytest.raises(ValueError, match=r"divide|split"):
        partition(32, grid_size, sets)


def test_the_condition_shows_known_pixels_and_noise_in_the_hole() -> None:
    image, noise = torch.rand(2, 3, 16, 16), torch.randn(2, 3, 16, 16)
    mask = partition(16, 4, 2, generator())[:1]
    condition = masked_condition(image, mask, noise)
    known = mask.bool().expand_as(image)
    assert torch.equal(condition[known], image[known])
    assert torch.equal(condition[~known], noise[~known])


def test_each_pixel_comes_from_the_prediction_in_which_it_was_hidden() -> None:
    masks = partition(16, 2, 4, generator())
    predictions = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 3, 16, 16)
    combined = combine(predictions, masks)
    for i in range(4):
        assert (combined[:, masks[i, 0] == 0] == i).all()
