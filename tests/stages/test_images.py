"""Images at the size that a method reads, made from the original files, and the features that follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from drdc import cli
from drdc.config.backbone import Backbone
from drdc.config.dataset import Dataset
from drdc.data.images import read_rgb, to_square
from drdc.data.manifest import read_manifest
from drdc.models.backbone import FeatureExtractor
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError
from drdc.runtime.files import load_array
from drdc.stages.features import features
from drdc.stages.images import images
from drdc.stages.prepare import prepare

OWN = Layout("own")
DATASET = Dataset.model_validate({"root": "data", "categories": ["nut"], "image_size": 16})
LITE = Backbone(name="tf_efficientnet_lite0", weights="package", input_size=48, feature_size=3)


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """Eleven images of one category, neither square nor of one size, as a working directory."""
    monkeypatch.chdir(tmp_path)
    for number in range(11):
        pixels = np.random.default_rng(number).integers(0, 256, (60, 70 + number, 3), dtype=np.uint8)
        path = Path(f"data/nut/{'train' if number else 'test'}/good/{number:02}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    prepare(OWN, dataset=DATASET)
    return OWN


def test_each_size_is_made_from_the_original_files(prepared: Layout) -> None:
    table = read_manifest(prepared.manifest)
    for size in (16, 48):
        images(prepared, size, dataset=DATASET)
        stored = load_array(prepared.images(size), len(table), f"images {size}")
        assert stored.dtype == np.uint8
        expected = np.stack([to_square(read_rgb(Path("data") / path), size) for path in table.path])
        assert np.array_equal(stored, expected)


def test_features_are_those_of_the_original_files_to_the_bit(prepared: Layout) -> None:
    images(prepared, 48, dataset=DATASET)
    features(prepared, backbone=LITE)
    table = read_manifest(prepared.manifest)
    stored = load_array(prepared.features, len(table), "features")
    extractor = FeatureExtractor(LITE)
    for start in range(0, len(table), 8):
        originals = [to_square(read_rgb(Path("data") / path), 48) for path in table.path[start : start + 8]]
        with torch.inference_mode():
            expected = extractor(torch.from_numpy(np.stack(originals)).permute(0, 3, 1, 2)).half().numpy()
        assert np.array_equal(stored[start : start + 8], expected)


def test_an_image_that_has_changed_since_is_refused_and_leaves_nothing(prepared: Layout) -> None:
    path = Path("data") / read_manifest(prepared.manifest).path.iloc[-1]
    path.write_bytes(path.read_bytes() + b"x")  # the same pixels
    with pytest.raises(UserError, match="has changed since it was prepared"):
        images(prepared, 16, dataset=DATASET)
    assert not list(prepared.images(16).parent.iterdir())


def test_the_command_takes_a_size_and_the_next_one_names_it(
    prepared: Layout, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "HF_HUB_OFFLINE"):
        monkeypatch.setenv(name, "1")
    Path("own.yaml").write_text(
        "experiment: own\ndataset: {root: data, categories: [nut], image_size: 32}\n"
        "backbone: {name: tf_efficientnet_lite0, weights: package, input_size: 48, feature_size: 14}\n"
    )
    options = ("--config", "own.yaml", "--threads", "1")
    assert cli.main(["features", *options]) == 2
    assert f"{prepared.images(48)}: is missing; run `drdc images 48` first" in capsys.readouterr().err
    assert cli.main(["images", "48", *options]) == 0
    assert cli.main(["features", *options]) == 0


def test_images_of_another_manifest_are_refused(prepared: Layout) -> None:
    images(prepared, 48, dataset=DATASET)
    Path("data/nut/test/good/00.png").rename("data/nut/test/good/0.png")
    prepare(prepared, dataset=DATASET)
    with pytest.raises(UserError, match=r"images/48\.npy: belongs to another manifest"):
        features(prepared, backbone=LITE)
