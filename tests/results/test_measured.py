"""What was measured of jobs: a training's time is that of all its calls."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drdc.results.benchmarks import is_outdated, measured, note_training
from drdc.results.layout import Layout

LAYOUT, JOB = Layout("tiny"), "train.seed0.base"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    LAYOUT.benchmarks.mkdir(parents=True)
    (LAYOUT.benchmarks / f"{JOB}.tsv").write_text("s\th:m:s\tmax_rss\n3.5\t0:00:03\t-\n")


def test_without_its_own_note_the_workflow_has_measured_a_training() -> None:
    assert measured(LAYOUT, JOB)["s"] == 3.5
    assert measured(LAYOUT, JOB).isna()["max_rss"]


def test_a_training_that_was_found_finished_keeps_its_time() -> None:
    note_training(LAYOUT, 0, "base", 7200.0)
    assert measured(LAYOUT, JOB)["s"] == 7200
    assert measured(LAYOUT, JOB)["h:m:s"] == "0:00:03"


@pytest.mark.parametrize(("later", "outdated"), [(-60, False), (1, False), (60, True)])
def test_a_log_that_is_newer_is_of_a_job_that_failed_or_runs(later: int, outdated: bool) -> None:
    log = LAYOUT.log(JOB)
    log.parent.mkdir()
    log.touch()
    moment = (LAYOUT.benchmarks / f"{JOB}.tsv").stat().st_mtime + later
    os.utime(log, (moment, moment))
    assert is_outdated(LAYOUT, JOB) == outdated
    assert not is_outdated(LAYOUT, "train.seed0.other"), "of which nothing is known"
