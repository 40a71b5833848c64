"""`drdc status`: what a run is doing, from its logs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml
from running import TINY

from drdc.cli import main
from drdc.experiment.experiment import load_experiment
from drdc.experiment.stage_settings import handed
from drdc.results.layout import Layout
from drdc.runtime.batching import LINE
from drdc.tools import status
from drdc.tools.status import job_states, keep_telling

LAYOUT = Layout("tiny")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    LAYOUT.log("").parent.mkdir(parents=True)
    LAYOUT.benchmarks.mkdir()
    return tmp_path


def log(name: str, *texts: str, ago: float = 0) -> Path:
    """A log whose lines were written so many seconds ago."""
    stamp = (datetime.now() - timedelta(seconds=ago)).isoformat(" ", "milliseconds").replace(".", ",")
    LAYOUT.log(name).write_text("".join(f"{stamp} {text}\n" for text in texts))
    return LAYOUT.log(name)


@pytest.fixture
def training(here: Path) -> Iterator[Path]:
    """A training that has seen a quarter of its images; its log is open."""
    path = log("train.seed0.diffusion", "100 steps of 8 images", ago=100)
    stamp = datetime.now().isoformat(" ", "milliseconds").replace(".", ",")
    with path.open("a") as file:
        file.write(f"{stamp} {LINE % (2000, 8000, 'images', 300)}\n{stamp}      2000 images  train 0.5\n")
        file.flush()
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=file)
        yield path
        process.communicate(b"\n")


def test_a_running_training_has_its_part_and_its_remaining_time(training: Path) -> None:
    (state,) = job_states(LAYOUT)
    assert (state.name, state.state) == ("train.seed0.diffusion", "running")
    assert state.progress == (2000, 8000, "images")
    assert state.left == pytest.approx(300, rel=0.1)
    assert state.seconds == pytest.approx(100, abs=5)
    assert state.last.endswith("2000 images  train 0.5")


def test_done_failed_and_silent_jobs_are_told_apart(here: Path, training: Path) -> None:
    log("features", "16 feature maps", ago=30)
    (LAYOUT.benchmarks / "features.tsv").write_text("s\th:m:s\n12.5\t0:00:12\n")
    LAYOUT.log("predict.seed0.full.wood").write_text(
        "drdc: results/tiny/base.safetensors: is damaged; train again\n"
    )
    log("prepare", "listing", ago=7)
    states = {one.name: one for one in job_states(LAYOUT)}
    assert {name: one.state for name, one in states.items()} == {
        "train.seed0.diffusion": "running",
        "features": "done",
        "predict.seed0.full.wood": "failed",
        "prepare": "silent",
    }
    assert states["features"].seconds == 12.5
    assert "is damaged" in states["predict.seed0.full.wood"].last


def test_a_job_that_is_not_a_training_takes_as_long_as_others_of_its_rule(here: Path) -> None:
    for name in ("wood", "gear"):
        log(f"predict.seed0.full.{name}", "done", ago=60)
        (LAYOUT.benchmarks / f"predict.seed0.full.{name}.tsv").write_text("s\th:m:s\n40.0\t0:00:40\n")
    path = log("predict.seed0.full.lid", "8 U-Net calls an image", ago=10)
    with path.open("a") as file:
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stdout=file)
        states = {one.name: one for one in job_states(LAYOUT)}
        process.communicate(b"\n")
    assert states["predict.seed0.full.lid"].left == pytest.approx(30, abs=3)


def test_the_command_shows_them_and_what_is_missing(
    here: Path, training: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handed(load_experiment(yaml.safe_load(TINY.read_text())), "about").write()
    LAYOUT.model(0, "base").parent.mkdir(parents=True)
    LAYOUT.model(0, "base").touch()
    time.sleep(0.1)
    assert main(["status"]) == 0
    first, running, last, missing = capsys.readouterr().out.splitlines()
    assert first == "tiny: 0 done, 1 running, 0 failed"
    assert running.startswith("  running train.seed0.diffusion  1:4")
    assert running.partition("; 2,000 of 8,000 images, 25 %, about ")[2].endswith("min left")
    assert last.strip().endswith("train 0.5")
    assert missing.startswith("  still to be made, running ones included: 2 trainings, ")


def test_what_is_missing_follows_the_settings_of_the_last_run(
    here: Path, training: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load(TINY.read_text())
    told = []
    for change in ({}, {"seeds": [0, 1, 2]}, {}):
        handed(load_experiment(config | change), "about").write()
        time.sleep(0.02)
        assert main(["status"]) == 0
        told.append(capsys.readouterr().out.splitlines()[-1])
    assert told[0] == told[2] != told[1]


def test_of_a_study_the_experiments_are_counted_that_are_not_done(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = {"study": {"values": [4, "all"], "draws": 2}}
    handed(load_experiment(yaml.safe_load(TINY.read_text()) | study), "about").write()
    LAYOUT.point("tiny.4.0", ".done").parent.mkdir()
    for left, name in ((2, "tiny.4.0"), (1, "tiny.4.1"), (0, "tiny.all.0")):
        LAYOUT.point(name, ".done").touch()
        assert main(["status"]) == 0
        told = capsys.readouterr().out.splitlines()[-1].partition("included: ")[2]
        assert told == (f"{left} of 3 experiments of the study" if left else "nothing")


def test_progress_of_running_jobs_is_told_again_and_again_and_nothing_of_an_earlier_run(
    here: Path, training: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no process of this computer writes the log, as on a cluster."""
    waits = log("train.seed1.base", LINE % (8, 80, "images", 10))
    os.utime(waits, (time.time() - 60,) * 2)
    monkeypatch.setattr(status, "TOLD_AFTER", 0.01)
    rounds = iter([[waits], [training, waits, LAYOUT.log("not.there")]])

    def running() -> list[Path]:
        training.touch()
        return next(rounds)

    with pytest.raises(StopIteration):
        keep_telling(LAYOUT, running)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train seed0 diffusion: 2,000 of 8,000 images, 25 %, about ")


def test_where_nothing_was_started_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 2
    assert "no experiment was started in this folder; run `snakemake` first" in capsys.readouterr().err
    assert main(["status", "none"]) == 2
    assert "has no logs of a run" in capsys.readouterr().err
