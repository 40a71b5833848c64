"""Files that run a program when they are unpickled: here they run nothing, and one sentence says so."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trainings
from handing import handed_over
from stamping import stamped

from drdc import cli
from drdc.config.backbone import Backbone
from drdc.models.backbone import FeatureExtractor
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError
from drdc.runtime.files import load_array, load_weights, open_array

SMALL = {"name": "tf_efficientnet_lite0", "input_size": 32, "feature_size": 4}


class Hostile:
    """Unpickled by a careless reader, it creates the file that `path` names."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch '{self.path}'",)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that appears only if hostile code ran."""
    return tmp_path / "canary"


def as_zip(path: Path, hostile: Hostile) -> None:
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "extra": hostile}, path)


def as_old_file(path: Path, hostile: Hostile) -> None:
    torch.save({"weight": hostile}, path, _use_new_zipfile_serialization=False)


def as_pickle(path: Path, hostile: Hostile) -> None:
    path.write_bytes(pickle.dumps({"weight": hostile}, protocol=2))


def as_old_pickle(path: Path, hostile: Hostile) -> None:
    path.write_bytes(pickle.dumps({"weight": hostile}, protocol=0))


def as_array(path: Path, hostile: Hostile) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([hostile], dtype=object), allow_pickle=True)


def as_archive_of_arrays(path: Path, hostile: Hostile) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.pkl", pickle.dumps(hostile))


KINDS = [as_zip, as_old_file, as_pickle, as_old_pickle, as_array, as_archive_of_arrays]
Kind = Callable[[Path, Hostile], None]


def sentence(error: BaseException, path: Path) -> None:
    message = str(error)
    assert str(path) in message
    assert "\n" not in message


def test_the_trap_works(tmp_path: Path, canary: Path) -> None:
    """Careless reading does run the code: else the tests below would show nothing."""
    as_zip(tmp_path / "a.pth", Hostile(canary))
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert canary.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_backbone_weights(tmp_path: Path, canary: Path, kind: Kind, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    kind(path, Hostile(canary))
    with pytest.raises(UserError, match=r"backbone\.weights: .* is not a file of weights") as caught:
        FeatureExtractor(Backbone.model_validate(SMALL | {"weights": str(path)}))
    sentence(caught.value, path)
    assert "weights_only" not in str(caught.value), "torch would advise to run the code"
    assert not canary.exists()


def test_backbone_weights_given_to_the_command(
    tmp_path: Path, canary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    trainings.make_data(tmp_path)
    as_zip(tmp_path / "weights.pth", Hostile(canary))
    images = tmp_path / trainings.RESULTS / "images/32.npy"
    np.save(images, np.zeros((24, 32, 32, 3), np.uint8))
    stamped(images)
    backbone = SMALL | {"weights": "weights.pth"}
    config = handed_over(tmp_path, trainings.NAME, "features", backbone=backbone)
    assert cli.main(["features", "--threads", "1", "--config", config]) == 2
    assert "drdc: backbone.weights: weights.pth is not a file of weights" in capsys.readouterr().err
    assert not canary.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_of_a_training(
    tmp_path: Path,
    canary: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: Kind,
) -> None:
    """It is set aside, and the training starts from the beginning."""
    monkeypatch.chdir(tmp_path)
    trainings.make_data(tmp_path)
    state = Layout(trainings.NAME).state(0, "base")
    state.parent.mkdir(parents=True)
    kind(state, Hostile(canary))
    with caplog.at_level("WARNING"):
        assert cli.main(trainings.arguments(tmp_path, "base", epochs=1)) == 0
    assert f"{state} cannot be used" in caplog.text
    assert not canary.exists()
    assert Layout(trainings.NAME).model(0, "base").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_trained_weights(tmp_path: Path, canary: Path, kind: Kind) -> None:
    path = tmp_path / "base.safetensors"
    kind(path, Hostile(canary))
    with pytest.raises(UserError, match="is not a drdc model file") as caught:
        load_weights(path, "base")
    sentence(caught.value, path)
    assert not canary.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_predictions(tmp_path: Path, canary: Path, kind: Kind) -> None:
    path = tmp_path / "all.npy"
    kind(path, Hostile(canary))
    stamped(path)
    with pytest.raises(UserError, match=r"cannot be read .* run `drdc predict` again") as caught:
        open_array(path, "predict")
    sentence(caught.value, path)
    assert not canary.exists()


@pytest.mark.parametrize("kind", KINDS)
def test_features(tmp_path: Path, canary: Path, kind: Kind) -> None:
    path = tmp_path / "features.npy"
    kind(path, Hostile(canary))
    with pytest.raises(UserError, match=r"cannot be verified, .*run `drdc features`") as caught:
        load_array(path, 1, "features")
    sentence(caught.value, path)
    assert not canary.exists()
