"""CutPaste has the published network, pastes what it should, and its density is a Gaussian's."""

from __future__ import annotations

import math

import pytest
import torch
from drawn import SMALL, assert_needs_no_features

from drdc.experiment.experiment import validated
from drdc.methods.cutpaste import CutPaste, Gaussian, Moments
from drdc.methods.interface import Shapes
from drdc.runtime.errors import UserError

SHAPES = Shapes(image_size=16, channels=4, feature_size=4)


def method(**changes: object) -> CutPaste:
    torch.manual_seed(0)
    return CutPaste(CutPaste.Settings(**(SMALL["cutpaste"] | changes)), SHAPES).eval()


def shades(size: int) -> torch.Tensor:
    """An image (3, size, size) in which every pixel has a value of its own."""
    return torch.linspace(-1, 1, size * size).view(1, size, size).expand(3, -1, -1)


def test_at_the_published_size_it_has_the_published_parameters() -> None:
    """ResNet-18 without its classifier; then 512 → 512 → 128 with batch norm, and three classes."""
    model = CutPaste(CutPaste.Settings(), Shapes(image_size=256, channels=272, feature_size=14)).eval()
    assert sum(p.numel() for p in model.network.parameters()) == 11_176_512
    head = 512 * 512 + 2 * 512 + 512 * 128 + 2 * 128 + 128 * 3 + 3
    assert sum(p.numel() for p in model.head.parameters()) == head == 329_347
    assert all(p.requires_grad for p in model.parameters())
    with torch.inference_mode():
        assert model._features(torch.zeros(1, 3, 256, 256)).shape == (1, 512, 8, 8)


def test_a_pasted_patch_has_the_asked_area_and_sides() -> None:
    """Without change of colour the patch holds the values of a rectangle of the same image."""
    model, image = method(jitter=0.0), shades(128)
    torch.manual_seed(0)
    ratios = []
    for _ in range(60):
        changed = (model.pasted(image) != image).any(0)
        rows, columns = (int(changed.any(axis).sum()) for axis in (1, 0))
        assert 0.02 * 0.8 < rows * columns / 128**2 < 0.15 * 1.1
        assert changed.sum() == rows * columns, "a whole rectangle"
        ratios.append(rows / columns)
    assert min(ratios) > 0.27
    assert max(ratios) < 3.6
    assert min(ratios) < 0.6
    assert max(ratios) > 1.7


def test_a_pasted_patch_is_of_the_image_itself() -> None:
    model, image = method(jitter=0.0), shades(32)
    torch.manual_seed(0)
    patched = model.pasted(image)
    assert torch.isclose(patched[0][..., None], image[0].flatten(), atol=1e-5).any(-1).all()


def test_a_scar_is_small_and_thin_and_turned() -> None:
    model, image = method(jitter=0.0), shades(256)
    torch.manual_seed(0)
    areas, slanted = [], 0
    for _ in range(60):
        changed = (model.scarred(image) != image).any(0)
        box = int(changed.any(0).sum()) * int(changed.any(1).sum())
        areas.append(int(changed.sum()))
        slanted += box > 1.2 * areas[-1]
    assert min(areas) >= 2 * 10 * 0.5
    assert max(areas) <= 16 * 25 * 1.2
    assert slanted > 30


def test_a_change_of_colour_stays_in_range_and_leaves_the_image_alone() -> None:
    model, image = method(jitter=0.5), shades(32)
    before = image.clone()
    for change in (model.pasted, model.scarred):
        assert change(image).abs().max() <= 1
    assert torch.equal(image, before)
    recoloured = model._recoloured(image)
    assert not torch.allclose(recoloured, image, atol=0.01)


def test_a_classifier_that_knows_nothing_costs_the_logarithm_of_three() -> None:
    model = method()
    torch.nn.init.zeros_(model.head[-1].weight)
    torch.nn.init.zeros_(model.head[-1].bias)
    loss = model.loss(torch.rand(4, 3, 16, 16), torch.zeros(4, 4, 4, 4))
    assert loss.item() == pytest.approx(math.log(3), rel=1e-5)


def test_the_density_is_that_of_the_gaussian_with_mean_and_covariance_of_the_vectors() -> None:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(4, 4, generator=generator)
    vectors = torch.randn(500, 4, generator=generator) @ mixing + 3
    moments, density = Moments(), Gaussian(4)
    for part in vectors.split(64):
        moments.add(part)
    density.set(moments, 1e-9)
    expected = torch.distributions.MultivariateNormal(
        vectors.mean(0), covariance_matrix=vectors.T.cov(correction=0)
    )
    points = torch.randn(5, 4, generator=generator) * 4
    constant = expected.log_prob(vectors.mean(0))
    assert torch.allclose(density(points), constant - expected.log_prob(points), rtol=1e-3)


def test_a_feature_that_never_varies_has_a_density_too() -> None:
    moments, density = Moments(), Gaussian(3)
    moments.add(torch.tensor([[0.0, 1.0, 5.0], [1.0, 0.0, 5.0], [1.0, 1.0, 5.0]]))
    density.set(moments, 0.01)
    scores = density(torch.tensor([[1.0, 1.0, 5.0], [1.0, 1.0, 6.0]]))
    assert torch.isfinite(scores).all()
    assert scores[1] > scores[0]
    still, same = Moments(), Gaussian(2)
    still.add(torch.ones(4, 2))
    same.set(still, 0.01)
    assert torch.isfinite(same(torch.ones(1, 2))).all()


def test_the_heatmap_is_the_density_of_each_place_and_the_score_that_of_the_pooled_features() -> None:
    model, images = method(blur=0.0), torch.rand(2, 3, 16, 16)
    features = torch.zeros(2, 4, 4, 4)
    model.place.mean.fill_(1.0)
    model.whole.mean.fill_(2.0)
    with torch.inference_mode():
        found = model._features(images)
        heatmaps = model.heatmaps(images, features)
        scores = model.image_scores(heatmaps, images, features)
    assert heatmaps.shape == (2, 16, 16)
    corner = 0.5 * (found[:, :, 0, 0] - 1).square().sum(1)
    assert torch.allclose(heatmaps[:, 0, 0], corner, rtol=1e-4)
    assert torch.allclose(scores, 0.5 * (found.mean((2, 3)) - 2).square().sum(1), rtol=1e-4)


def test_random_weights_follow_from_the_seed_and_need_no_file() -> None:
    settings = {"initial": "random", "backbone": {"name": "resnet18.tv_in1k", "input_size": 32}}
    first, second = (method(**settings).state_dict() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    other = CutPaste(CutPaste.Settings(**(SMALL["cutpaste"] | settings)), SHAPES)
    assert not torch.equal(other.network.network.conv1.weight, first["network.network.conv1.weight"])


def test_an_unknown_network_and_impossible_sizes_are_refused_in_one_sentence() -> None:
    backbone = {"name": "resnet19"}
    with pytest.raises(UserError, match=r"backbone 'resnet19' cannot be loaded .* must be a timm model"):
        method(initial="random", backbone=backbone)
    for key in ("area", "scar_width", "scar_height"):
        with pytest.raises(UserError, match=rf"methods\.cutpaste\.{key}: .*the smaller one first"):
            validated(CutPaste.Settings, {key: [3, 2]}, "x.yaml", ("methods", "cutpaste"))


def test_it_needs_no_features_of_the_experiment() -> None:
    assert_needs_no_features(method())
