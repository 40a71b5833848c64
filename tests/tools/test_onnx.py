"""`drdc onnx`: another runtime gives the scores, decisions and heatmaps of `drdc detect --fast`."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
import yaml
from exporting import STAGES, drdc, experiment
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from drdc import Detector
from drdc.config.variants import BEYOND
from drdc.data.images import to_square
from drdc.data.synthetic import render
from drdc.detection.network import resized

RATE = 0.1


@pytest.fixture(scope="module")
def written(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(exported, tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def session(written: Path) -> Any:
    return opened(written)


def write(model: Path, folder: Path) -> Path:
    """The detector of a model as a file for other runtimes, in that folder."""
    path = folder / "detector.onnx"
    command = ("onnx", "--model", str(model), "--output", str(path), "--false-alarm-rate", str(RATE))
    assert drdc(folder, *command) == 0
    return path


def opened(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def same_scores(model: Path, folder: Path, images: list[np.ndarray]) -> list[float]:
    """The scores that the file gives, which are those of `drdc detect --fast`."""
    session, detector = opened(write(model, folder)), Detector.load(model, precision="fp32")
    found = detector.detect_many(images, false_alarm_rate=RATE, fast=True)
    scores = [float(session.run(["score"], {"image": image})[0]) for image in images]
    for score, expected in zip(scores, found, strict=True):
        assert abs(score - expected.score) < 1e-3 * abs(expected.threshold)
    return scores


def photos(categories: list[str]) -> list[np.ndarray]:
    """50 images of several sizes, half of them with a defect."""
    found = []
    for number in range(50):
        category = categories[number % len(categories)]
        kind = ("good", "broken" if category == "capsule" else "stain")[number // 2 % 2]
        image, _ = render(category, kind, number, split="test", seed=1, size=(48, 64, 100)[number % 3])
        shape = (image.shape[1], image.shape[0] + 7 * (number % 4))
        found.append(np.asarray(Image.fromarray(image).resize(shape)))
    return found


def test_fifty_images_have_the_score_of_detect_fast_and_its_decision(exported: Path, session: Any) -> None:
    detector = Detector.load(exported, precision="fp32")
    images = photos(detector.categories)
    for image, expected in zip(
        images, detector.detect_many(images, false_alarm_rate=RATE, fast=True), strict=True
    ):
        score, threshold, anomalous, heatmap, pixel_threshold, category = session.run(None, {"image": image})
        assert abs(score - expected.score) < 1e-3 * abs(expected.threshold)
        assert threshold == pytest.approx(expected.threshold, rel=1e-6)
        assert pixel_threshold == pytest.approx(expected.pixel_threshold, rel=1e-6)
        assert anomalous == (score > threshold)
        assert detector.categories[category] == expected.most_like
        assert heatmap.shape == (detector.image_size,) * 2
        whole = Image.fromarray(heatmap).resize(expected.image.size, Image.Resampling.BILINEAR)
        if min(image.shape[:2]) >= detector.image_size:
            difference = np.abs(np.asarray(whole) - expected.heatmap)
            assert difference.max() < 5e-3 * np.abs(expected.heatmap).max()


@pytest.mark.long
def test_a_vision_transformer_and_a_second_network_as_backbone(tmp_path: Path) -> None:
    """The exported detector and the file for other runtimes hold both, and need no other file."""
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_vit", pretrained=False).state_dict(), weights)
    further = {"name": "tf_efficientnet_lite0", "weights": "package", "stages": [2]}
    backbone = {"name": "test_vit", "weights": str(weights), "stages": [1, 3], "others": [further]}
    stages = [stage for stage in STAGES if "steps=1" not in stage and stage != "self-check"]
    model = experiment(tmp_path, stages, backbone=backbone)
    weights.unlink()
    same_scores(model, tmp_path, photos(Detector.load(model).categories)[:6])


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([16, 32, 56]), st.integers(0, 2**31 - 1))
@settings(max_examples=60, deadline=None)
def test_an_image_is_resized_as_pillow_does_to_the_last_bit(
    height: int, width: int, size: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = to_square(Image.fromarray(image), size)
    found = resized(torch.from_numpy(image), size)
    np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_the_file_holds_its_weights_and_says_what_it_is(exported: Path, written: Path, session: Any) -> None:
    assert [path.name for path in written.parent.iterdir()] == ["detector.onnx"]
    assert written.stat().st_size > 1_000_000
    about = json.loads(session.get_modelmeta().custom_metadata_map["drdc"])
    detector = Detector.load(exported)
    assert about["categories"] == detector.categories
    assert about["false_alarm_rate"] == RATE
    assert about["provenance"] == detector.provenance


def test_a_missing_package_is_named_with_what_installs_it(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else known(name))
    output = tmp_path / "detector.onnx"
    assert drdc(tmp_path, "onnx", "--model", str(exported), "--output", str(output)) == 2
    assert "onnx is not installed; run `pip install -e '.[onnx]'`" in capsys.readouterr().err
    assert not output.exists()


def test_a_bad_model_rate_or_folder_is_one_sentence(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, output, rate, said in (
        ("none", "detector.onnx", "0.1", "none: is missing"),
        (str(exported), "detector.onnx", "0.0001", "held-out"),
        (str(exported), "file/detector.onnx", "0.1", "cannot be written"),
    ):
        (tmp_path / "file").touch()
        command = ("onnx", "--model", model, "--output", output, "--false-alarm-rate", rate)
        assert drdc(tmp_path, *command) == 2
        error = capsys.readouterr().err
        assert said in error
        assert "Traceback" not in error


def test_a_detector_with_a_memory_bank_is_the_same_as_a_file_for_other_runtimes(
    exported: Path, tmp_path: Path
) -> None:
    """The variant beyond the paper: nearest features, and each diffusion map without its median."""
    shutil.copytree(exported.parents[1], tmp_path / "copy")
    config = yaml.safe_load((tmp_path / "copy/config.yaml").read_text())
    config["fusion"] |= BEYOND["memory+centred"]
    config["evaluation"]["beyond"] = False
    (tmp_path / "copy/config.yaml").write_text(yaml.safe_dump(config))
    for stage in ("score", "score steps=1", "self-check", "export"):
        assert drdc(tmp_path / "copy", *stage.split(), "--config", "config.yaml", "--threads", "1") == 0
    model = tmp_path / "copy/results/tiny"
    with safe_open(model / "detectors/drdc.safetensors", "np") as file:
        assert file.get_tensor("base.memory").shape == (config["base"]["memory"], 40 + 112)
    with safe_open(exported / "detectors/drdc.safetensors", "np") as file:
        assert "base.memory" not in file.keys(), "which nothing would use"  # noqa: SIM118
    images = photos(Detector.load(model).categories)[:8]
    scores = same_scores(model, tmp_path, images)
    plain = Detector.load(exported, precision="fp32").detect_many(images, false_alarm_rate=RATE, fast=True)
    for score, other in zip(scores, plain, strict=True):
        assert score != pytest.approx(other.score, rel=1e-3)
