"""FCDD has the published layers, its loss is the hypersphere classifier's, and confetti is small and new."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from drawn import SMALL, assert_needs_no_features, fitted, shortest
from safetensors.torch import save_file
from torch import Tensor

from drdc.experiment.experiment import validated
from drdc.methods.fcdd import FCDD, classifier_loss, contrasted, gaussians, trained_layers, with_confetti
from drdc.methods.interface import Shapes
from drdc.models.backbone import pretrained_state
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError
from drdc.runtime.files import load_metadata

SHAPES = Shapes(image_size=16, channels=4, feature_size=4)


def method(**changes: object) -> FCDD:
    torch.manual_seed(0)
    return FCDD(FCDD.Settings(**(SMALL["fcdd"] | changes)), SHAPES).eval()


def published_layers() -> torch.nn.Sequential:
    """The default frozen and trained layers, with random weights (nothing is fetched)."""
    settings = FCDD.Settings()
    stages = tuple(settings.backbone.stages)
    frozen = timm.create_model(settings.backbone.name, features_only=True, out_indices=stages)

    class First(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = frozen

        def forward(self, images: Tensor) -> Tensor:
            return self.layers(images)[0]

    return torch.nn.Sequential(First(), trained_layers(256, settings.width))


def test_at_the_published_size_it_has_the_published_parameters() -> None:
    """VGG-11 with batch norm up to its sixth convolution, the first four frozen; and a 1×1 convolution.

    The paper gives no count: this is the sum over its layers.
    """

    def layer(inputs: int, outputs: int) -> int:
        return (inputs * 9 + 1) * outputs + 2 * outputs  # 3×3 convolution with bias, batch norm

    with torch.device("meta"):  # the sizes alone
        frozen, trained = published_layers()
    first = layer(3, 64) + layer(64, 128) + layer(128, 256) + layer(256, 256)
    assert sum(p.numel() for p in frozen.parameters()) == first == 962_304
    rest = layer(256, 512) + layer(512, 512) + 512 + 1
    assert sum(p.numel() for p in trained.parameters()) == rest == 3_542_529


def test_a_value_of_the_published_map_sees_as_many_pixels_as_the_setting_says() -> None:
    layers = published_layers().eval()
    for module in layers.modules():  # positive weights and average pools: no part of what is seen is hidden
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.constant_(module.weight, 1e-2)
    pools = {n: m for n, m in layers.named_modules() if isinstance(m, torch.nn.MaxPool2d)}
    for name in pools:
        path, _, leaf = name.rpartition(".")
        setattr(layers.get_submodule(path), leaf, torch.nn.AvgPool2d(2))
    images = torch.ones(1, 3, 112, 112, requires_grad=True)
    output = layers(images)
    assert output.shape == (1, 1, 14, 14)
    output[0, 0, 7, 7].backward()
    assert images.grad is not None
    seen = images.grad[0].abs().sum(0) > 0
    settings = FCDD.Settings()
    assert seen.any(0).sum() == seen.any(1).sum() == settings.receptive_field


def test_the_loss_is_the_distance_of_normal_images_and_minus_the_log_of_one_minus_its_exponential() -> None:
    distance = torch.tensor([0.3, 0.3, math.log(2)])
    anomalous = torch.tensor([False, True, True])
    expected = (0.3 - math.log(1 - math.exp(-0.3)) + math.log(2)) / 3
    assert classifier_loss(distance, anomalous).item() == pytest.approx(expected, rel=1e-4)
    at_zero = torch.zeros(1, requires_grad=True)
    classifier_loss(at_zero, torch.tensor([True])).backward()
    assert at_zero.grad is not None
    assert torch.isfinite(at_zero.grad).all(), "a map of zeros does not break the training"


def test_the_map_is_the_pseudo_huber_norm_of_the_output() -> None:
    model = method()
    for value in (0.0, 0.1, 3.0):
        torch.nn.init.zeros_(model.head[-1].weight)
        torch.nn.init.constant_(model.head[-1].bias, value)
        maps = model.distances(torch.zeros(2, 3, 16, 16))
        assert maps.shape == (2, 8, 8)
        assert torch.allclose(maps, torch.tensor(math.sqrt(value**2 + 1) - 1), atol=1e-6)


def test_only_the_last_layers_are_trained() -> None:
    model = method().train()
    model.loss(torch.rand(4, 3, 16, 16), torch.zeros(4, 4, 4, 4)).backward()
    assert not any(p.requires_grad for p in model.backbone.parameters())
    assert not any(m.training for m in model.backbone.modules())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.head[-1].parameters())


def test_the_map_is_spread_as_by_a_transposed_convolution_with_a_gaussian() -> None:
    """224 pixels from 28 values, eight pixels apart; compared where no border is near."""
    spread, values = gaussians(224, 28, 12.0, 62), torch.rand(28, 28)
    offsets = torch.arange(62) - 30.5
    kernel = torch.exp(-0.5 * (offsets / 12) ** 2)
    plane = (kernel[:, None] * kernel)[None, None]
    maps = [F.conv_transpose2d(v[None, None], plane, stride=8)[0, 0] for v in (values, torch.ones(28, 28))]
    expected = (maps[0] / maps[1])[27:-27, 27:-27]  # value 0 lies over the pixels 0 to 7
    found = spread @ values @ spread.T
    assert expected.shape == found.shape
    assert torch.allclose(found[40:-40, 40:-40], expected[40:-40, 40:-40], atol=1e-5)
    assert torch.allclose(spread.sum(1), torch.ones(224)), "a constant map stays constant"


def test_confetti_are_white_and_coloured_squares_of_the_asked_size_anywhere() -> None:
    torch.manual_seed(0)
    dark = -torch.ones(400, 3, 64, 64)
    changed = (with_confetti(dark, 1, (0.1, 0.2), 0.0) > -1).any(1)
    areas = changed.float().mean((1, 2))  # of two squares, which may overlap or lie beyond the border
    assert areas.max() < 2 * 0.04 * 1.2
    whole = areas[~(changed[:, [0, -1]].flatten(1).any(1) | changed[:, :, [0, -1]].flatten(1).any(1))]
    assert len(whole) > 100
    assert whole.min() > 0.01 * 0.8
    assert (with_confetti(dark, 1, (0.3, 0.4), 0.0) > -1).any(1).any(0).all(), "no place is spared"
    more = (with_confetti(dark, 3, (0.1, 0.2), 0.0) > -1).any(1).float().mean()
    assert more.item() == pytest.approx(2 * changed.float().mean().item(), rel=0.15)
    found = with_confetti(dark, 1, (0.1, 0.2), 0.0)
    assert (found == 1).all(1).flatten(1).any(1).all(), "a white one in each image"
    assert (found.amax(1) > found.amin(1)).flatten(1).any(1).float().mean() > 0.8, "and coloured ones"


def test_confetti_are_blurred_and_taken_from_images_that_are_bright_already() -> None:
    torch.manual_seed(0)
    dark, bright = -torch.ones(8, 3, 32, 32), torch.ones(8, 3, 32, 32)
    steps = [with_confetti(dark, 2, (0.2, 0.4), blur).diff(dim=-1).abs().max() for blur in (0.0, 0.1)]
    assert steps[1] < steps[0] / 2
    found = with_confetti(bright, 2, (0.2, 0.4), 0.022)
    assert (found < bright).flatten(1).any(1).all()
    assert found.abs().max() <= 1
    assert not torch.equal(*(with_confetti(dark, 2, (0.2, 0.4), 0.022) for _ in range(2)))


def test_an_image_in_another_light_has_the_same_contrast() -> None:
    images = torch.rand(2, 3, 16, 16) - 0.5
    assert torch.allclose(contrasted(images), contrasted(0.5 * images + 0.2), atol=1e-5)
    assert contrasted(images).abs().mean((1, 2, 3)).tolist() == pytest.approx([1, 1])
    assert contrasted(torch.zeros(1, 3, 16, 16)).abs().max() == 0


def test_the_image_score_is_the_mean_of_the_heatmap_or_its_maximum() -> None:
    heatmap, unused = torch.rand(2, 16, 16), (torch.zeros(2, 3, 16, 16), torch.zeros(2, 4, 4, 4))
    assert torch.equal(method(score="mean").image_scores(heatmap, *unused), heatmap.mean((1, 2)))
    assert torch.equal(method(score="max").image_scores(heatmap, *unused), heatmap.amax((1, 2)))


def test_a_gaussian_that_leaves_gaps_is_refused() -> None:
    with pytest.raises(UserError, match=r"receptive_field: 2 pixels leave gaps .* use at least 8"):
        FCDD(FCDD.Settings(**(SMALL["fcdd"] | {"receptive_field": 2})), Shapes(64, 4, 4))


def test_sides_that_are_no_part_of_the_image_are_refused() -> None:
    for sides in ([0.3, 0.2], [0, 0.1], [0.5, 1.5]):
        with pytest.raises(UserError, match=r"methods\.fcdd\.confetti_sides: .*the smaller one first"):
            validated(FCDD.Settings, {"confetti_sides": sides}, "x.yaml", ("methods", "fcdd"))


def test_the_defaults_fit_the_published_size() -> None:
    """28 values across 224 pixels, as the frozen layers halve the size twice and the trained ones once."""
    settings = FCDD.Settings()
    assert settings.backbone.input_size // 4 == settings.backbone.feature_size == 56
    assert np.isclose(settings.confetti_sides, (8 / 224, 54 / 224), atol=2e-3).all()


def test_it_needs_no_features_of_the_experiment() -> None:
    assert_needs_no_features(method())


def test_another_pretrained_network_in_the_same_file_is_another_training(
    layout: Layout, tmp_path: Path
) -> None:
    """The settings have its path alone."""
    path = tmp_path / "own.safetensors"
    settings = shortest(SMALL["fcdd"] | {"backbone": SMALL["fcdd"]["backbone"] | {"weights": str(path)}})
    state = pretrained_state(method().settings.backbone)
    found = set()
    for factor in (1.0, 1.01):
        save_file({k: (v * factor).to(v.dtype).contiguous() for k, v in state.items()}, path)
        fitted(layout, "fcdd", settings)
        found.add(load_metadata(layout.model(0, "fcdd"))["fingerprint"])
    assert len(found) == 2
