"""The frozen backbone: weights that come with a package, alignment of the stages, and clear refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from drdc.config.backbone import Backbone, Network
from drdc.models.backbone import FeatureExtractor, channels_of, pretrained
from drdc.models.checkpoint import package_file
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
    return torch.load(package_file(LITE), weights_only=True)


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


def test_stored_weights_are_enough(extractor: FeatureExtractor, features: Tensor) -> None:
    """Where they come from is not looked at: this file is not there."""
    again = FeatureExtractor(settings(weights="no/such/file.pth"), extractor.state_dict())
    with torch.inference_mode():
        assert torch.equal(again(images()), features)


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp", "no_such_net"])
def test_stored_weights_are_only_put_into_networks_of_timm(extractor: FeatureExtractor, name: str) -> None:
    with pytest.raises(UserError, match="is not a timm model"):
        FeatureExtractor(settings(name=name), extractor.state_dict())


#: Small networks of several families, and the stages or blocks that are taken of each.
FAMILIES = {
    "test_resnet": [0, 1, 2, 3],
    "test_efficientnet": [0, 1, 2, 3],
    "test_convnext": [0, 1, 2, 3],
    "mobilenetv3_small_050": [0, 1, 2],
    "test_vit": [1, 3, 5],
    "test_vit2": [0, 7],
    "test_mambaout": [1, 2],  # gives its channels last, as Swin does
}


def drawn(folder: Path, name: str) -> tuple[Any, str]:
    """A network of timm, and a file of its random weights."""
    torch.manual_seed(0)
    whole: Any = timm.create_model(name, pretrained=False).eval()
    path = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in whole.state_dict().items()}, path)
    return whole, str(path)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_maps_with_the_channels_first(tmp_path: Path, name: str) -> None:
    """The stages are those of the whole network, at its own size; stored weights give the same."""
    whole, path = drawn(tmp_path, name)
    side = whole.default_cfg["input_size"][-1]
    own = Network(name=name, weights=path, stages=FAMILIES[name], input_size=side, feature_size=9)
    extractor, pixels = FeatureExtractor(own), images(2, side)
    normal = (pixels.float() - extractor.mean) / extractor.std
    with torch.inference_mode():
        expected = whole.forward_intermediates(normal, indices=own.stages, intermediates_only=True)
        for found, stage in zip(extractor.stages(normal), expected, strict=True):
            torch.testing.assert_close(found, stage, rtol=1e-4, atol=1e-5)
        features = extractor(pixels)
        again = FeatureExtractor(own, extractor.state_dict())(pixels)
    aligned = torch.cat([literal_resize(stage, 9) for stage in expected], 1)
    torch.testing.assert_close(features, aligned, rtol=1e-3, atol=1e-4)
    assert features.shape == (2, extractor.channels, 9, 9)
    assert torch.equal(again, features)
    mean = torch.tensor(whole.default_cfg["mean"]) * 255
    torch.testing.assert_close(extractor.mean.flatten(), mean)


@pytest.mark.parametrize(
    ("name", "stages", "channels", "sides"),
    [
        ("vit_small_patch14_dinov2.lvd142m", [5, 11], 768, [16, 16]),
        ("vit_small_patch16_dinov3.lvd1689m", [2, 5, 8, 11], 1536, [14, 14, 14, 14]),
        ("swin_tiny_patch4_window7_224.ms_in1k", [0, 1, 2, 3], 1440, [56, 28, 14, 7]),
        ("convnext_atto.d2_in1k", [1, 2], 240, [28, 14]),
        ("tf_efficientnet_b4.aa_in1k", [0, 1, 2, 3], 272, [112, 56, 28, 14]),
    ],
)
def test_sizes_of_known_networks(name: str, stages: list[int], channels: int, sides: list[int]) -> None:
    """At 224 pixels, whatever size they were trained for; nothing is computed."""
    with torch.device("meta"):
        extractor = FeatureExtractor(Network(name=name, stages=stages), "random")
        found = extractor.stages(torch.zeros(1, 3, 224, 224))
    assert extractor.channels == channels == sum(stage.shape[1] for stage in found)
    assert [tuple(stage.shape[2:]) for stage in found] == [(side, side) for side in sides]


def test_a_position_embedding_is_resized_to_the_input(tmp_path: Path) -> None:
    """From 10 × 10 patches of its own 160 pixels to 6 × 6; a linear one stays linear."""
    whole, path = drawn(tmp_path, "test_vit")
    ramp = torch.linspace(0, 1, 10)[None, :].expand(10, 10).flatten()
    state = whole.state_dict()
    state["pos_embed"][:, 1:] = ramp[:, None]
    save_file(state, path)
    own = Network(name="test_vit", weights=path, stages=[0], input_size=96)
    grid = FeatureExtractor(own).network.state_dict()["model.pos_embed"][0, 1:, 0].view(6, 6)
    assert (grid.diff(dim=1) > 0.1).all()
    torch.testing.assert_close(grid, grid[:1].expand(6, 6))
    assert torch.equal(state["cls_token"], FeatureExtractor(own).network.state_dict()["model.cls_token"])


@pytest.mark.parametrize("name", ["test_vit", "vit_small_patch14_dinov2.lvd142m"])
def test_a_size_that_a_patch_does_not_divide_is_told_before_anything_is_fetched(name: str) -> None:
    with pytest.raises(
        UserError, match=rf"backbone\.input_size: '{name}' cannot take images of 225 pix"
    ) as told:
        FeatureExtractor(Network(name=name, input_size=225))
    assert "multiple of its patch size" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.fixture
def several(tmp_path: Path) -> Backbone:
    chosen = {"test_vit": [2, 5], "mobilenetv3_small_050": [1]}
    further = [{"name": n, "weights": drawn(tmp_path, n)[1], "stages": own} for n, own in chosen.items()]
    return settings(stages=[2, 3], input_size=96, feature_size=7, others=further)


def test_several_networks_are_concatenated(several: Backbone) -> None:
    """Each normalised as it was trained."""
    pixels = images(2, 96)
    with torch.inference_mode():
        extractor = FeatureExtractor(several)
        parts = [FeatureExtractor(own) for own in several.networks]
        expected = torch.cat([part(pixels) for part in parts], 1)
        again = FeatureExtractor(several, extractor.state_dict())
        assert torch.equal(extractor(pixels), expected)
        assert torch.equal(again(pixels), expected)
    assert extractor.channels == expected.shape[1] == 40 + 112 + 2 * 64 + 8
    assert not torch.equal(parts[0].mean, parts[2].mean)
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


def test_the_channels_of_stages_are_found_without_weights(several: Backbone) -> None:
    assert channels_of(settings(weights="hub"), [1, 3]) == [*range(16, 40), *range(80, 192)]
    assert channels_of(several, [2]) == [*range(40), *range(152, 216)], "of each network that has it"
    assert channels_of(several, [1]) == [*range(280, 288)]


def test_several_networks_have_a_digest_each(several: Backbone) -> None:
    found = pretrained(several)
    assert [network.name for network in found] == [LITE, "test_vit", "mobilenetv3_small_050"]
    assert found[0].digest() == pretrained(settings())[0].digest()
    assert found[1].digest() == pretrained(several.networks[1])[0].digest()


def test_the_digest_of_a_package_is_known() -> None:
    """That of a single network does not change: results that are stored with it stay valid."""
    known = "1753a5a70bb237c830e45426957079ff653fa04a91c9f098797212bf1379cb5a"
    assert pretrained(settings())[0].digest() == known


def test_a_single_network_is_written_as_before_there_were_several(several: Backbone) -> None:
    keys = ["name", "weights", "input_size", "feature_size", "stages"]
    assert list(settings().model_dump(mode="json")) == keys
    assert list(several.model_dump()) == [*keys, "others"]
    assert Backbone.model_validate(several.model_dump(mode="json")) == several
    assert several.title == "tf_efficientnet_lite0 + test_vit + mobilenetv3_small_050"
