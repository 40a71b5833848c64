"""Heatmaps and fusion: the stored low-resolution means give the maps of Eq. 14-17 taken literally."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage

from drdc.config.fusion import BASE_SCALES, STORED_SCALES, Fusion
from drdc.equations import stored_maps
from drdc.equations.fusion import (
    centred,
    feature_error,
    image_score,
    map_scale,
    mean_filter,
    scale_error,
    spatio_temporal_map,
    upsample_base,
)
from drdc.equations.stored_maps import normalise, weighted_sum
from drdc.evaluation.controls import oracle_mask
from drdc.results.predictions import fuse, raw_maps, record_type

SIZE = 32


@pytest.fixture
def reconstructions() -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of images (2, 3, H, W) and x̂₀ for |T| = 3, |K| = 2: (3, 2, 2, 3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, SIZE, SIZE, generator=generator) * 2 - 1
    return image, image + 0.3 * torch.randn(3, 2, 2, 3, SIZE, SIZE, generator=generator)


def test_eq_9_is_the_distance_of_two_colours() -> None:
    image = torch.zeros(1, 3, 4, 4)
    other = image.clone()
    other[0, :, 1, 2] = torch.tensor([2.0, 1.0, 2.0])
    error = scale_error(image, other, 1)
    assert error[0, 1, 2] == 3
    assert error.sum() == 3


def test_eq_2_is_the_distance_of_two_features() -> None:
    features = torch.randn(2, 5, 3, 3)
    assert torch.allclose(
        feature_error(features, features * 3)[1, 2, 0], 2 * features[1, :, 2, 0].norm(), atol=1e-6
    )


@pytest.mark.parametrize("scale", STORED_SCALES)
def test_comparing_after_the_reduction_equals_reducing_both(
    reconstructions: tuple[torch.Tensor, torch.Tensor], scale: int
) -> None:
    image, x0 = reconstructions
    literal = (F.avg_pool2d(image, scale) - F.avg_pool2d(x0[0, 0], scale)).square().sum(1).sqrt()
    assert torch.allclose(scale_error(image, x0[0, 0], scale), literal, atol=1e-5)


@pytest.mark.parametrize("scales", [[1], [1, 2, 4, 8], [2, 16]])
def test_stored_means_give_eq_14_to_16_taken_literally(
    reconstructions: tuple[torch.Tensor, torch.Tensor], scales: list[int]
) -> None:
    image, x0 = reconstructions
    terms = []
    for t in range(3):
        for k in range(2):
            for s in scales:
                low = (
                    (F.avg_pool2d(image, s) - F.avg_pool2d(x0[t, k], s)).square().sum(1, keepdim=True).sqrt()
                )
                full = F.interpolate(low, (SIZE, SIZE), mode="bilinear", align_corners=False)  # U of Eq. 14
                terms.append(full[:, 0])
    literal = mean_filter(torch.stack(terms).mean(0), 5)  # Eq. 15, 16

    lean, detailed = np.zeros(2, record_type(SIZE, 4, None)), np.zeros(2, record_type(SIZE, 4, [4, 8]))
    for s in STORED_SCALES:
        errors = scale_error(image.expand_as(x0), x0, s).mean(0)
        lean[f"scale{s}"] = errors.mean(0).numpy()
        for k, error in zip((4, 8), errors, strict=True):
            detailed[f"k{k}.scale{s}"] = error.numpy()
    for records in (lean, detailed):
        _, stored = raw_maps(records, Fusion(scales=scales, filter_size=5))
        assert np.allclose(stored, literal, atol=2e-3)  # stored in half precision


def test_some_grid_sizes_are_those_alone() -> None:
    records = np.zeros(1, record_type(SIZE, 4, [2, 4, 8]))
    for k in (2, 4, 8):
        for s in STORED_SCALES:
            records[f"k{k}.scale{s}"] = k
    for chosen, mean in (([2, 8], 5.0), ([4], 4.0)):
        found = raw_maps(records, Fusion(grid_sizes=chosen))[1]
        np.testing.assert_allclose(found, np.full((1, SIZE, SIZE), mean), rtol=1e-6)


def test_the_last_timestep_alone_is_eq_9() -> None:
    records = np.zeros(1, record_type(SIZE, 4, [4]))
    records["last"] = np.random.default_rng(0).random((1, SIZE, SIZE))
    fusion = Fusion(timesteps="last", grid_sizes=[4], scales=[1], filter_size=1)
    assert np.allclose(raw_maps(records, fusion)[1], records["last"])


def test_the_base_map_at_several_scales_is_the_mean_of_features_compared_at_each() -> None:
    features, reconstruction = torch.randn(2, 3, 5, 14, 14)
    records = np.zeros(3, record_type(SIZE, 14, None))
    expected = []
    for s in BASE_SCALES:
        error = feature_error(features, reconstruction, s)
        pooled = [F.avg_pool2d(f, s, ceil_mode=True) for f in (features, reconstruction)]
        assert torch.allclose(error, torch.linalg.vector_norm(pooled[0] - pooled[1], dim=1), atol=1e-5)
        assert error.shape[-1] == -(-14 // s)
        records[f"base{s}"] = error.numpy()
        expected.append(upsample_base(error, SIZE))
    several, _ = raw_maps(records, Fusion(base_scales=list(BASE_SCALES)))
    assert np.allclose(several, torch.stack(expected).mean(0), atol=1e-5)
    assert np.allclose(raw_maps(records, Fusion())[0], expected[0], atol=1e-5)


def test_the_mean_filter_is_a_box_that_shrinks_at_the_border() -> None:
    heatmap = torch.rand(1, 12, 12)
    ours = mean_filter(heatmap, 5)[0].numpy()
    inside = ndimage.uniform_filter(heatmap[0].numpy(), 5)
    assert np.allclose(ours[2:-2, 2:-2], inside[2:-2, 2:-2], atol=1e-6)
    assert ours[0, 0] == pytest.approx(heatmap[0, :3, :3].mean().item(), abs=1e-6)
    assert torch.allclose(mean_filter(torch.full((1, 12, 12), 0.7), 5), torch.tensor(0.7))
    assert torch.equal(mean_filter(heatmap, 1), heatmap)


def test_the_mean_filter_commutes_with_the_mean_over_scales() -> None:
    a, b = torch.rand(2, 1, 16, 16)
    assert torch.allclose(mean_filter((a + b) / 2, 7), (mean_filter(a, 7) + mean_filter(b, 7)) / 2, atol=1e-6)


def test_the_weight_goes_from_the_base_map_to_the_diffusion_map() -> None:
    diffusion, base = torch.rand(2, 1, 4, 4)
    assert torch.equal(weighted_sum(diffusion, base, 1.0), diffusion)
    assert torch.equal(weighted_sum(diffusion, base, 0.0), base)
    assert torch.allclose(weighted_sum(diffusion, base, 0.9), 0.9 * diffusion + 0.1 * base)


def test_normalisation_brings_maps_of_any_scale_together() -> None:
    heatmap = torch.rand(1, 8, 8)
    for factor in (0.01, 40.0):
        scaled = heatmap * factor
        statistics = (scaled.mean().item(), scaled.std().item())
        assert torch.allclose(normalise(scaled, statistics, "mean"), heatmap / heatmap.mean(), atol=1e-5)
        standardised = normalise(scaled, statistics, "mean_std")
        assert standardised.mean().item() == pytest.approx(0, abs=1e-5)
        assert standardised.std().item() == pytest.approx(1, abs=1e-4)
        assert torch.equal(normalise(scaled, statistics, "none"), scaled)


def random_records(images: int, base_maps: Sequence[str] = ("transformer",)) -> NDArray[np.void]:
    """Predictions whose maps, of any kind and scale, are noise."""
    rng, records = np.random.default_rng(0), np.zeros(images, record_type(SIZE, 4, None, base_maps))
    for name in (records.dtype.names or ())[1:]:
        records[name] = rng.random(records[name].shape)
    return records


def test_fused_maps_do_not_depend_on_the_scale_of_the_features() -> None:
    records = random_records(1)
    larger = records.copy()
    larger["base1"] *= 50
    fusion = Fusion(filter_size=3, pool_size=4)
    first = fuse(records, fusion, {"base": (0.5, 0.2), "diffusion": (0.3, 0.1)})
    second = fuse(larger, fusion, {"base": (25.0, 10.0), "diffusion": (0.3, 0.1)})
    assert np.allclose(first.drdc, second.drdc, atol=1e-4)


def test_the_image_score_is_the_largest_pooled_value() -> None:
    heatmap = torch.zeros(2, 16, 16)
    heatmap[1, 4:8, 6:10] = 2.0
    assert image_score(heatmap, 4).tolist() == [0.0, 2.0]
    assert image_score(heatmap, 1).tolist() == [0.0, 2.0]
    assert image_score(heatmap, 8).tolist() == [0.0, 0.5]


def test_upsampling_keeps_corners_and_constants() -> None:
    low = torch.rand(1, 4, 4)
    high = upsample_base(low, SIZE)
    assert torch.allclose(high[0, [0, 0, -1, -1], [0, -1, 0, -1]], low[0, [0, 0, -1, -1], [0, -1, 0, -1]])
    assert torch.allclose(upsample_base(torch.full((1, 4, 4), 3.0), SIZE), torch.tensor(3.0))
    assert torch.allclose(spatio_temporal_map({1: high, 4: torch.full((1, 8, 8), 3.0)}, SIZE), (high + 3) / 2)


def test_a_prediction_at_paper_size_stays_small() -> None:
    assert record_type(224, 14, None).itemsize < 0.15e6, "the cells of Figure 2"
    assert record_type(224, 14, [2, 4, 8, 16]).itemsize < 0.8e6, "with every grid size and the reconstruction"


@pytest.mark.parametrize("size", [32, 48])
def test_arrays_and_tensors_are_fused_alike(size: int) -> None:
    """What scoring computes without torch equals what methods compute with it, but for the last digits."""
    rng = np.random.default_rng(0)
    base, heatmap = rng.random((3, 7, 7), dtype=np.float32), rng.random((3, size, size), dtype=np.float32)
    scales = {s: rng.random((3, size // s, size // s), dtype=np.float32) for s in STORED_SCALES}
    tensor = torch.from_numpy(heatmap)
    pairs = [
        (stored_maps.upsample_base(base, size), upsample_base(torch.from_numpy(base), size)),
        (
            stored_maps.spatio_temporal_map(scales, size),
            spatio_temporal_map({s: torch.from_numpy(maps) for s, maps in scales.items()}, size),
        ),
        *((stored_maps.mean_filter(heatmap, k), mean_filter(tensor, k)) for k in (1, 3, 21, 31)),
        *((stored_maps.image_score(heatmap, k), image_score(tensor, k)) for k in (1, 2, 5, 32)),
        (
            np.array(stored_maps.map_scales([(heatmap[:2],), (heatmap[2:],)])[0]),
            torch.tensor(map_scale([tensor])),
        ),
    ]
    for array, wanted in pairs:
        assert array.shape == tuple(wanted.shape)
        np.testing.assert_allclose(array, wanted, rtol=0, atol=3e-6)


@pytest.mark.parametrize("reduction", [2, 4, 16])
def test_masks_are_reduced_and_enlarged_as_torch_does(reduction: int) -> None:
    masks = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(2, SIZE, SIZE)), (0, 2, 2)) > 0.1
    whole = torch.from_numpy(masks)[:, None].float()
    small = F.interpolate(whole, (SIZE // reduction,) * 2, mode="bilinear", align_corners=False)
    large = F.interpolate(small, (SIZE, SIZE), mode="bilinear", align_corners=False)[:, 0]
    np.testing.assert_array_equal(oracle_mask(masks, reduction), large.numpy())


@pytest.mark.parametrize("size", [4, 5])
def test_centred_maps_are_the_same_for_images_that_are_harder_to_inpaint_everywhere(size: int) -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((3, size, size), dtype=np.float32)
    found = stored_maps.centred(maps)
    np.testing.assert_allclose(stored_maps.centred(maps + 7), found, atol=1e-5)
    below, above = (found < 0).sum((1, 2)), (found > 0).sum((1, 2))
    assert ((found == 0).sum((1, 2)) == 1).all()
    assert (abs(below - above) <= 1).all(), "half of the pixels on either side"
    np.testing.assert_array_equal(centred(torch.from_numpy(maps)), found)


def test_centring_changes_the_diffusion_map_alone() -> None:
    records = random_records(2)
    scale = {"base": (0.5, 0.2), "diffusion": (0.3, 0.1)}
    plain = fuse(records, Fusion(filter_size=3, pool_size=4), scale)
    other = fuse(records, Fusion(filter_size=3, pool_size=4, centred=True), scale)
    np.testing.assert_array_equal(other.base, plain.base)
    np.testing.assert_array_equal(other.diffusion, stored_maps.centred(plain.diffusion))
    np.testing.assert_allclose(other.drdc, 0.9 * other.diffusion + 0.1 * other.base, rtol=1e-6)


def test_the_base_map_is_that_of_the_memory_bank_where_the_fusion_says_so() -> None:
    records = random_records(1, ("transformer", "memory"))
    for kind, field in (("transformer", "base1"), ("memory", "memory1")):
        base, _ = raw_maps(records, Fusion(filter_size=3, base=kind))
        np.testing.assert_array_equal(base, stored_maps.upsample_base(records[field], SIZE))
