"""Patch SVDD has the published encoders, its tasks are the published ones, and its memory is bounded."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from drawn import COUNTS, SMALL, Twofold, assert_needs_no_features

from drdc.experiment.experiment import validated
from drdc.methods.interface import Shapes
from drdc.methods.psvdd import (
    DIRECTIONS,
    Encoder,
    PatchSVDD,
    classifier,
    distances,
    jitter,
    neighbours,
    pairs,
    pixel_means,
)
from drdc.runtime.errors import UserError

SHAPES = Shapes(image_size=16, channels=4, feature_size=4)
CPU = torch.device("cpu")


def method(**changes: object) -> PatchSVDD:
    torch.manual_seed(0)
    return PatchSVDD(PatchSVDD.Settings(**(SMALL["psvdd"] | changes)), SHAPES).eval()


def test_at_the_published_size_it_has_the_published_parameters() -> None:
    """Patches of 64 and 32 pixels and D = 64; the paper gives no count: this is the sum over its layers."""
    model = PatchSVDD(PatchSVDD.Settings(), Shapes(image_size=256, channels=272, feature_size=14))
    widths = (3, 32, 64, 128, 128, 64, 32, 32, 64)
    small = sum((9 * i + 1) * o for i, o in pairwise(widths))
    large = (4 * 64 + 1) * 128 + (128 + 1) * 64
    judges = 2 * ((64 + 1) * 128 + (128 + 1) * 128 + (128 + 1) * 8)
    assert sum(p.numel() for p in model.encoder.parameters()) == small + large == 401_984
    assert sum(p.numel() for p in model.parameters()) == small + large + judges == 453_712


def test_the_codes_of_an_image_are_those_of_its_patches() -> None:
    """Run over a whole image, the encoder gives what it gives for every patch cut out alone."""
    encoder = Encoder(8, [16], 5).double()
    image = torch.randn(1, 3, 30, 30, dtype=torch.float64)
    for encode, side in ((encoder.small, 8), (encoder.large, 16)):
        whole = encode(image)
        places = (30 - side) // 2 + 1
        assert whole.shape == (1, 5, places, places)
        assert whole.abs().max() < 1
        for i, j in ((0, 0), (1, 2), (places - 1, places - 2)):
            patch = image[:, :, 2 * i : 2 * i + side, 2 * j : 2 * j + side]
            assert torch.allclose(encode(patch)[0, :, 0, 0], whole[0, :, i, j], atol=1e-12)


def test_the_published_encoders_give_one_code_for_a_patch() -> None:
    s = PatchSVDD.Settings()
    encoder = Encoder(s.patch, s.widths, s.code)
    assert encoder.small(torch.zeros(2, 3, 32, 32)).shape == (2, 64, 1, 1)
    assert encoder.large(torch.zeros(2, 3, 64, 64)).shape == (2, 64, 1, 1)


def test_a_large_code_depends_on_all_four_quarters() -> None:
    encoder = Encoder(8, [16], 5)
    patch = torch.randn(1, 3, 16, 16)
    code = encoder.large(patch)
    for y, x in ((0, 0), (0, 8), (8, 0), (8, 8)):
        changed = patch.clone()
        changed[:, :, y : y + 8, x : x + 8] = 0
        assert not torch.allclose(encoder.large(changed), code)


def test_neighbours_lie_where_their_class_says_between_three_quarters_and_a_side_away() -> None:
    torch.manual_seed(0)
    place, offsets = neighbours(4000, 32, CPU)
    assert place.unique().tolist() == list(range(8))
    assert torch.equal(offsets.sign(), torch.tensor(DIRECTIONS)[place])
    away = offsets.abs()[offsets != 0]
    assert away.min() == 24
    assert away.max() == 31


def test_a_jittered_patch_is_at_most_that_far_and_never_the_same() -> None:
    torch.manual_seed(0)
    for most in (1, 2):
        found = {tuple(offset) for offset in jitter(4000, most, CPU).tolist()}
        around = range(-most, most + 1)
        assert found == {(y, x) for y in around for x in around} - {(0, 0)}


def test_pairs_are_patches_of_one_image_at_the_asked_offset_and_inside() -> None:
    """Each pixel holds its row, column and image, so that a patch says where it comes from."""
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    images = torch.stack([torch.stack([rows, columns, torch.full_like(rows, i)]) for i in range(3)])
    _, offsets = neighbours(300, 8, CPU)
    first, second = pairs(images, offsets, 8).chunk(2)
    assert first.shape == (300, 3, 8, 8)
    assert torch.equal(first[:, 2, 0, 0], torch.arange(300.0) % 3)
    assert torch.equal(second[:, 2], first[:, 2])
    assert torch.equal(second[:, :2, 0, 0] - first[:, :2, 0, 0], offsets.float())
    assert (first[:, 0] - first[:, 0, :1, :1]).equal((rows[:8, :8]).expand(300, -1, -1))
    assert (second[:, 1] - second[:, 1, :1, :1]).equal((columns[:8, :8]).expand(300, -1, -1))
    assert second[:, :2, 0, 0].min() == 0
    assert second[:, :2, 0, 0].max() == 8


def test_the_loss_is_that_of_guessing_plus_the_weighted_distance_of_neighbours() -> None:
    images, features = torch.rand(4, 3, 16, 16), torch.zeros(4, 4, 4, 4)
    unknowing = method(svdd_weight=0.0)
    for judge in (unknowing.small_classifier, unknowing.large_classifier):
        torch.nn.init.zeros_(judge[-1].weight)
        torch.nn.init.zeros_(judge[-1].bias)
    assert unknowing.loss(images, features).item() == pytest.approx(2 * math.log(8), rel=1e-5)
    losses = []
    for weight in (0.0, 1.0, 2.0):
        model = method(svdd_weight=weight)
        torch.manual_seed(1)
        losses.append(model.loss(images, features).item())
    assert losses[1] > losses[0]
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-3)


def test_a_patch_scores_its_distance_to_the_nearest_code_even_if_that_is_tiny() -> None:
    memory = torch.randn(50, 6) * 8
    codes = torch.stack([memory[3] + 1e-3 / math.sqrt(6), memory[7]]).view(1, 2, 6)
    found = distances(codes, memory)[0]
    assert found[0].item() == pytest.approx(1e-3, rel=1e-2)
    assert found[1].item() == 0
    many = torch.randn(3, 200, 6)
    expected = (many[:, :, None] - memory).norm(dim=-1).amin(-1)
    assert torch.allclose(distances(many, memory), expected, atol=1e-5)


def test_a_pixel_has_the_mean_score_of_the_patches_that_hold_it() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0, 4.0]])  # 2×2 patches of 4 pixels, 2 apart
    found = pixel_means(scores, 4, 2, 7)
    assert found.shape == (1, 7, 7)
    assert found[0, 0].tolist() == [1, 1, 1.5, 1.5, 2, 2, 2], "beyond the last patch as in its last pixel"
    assert found[0, 2, 2].item() == 2.5
    assert found[0, 6, 6].item() == 4


def test_the_memory_holds_as_many_codes_of_each_training_image_as_it_may(
    fits: Callable[[str], Twofold],
) -> None:
    loaded = fits("psvdd").loaded.method
    train, asked = COUNTS["train"], SMALL["psvdd"]["memory"]
    assert loaded.small_memory.shape == (train * (asked // train), SMALL["psvdd"]["code"])
    assert len(loaded.small_memory) <= asked
    places = ((16 - 8) // 2 + 1) ** 2
    assert len(loaded.large_memory) == train * places, "all that there are, if less"
    assert len(np.unique(loaded.small_memory.numpy(), axis=0)) == len(loaded.small_memory), "none twice"


def test_the_classifier_tells_eight_places() -> None:
    assert classifier(64)(torch.zeros(2, 64)).shape == (2, 8)
    assert len(set(DIRECTIONS)) == 8


def test_settings_that_fit_no_patch_are_refused_in_one_sentence() -> None:
    cases = (
        ({"patch": 16}, r"methods\.psvdd\.widths: .*must be 3 numbers, `patch` / 4 − 1"),
        ({"patch": 6}, r"methods\.psvdd\.patch: .*multiple of 4"),
        ({"patch": 4, "widths": []}, r"methods\.psvdd\.large_stride: .*leaves gaps .* use at most 8"),
        ({"small_stride": 3}, r"methods\.psvdd\.small_stride: .*multiple of 2"),
    )
    for given, message in cases:
        with pytest.raises(UserError, match=message):
            validated(PatchSVDD.Settings, given, "x.yaml", ("methods", "psvdd"))
    with pytest.raises(UserError, match="no neighbours in images of 16; use at most 4"):
        method(patch=8, widths=[4])


def test_it_needs_no_features_of_the_experiment() -> None:
    assert_needs_no_features(method())
