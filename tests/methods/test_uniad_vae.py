"""UniAD+VAE: its autoencoder, and the fusion that all refined variants share."""

from __future__ import annotations

import pytest
import torch
from drawn import SMALL

from drdc.equations.fusion import scale_error
from drdc.experiment.experiment import validated
from drdc.methods.interface import Shapes
from drdc.methods.uniad.networks import AutoEncoder, Variational
from drdc.methods.uniad_vae import UniADVAE
from drdc.runtime.errors import UserError

SHAPES = Shapes(image_size=16, channels=4, feature_size=4)


def method(**changes: object) -> UniADVAE:
    torch.manual_seed(0)
    return UniADVAE(UniADVAE.Settings(**(SMALL["uniad_vae"] | changes)), SHAPES).eval()


def autoencoder(code: int, numbers: int) -> int:
    """Parameters at 224 pixels, by layer: 32, 64, 128, 256, 256 channels, 7×7 at the end."""
    kernel, levels = 16, (32, 64, 128, 256, 256)
    down = sum(kernel * a * b + 2 * b for a, b in zip((3, *levels), levels, strict=False))
    back = levels[::-1]
    up = sum(kernel * a * b + 2 * b for a, b in zip(back, (*back[1:], 32), strict=True))
    flat = 256 * 49
    return down + (flat + 1) * numbers + (code + 1) * flat + up + 32 * 3 * 9 + 3


def test_the_parameters_are_the_sum_over_the_layers() -> None:
    """The DRDC paper says nothing of the network: these are its layers with the default settings."""
    assert sum(p.numel() for p in Variational(224, 32, 5, 256).parameters()) == autoencoder(256, 512)
    assert sum(p.numel() for p in AutoEncoder(224, 32, 5, 256).parameters()) == autoencoder(256, 256)
    assert autoencoder(256, 512) == 13_141_539


def test_a_code_that_says_nothing_has_no_divergence_and_any_other_has_some() -> None:
    network = Variational(16, 8, 2, 8).eval()
    last, images = network.network.encoder[-1], torch.rand(2, 3, 16, 16)
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    assert network.sampled(images)[1].tolist() == [0, 0]
    torch.nn.init.ones_(last.bias)  # mean 1, variance e: (1 + e − 1 − 1) / 2 for each number
    expected = 8 * (torch.e - 1) / 2
    assert network.sampled(images)[1].tolist() == pytest.approx([expected] * 2)


def test_codes_are_drawn_in_training_and_not_for_heatmaps() -> None:
    network, images = Variational(16, 8, 2, 8).eval(), torch.rand(2, 3, 16, 16)
    assert torch.equal(network(images), network(images))
    assert not torch.equal(network.sampled(images)[0], network.sampled(images)[0])


def test_the_weight_goes_from_the_base_map_to_the_image_error() -> None:
    images, features = torch.rand(2, 3, 16, 16), torch.rand(2, 4, 4, 4)
    weights = (0.0, 0.25, 1.0)
    with torch.no_grad():
        base, mixed, error = (method(weight=w).heatmaps(images, features) for w in weights)
        maps = method().maps(images, features)
    assert torch.equal(base, maps[0])
    assert torch.equal(error, maps[1])
    assert torch.allclose(mixed, 0.25 * error + 0.75 * base)
    assert not torch.allclose(base, error)


def test_both_maps_are_divided_by_their_own_means() -> None:
    model = method(weight=0.5, normalisation="mean")
    images, features = torch.rand(2, 3, 16, 16), torch.rand(2, 4, 4, 4)
    model.scales_of_maps.copy_(torch.tensor([[2.0, 9.0], [5.0, 9.0]]))
    with torch.no_grad():
        base, error = model.maps(images, features)
        assert torch.allclose(model.heatmaps(images, features), 0.5 * base / 2 + 0.5 * error / 5)


def test_the_image_error_is_that_of_eq_9_where_there_is_one_scale_and_no_filter() -> None:
    model = method(scales=[1], filter_size=1, weight=1.0)
    images, features = torch.rand(2, 3, 16, 16), torch.rand(2, 4, 4, 4)
    with torch.no_grad():
        expected = scale_error(images, model.image_model(images), 1)
        assert torch.allclose(model.heatmaps(images, features), expected)


def test_an_image_that_cannot_be_halved_so_often_is_refused() -> None:
    with pytest.raises(UserError, match="levels: an image of 16 pixels cannot be halved 5 times; use fewer"):
        method(levels=5)


def test_a_fault_in_the_base_models_settings_is_named_with_its_place() -> None:
    with pytest.raises(UserError, match=r"methods\.uniad_vae\.base\.neighbour_window: .*must be odd, or 0"):
        validated(UniADVAE.Settings, {"base": {"neighbour_window": 2}}, "x.yaml", ("methods", "uniad_vae"))
    with pytest.raises(UserError, match=r"methods\.uniad_vae\.filter_size: .*must be odd"):
        validated(UniADVAE.Settings, {"filter_size": 2}, "x.yaml", ("methods", "uniad_vae"))
