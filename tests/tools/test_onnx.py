"""`drdc onnx`: another runtime computes the same base heatmap."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from exporting import drdc

from drdc import Detector
from drdc.equations.fusion import feature_error, upsample_base
from drdc.methods.drdc.predictor import DrdcPredictor
from drdc.tools.onnx import base_heatmap


@pytest.fixture(scope="module")
def written(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "base.onnx"
    assert drdc(path.parent, "onnx", "--model", str(exported), "--output", str(path)) == 0
    return path


@pytest.mark.parametrize("batch", [1, 3])
def test_onnxruntime_gives_the_same_heatmap_for_any_batch(exported: Path, written: Path, batch: int) -> None:
    """As the exported module in torch, and as the workflow computes it."""
    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (batch, 3, 64, 64), dtype=np.uint8)
    (found,) = session.run(["heatmap"], {"image": pixels})
    backend = Detector.load(exported).modes["full"].backend
    assert isinstance(backend.predictor, DrdcPredictor)
    assert backend.features is not None
    extractor, base = backend.features.extractor, backend.predictor.base
    with torch.inference_mode():
        expected = base_heatmap(extractor, base, 32)(torch.from_numpy(pixels)).numpy()
        features = extractor(torch.from_numpy(pixels))
        workflow = upsample_base(feature_error(features, base(features)), 32).numpy()
    assert found.shape == (batch, 32, 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(found, workflow, rtol=1e-4)


def test_the_file_holds_its_weights_itself(written: Path) -> None:
    assert [path.name for path in written.parent.iterdir()] == ["base.onnx"]
    assert written.stat().st_size > 1_000_000


def test_a_missing_package_is_named_with_what_installs_it(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else known(name))
    output = tmp_path / "base.onnx"
    assert drdc(tmp_path, "onnx", "--model", str(exported), "--output", str(output)) == 2
    assert "onnx is not installed; run `pip install -e '.[onnx]'`" in capsys.readouterr().err
    assert not output.exists()


def test_a_bad_model_or_folder_is_one_sentence(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drdc(tmp_path, "onnx", "--model", "none", "--output", "base.onnx") == 2
    assert "none: is missing" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert drdc(tmp_path, "onnx", "--model", str(exported), "--output", "file/base.onnx") == 2
    error = capsys.readouterr().err
    assert "cannot be written" in error
    assert "Traceback" not in error
