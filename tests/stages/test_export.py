"""`drdc export`: the same bytes each time, no test image needed, and only numbers that belong to it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from exporting import CHANGES, STAGES, drdc, experiment
from running import planned, snakemake
from stamping import stamped

from drdc import Detector
from drdc.detection.model_file import load_model_file
from drdc.results.heatmaps import DrdcReading
from drdc.results.layout import Layout
from drdc.runtime.digests import sha256_of, sidecar

DETECTOR = "results/tiny/detectors/drdc.safetensors"


def export(folder: Path, *options: str) -> int:
    return drdc(folder, "export", "--config", "config.yaml", "--threads", "1", *options)


@pytest.fixture
def copy(exported: Path, tmp_path: Path) -> Path:
    """The working directory of a copy of the exported experiment."""
    shutil.copytree(exported.parents[1], tmp_path / "copy")
    return tmp_path / "copy"


def test_the_same_command_writes_the_same_bytes(exported: Path, copy: Path) -> None:
    assert export(copy) == 0
    assert sha256_of(copy / DETECTOR) == sha256_of(exported.parents[1] / DETECTOR)


def test_all_networks_are_in_the_file_as_they_were_trained(exported: Path) -> None:
    from safetensors.torch import load_file

    _, tensors, _ = load_model_file(exported)
    for kind in ("base", "diffusion"):
        trained = load_file(exported / f"seed0/{kind}.safetensors")
        for bank in ("memory", "remembered"):  # which this fusion does not use
            trained.pop(bank, None)
        inside = {key.removeprefix(f"{kind}."): v for key, v in tensors.items() if key.startswith(f"{kind}.")}
        assert inside.keys() == trained.keys()
        assert all(inside[key].equal(trained[key]) for key in trained)


def test_calibration_is_made_of_held_out_images_alone(exported: Path) -> None:
    table = pd.read_csv(exported / "seed0/scores/full/image_scores.csv", keep_default_na=False)
    held_out = table[(table.split == "val") & (table.method == "drdc")].sort_values("row")
    calibration = Detector.load(exported).modes["full"].calibration
    np.testing.assert_allclose(calibration.scores, held_out.score, rtol=1e-6)
    assert calibration.categories.tolist() == held_out.category.tolist()
    assert (calibration.peaks >= calibration.scores).all(), "the maximum is at least the pooled maximum"


def test_scores_of_other_settings_are_not_noted(copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["fusion"]["weight"] = 0.4
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    assert export(copy) == 0
    assert "was scored with other settings" in caplog.text
    changed = Detector.load(copy / "results/tiny")
    reading = changed.modes["full"].backend.reading
    assert isinstance(reading, DrdcReading)
    assert reading.fusion.weight == 0.4
    assert changed.modes["full"].accuracy == {}
    assert "loss of accuracy not measured: add 1 to evaluation.sweeps.steps" in changed.about_fast


def test_scores_and_a_self_check_of_an_earlier_model_are_not_noted(
    copy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As they lie there after training on other images, where the workflow needs neither of them any more."""
    noted = Detector.load(copy / DETECTOR)
    assert not noted.self_check.empty
    assert noted.modes["full"].accuracy
    layout = Layout("tiny")
    for name in (layout.self_check(), *(layout.scored(0, run) for run in ("full", "steps=1"))):
        path = copy / name
        lines = sidecar(path).read_text().splitlines(keepends=True)
        assert [line.split()[-1] for line in lines[1:]] == [
            "manifest.csv",
            "seed0/base.safetensors",
            "seed0/diffusion.safetensors",
        ]
        lines[2] = re.sub("[0-9a-f]{64}", "0" * 64, lines[2])
        sidecar(path).write_text("".join(lines))
    assert export(copy) == 0
    again = Detector.load(copy / DETECTOR)
    assert again.self_check.empty
    assert {mode: own.accuracy for mode, own in again.modes.items()} == {"full": {}, "fast": {}}


def test_a_missing_part_is_one_sentence_and_nothing_is_written(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy / DETECTOR).unlink()
    (copy / "results/tiny/seed0/predictions/full/wood.npy").unlink()
    assert export(copy) == 2
    assert "wood.npy: is missing; run `drdc predict` first" in capsys.readouterr().err
    assert export(copy, "--seed", "7") == 2
    assert "seed7/base.safetensors" in capsys.readouterr().err
    assert not (copy / DETECTOR).exists()


def without_tests(folder: Path, exported: Path) -> dict[str, object]:
    """A folder in MVTec layout with normal training images alone, and the settings of an experiment on it."""
    for category in ("capsule", "wood"):
        shutil.copytree(exported / f"dataset/{category}/train", folder / f"data/{category}/train")
    return {**CHANGES["dataset"], "name": "mvtec", "root": str(folder / "data")}


def test_a_dataset_without_any_test_image_gives_a_detector(exported: Path, tmp_path: Path) -> None:
    dataset = without_tests(tmp_path, exported)
    stages = [one for one in STAGES if "score" not in one and "steps" not in one]
    folder = experiment(tmp_path, stages, dataset=dataset, diffusion={"images": 16})
    detector = Detector.load(folder)
    assert detector.modes["full"].accuracy == {}
    assert len(detector.modes["full"].calibration.scores) == 20
    assert np.isfinite(detector.detect(tmp_path / "data/wood/train/good/000.png").score)


def test_the_workflow_scores_for_the_detector_only_where_there_are_test_images(
    exported: Path, tmp_path: Path
) -> None:
    dataset = without_tests(tmp_path, exported)
    experiment(tmp_path, [], dataset=dataset)
    options = ("detector", "--configfile", str(tmp_path / "config.yaml"), "--dry-run")
    alone = {"prepare": 1, "weights": 1, "images": 2, "features": 1, "groups": 1}
    alone |= {"train": 2, "predict": 2, "self_check": 1, "export": 1}
    found = planned(snakemake(tmp_path, *options).stdout)
    assert {rule: n for rule, n in found.items() if rule != "detector"} == alone
    shutil.copytree(exported / "dataset/wood/test", tmp_path / "data/wood/test")
    found = planned(snakemake(tmp_path, *options).stdout)
    assert {rule: n for rule, n in found.items() if rule != "detector"} == alone | {
        "predict": 3,
        "score": 2,
    }


def test_another_backbone_than_that_of_the_features_is_refused(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where a file of weights was replaced since."""
    assert drdc(copy, "weights", "backbone", "--config", "config.yaml") == 0
    assert export(copy) == 0
    noted = copy / "results/tiny/weights/backbone.json"
    (network,) = json.loads(noted.read_text())
    noted.write_text(json.dumps([network | {"sha256": "0" * 64}]))
    stamped(noted)
    assert export(copy) == 2
    assert "backbone.weights: the network is no longer the one of " in capsys.readouterr().err
