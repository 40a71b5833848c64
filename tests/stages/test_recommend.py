"""`drdc recommend`: the best method's detector is written, and `drdc detect` takes it and says so."""

from __future__ import annotations

import shutil
from contextlib import chdir
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from exporting import drdc

from drdc import Detector
from drdc.results.benchmarks import note_training
from drdc.results.layout import Layout
from drdc.results.scores import read_numbers, write_table

STAGES = ("train", "predict", "score", "self-check")


@pytest.fixture(scope="module")
def project(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of a copy of the exported experiment, with another method."""
    folder = shutil.copytree(exported.parents[1], tmp_path_factory.mktemp("recommend") / "project")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["methods"] = {"simplenet": {"epochs": 1, "width": 16}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for stage in STAGES:
        assert drdc(folder, stage, "simplenet", "--config", "config.yaml", "--threads", "1") == 0
    return folder


def decide(folder: Path, best: str) -> None:
    """Write self-checks in which one method ranks all defects above the normal images, and the other none."""
    with chdir(folder):
        for name in ("drdc", "simplenet"):
            path = Layout("tiny").self_check(name)
            rows = read_numbers(path, "self_check", "self-check")
            defect = rows["kind"].notna() & (rows["kind"] != "")
            spread = pd.Series(range(len(rows))) / len(rows)
            write_table(path, rows.assign(score=spread + (10 if name == best else -10) * defect))


@pytest.mark.parametrize("best", ["simplenet", "drdc"])
def test_the_best_is_written_and_taken_by_detect(
    project: Path, best: str, capsys: pytest.CaptureFixture[str]
) -> None:
    decide(project, best)
    assert drdc(project, "recommend", "--config", "config.yaml", "--threads", "1") == 0
    found = Detector.load(project / "results/tiny")
    assert found.method == best
    assert list(found.recommended.values()) == [1.0, 0.0]
    assert not found.self_check.empty
    lines = (project / "results/tiny/recommended.txt").read_text().splitlines()
    assert lines[0].startswith(f"Use results/tiny/recommended.safetensors ({best}): it finds ")
    assert len(lines) == 2
    image = next((project / "results/tiny/dataset").glob("*/test/*/*.png"))
    command = ("detect", "--model", "results/tiny", "--output", "out", str(image))
    assert drdc(project, *command, "--false-alarm-rate", "0.2") == 0
    said = capsys.readouterr().out
    other = "drdc" if best == "simplenet" else "simplenet"
    assert (
        f"Model: {best}, recommended by the self-check (image AUROC {best} 100.0 %, {other} 0.0 %)." in said
    )
    named = Detector.load(project / "results/tiny/detectors/drdc.safetensors")
    assert named.method == "drdc"
    assert named.recommended == {}


def test_the_same_command_writes_the_same_bytes(project: Path) -> None:
    both = []
    for _ in range(2):
        assert drdc(project, "recommend", "--config", "config.yaml", "--threads", "1") == 0
        both.append((project / "results/tiny/recommended.safetensors").read_bytes())
    assert both[0] == both[1]


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("drdc", {"fusion": {"filter_size": 3, "pool_size": 3, "weight": 0.5}}),
        ("simplenet", {"methods": {"simplenet": {"epochs": 1, "width": 8}}}),
    ],
)
def test_a_self_check_of_other_settings_is_refused(
    project: Path, name: str, changed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((project / "config.yaml").read_text())
    (project / "changed.yaml").write_text(yaml.safe_dump(config | changed))
    assert drdc(project, "recommend", "--config", "changed.yaml", "--threads", "1") == 2
    said = f"self_check/{name}.csv: is of other settings; run `drdc self-check {name}` again"
    assert said in capsys.readouterr().err


def test_the_time_told_is_that_of_the_training_and_not_of_its_last_call(project: Path) -> None:
    decide(project, "simplenet")
    with chdir(project):
        layout = Layout("tiny")
        layout.benchmarks.mkdir(exist_ok=True)
        # What the workflow measures of a training that is finished already.
        (layout.benchmarks / "train.seed0.diffusion.tsv").write_text("s\th:m:s\n2.0\t0:00:02\n")
        note_training(layout, 0, "diffusion", 1200.0)
    assert drdc(project, "recommend", "--config", "config.yaml", "--threads", "1") == 0
    assert " in 20 minutes, repeats included; " in (project / "results/tiny/recommended.txt").read_text()


def test_a_missing_self_check_is_one_sentence(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "results/tiny/self_check/simplenet.csv").rename(project / "away.csv")
    assert drdc(project, "recommend", "--config", "config.yaml", "--threads", "1") == 2
    assert "self_check/simplenet.csv: is missing; run `drdc self-check` first" in capsys.readouterr().err
    (project / "away.csv").rename(project / "results/tiny/self_check/simplenet.csv")
