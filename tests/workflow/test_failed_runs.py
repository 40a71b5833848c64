"""How a run ends in which jobs failed, with commands that only write empty files (`fake/drdc`)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from running import TINY, call, planned

FAKE = Path(__file__).with_name("fake")
RESULTS = Path("results/tiny")
BAD = "images.npy: a digest differs; remove the file"
ENDING = f"""\
drdc: 1 job failed; fix the cause, and the same command runs what is missing
  predict (seed=0, predictions=full, part=wood): {BAD}
    log: results/tiny/logs/predict.seed0.full.wood.log
"""


def run(
    folder: Path, *options: str | Path, failures: dict[str, str | None] | None = None
) -> subprocess.CompletedProcess[str]:
    workflow = call(folder, *options, "--cores", "2", "--configfile", TINY)
    workflow["env"] |= {
        "PATH": f"{FAKE}{os.pathsep}{workflow['env']['PATH']}",
        "FAKE_FAILURES": json.dumps(failures or {}),
    }
    (folder / "partial_report.txt").unlink(missing_ok=True)
    return subprocess.run(**workflow, capture_output=True, check=False)


def in_part(folder: Path) -> list[str]:
    path = folder / "partial_report.txt"
    return path.read_text().split() if path.exists() else []


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("table2", ["score.seed0.full", "tables.table2"]),
        ("fig2", ["figures.fig2", "score.seed0.full", "score.seed0.grid_sizes=4", "score.seed0.weight=0.5"]),
        ("fig3", ["figures.fig3", "score.seed0.full"]),
        ("results/tiny/seed0/scores/full/scores.csv", ["score.seed0.full"]),
        ("detector", ["score.seed0.full"]),
    ],
)
def test_after_a_failure_only_what_was_asked_for_is_made(
    tmp_path: Path, target: str, wanted: list[str]
) -> None:
    failed = run(tmp_path, target, failures={"predict.seed0.full.wood": BAD})
    assert failed.returncode == 1
    assert failed.stderr.endswith(ENDING)
    assert in_part(tmp_path) == wanted
    assert not (tmp_path / RESULTS / "costs.csv").exists()


@pytest.mark.parametrize("options", [["--quiet", "all"], ["--verbose"], ["--workflow-profile", "none"]])
def test_the_last_lines_name_the_cause_whatever_else_is_printed(tmp_path: Path, options: list[str]) -> None:
    failed = run(tmp_path, "table2", *options, failures={"predict.seed0.full.wood": BAD})
    assert failed.returncode == 1
    assert failed.stderr.endswith(ENDING)
    if "none" in options:
        assert not in_part(tmp_path), "the first failure ends the run"


def test_several_jobs_fail_and_one_without_a_word(tmp_path: Path) -> None:
    """The others go on; each that failed is named."""
    failures = {"predict.seed0.full.wood": BAD, "train.seed0.unconditional": None, "costs": "no clock"}
    failed = run(tmp_path, "everything", failures=failures)
    assert failed.returncode == 1
    told = failed.stderr[failed.stderr.rindex("drdc: 3 jobs failed") :]
    assert f"  predict (seed=0, predictions=full, part=wood): {BAD}\n    log: " in told
    assert "  costs: no clock\n    log: results/tiny/logs/costs.log\n" in told
    assert "  train (seed=0, model=unconditional): it was killed or crashed; its log ends with: " in told
    assert "    log: results/tiny/logs/train.seed0.unconditional.log\n" in told
    wanted = in_part(tmp_path)
    assert {"collect", "tables.table2", "tables.table5", "figures.fig3"} < set(wanted)
    assert not {"tables.inference", "figures.pareto", "costs"} & set(wanted)


def test_scores_of_older_settings_are_not_taken_for_new_ones(tmp_path: Path) -> None:
    """What a failed job should have replaced is removed before tables are made; trained models stay."""
    assert run(tmp_path, "table5").returncode == 0
    changed = ["table5", "--config", "sampling={steps: 3}"]
    failed = run(tmp_path, *changed, failures={"predict.seed0.TTC.all": BAD})
    assert failed.returncode == 1
    scores = tmp_path / RESULTS / "seed0/scores"
    assert not (scores / "TTC/scores.csv").exists()
    assert (scores / "MC/scores.csv").exists()
    assert (tmp_path / RESULTS / "seed0/unconditional.safetensors").exists()
    assert in_part(tmp_path) == ["tables.table5"]


def test_a_training_that_fails_before_it_finds_itself_finished_keeps_its_model(tmp_path: Path) -> None:
    """As with new test images, and another process on the GPU. The model may be of older settings, too."""
    assert run(tmp_path, "table2", "losses").returncode == 0
    failed = run(tmp_path, "table2", "losses", "--forcerun", "prepare", failures={"train.seed0.base": BAD})
    assert failed.returncode == 1
    for name in ("base.safetensors", "base.losses.csv", "predictions/full/wood.npy"):
        assert (tmp_path / RESULTS / "seed0" / name).exists(), name
    assert in_part(tmp_path) == ["tables.table2"], "without a figure of older losses"
    again = run(tmp_path, "results/tiny/seed0/base.safetensors", "--dry-run")
    assert planned(again.stdout + again.stderr) == {"train": 1}


def test_predictions_of_a_failed_job_are_found_again_if_they_are_valid(tmp_path: Path) -> None:
    """The partial report must not read them: they may be of older settings."""
    assert run(tmp_path, "table2").returncode == 0
    predictions = tmp_path / RESULTS / "seed0/predictions/full/wood.npy"
    predictions.write_bytes(b"hours")
    note = tmp_path / RESULTS / "state/seed0-predict-full-wood.json"
    note.parent.mkdir()
    note.touch()
    failed = run(
        tmp_path, "table2", "--forcerun", "groups", "predict", failures={"predict.seed0.full.wood": BAD}
    )
    assert failed.returncode == 1
    assert in_part(tmp_path) == ["score.seed0.full", "tables.table2"]
    assert not predictions.exists()
    assert note.with_suffix(".npy").read_bytes() == b"hours"


def test_what_was_made_in_part_is_made_again_without_the_failed_method(tmp_path: Path) -> None:
    targets, method = ("results/tiny/scores.csv", "table2"), ("--config", "methods={simplenet: {}}")
    assert run(tmp_path, *targets, *method, failures={"train.seed0.simplenet": BAD}).returncode == 1
    assert in_part(tmp_path) == ["collect", "tables.table2"]
    plan = run(tmp_path, *targets, "--dry-run")
    assert planned(plan.stdout + plan.stderr) == {"collect": 1, "tables": 1, "table2": 1}
    assert run(tmp_path, *targets).returncode == 0
    again = run(tmp_path, *targets, "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_where_nothing_can_be_made_the_results_of_an_earlier_run_stay(tmp_path: Path) -> None:
    assert run(tmp_path, "table2").returncode == 0
    again = ["table2", "--forcerun", "prepare"]
    failed = run(tmp_path, *again, failures={"prepare": "data/mvtec: there is no such folder"})
    assert failed.stderr.endswith(
        "  prepare: data/mvtec: there is no such folder\n    log: results/tiny/logs/prepare.log\n"
    )
    assert in_part(tmp_path) == []
    for name in ("seed0/scores/full/scores.csv", "seed0/base.safetensors", "tables/table2.md"):
        assert (tmp_path / RESULTS / name).exists(), name


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["table2", "--config", "fusion={wieght: 1}"], "drdc: configuration: fusion.wieght: unknown key"),
        (["table2", "--resources", "gpu=0"], "drdc: rule features asks for 1 GPUs, but --resources gpu=0"),
    ],
)
def test_what_is_wrong_before_any_job_is_the_last_line(
    tmp_path: Path, options: list[str], cause: str
) -> None:
    refused = run(tmp_path, *options, "--quiet", "all")
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith(cause)


@pytest.mark.parametrize(
    "target",
    [
        "results/other/scores.csv",
        "results/tiny2/seed0/base.safetensors",
        "results/tiny/seed7/base.safetensors",
        "results/tiny/seed0/nothere.safetensors",
        "results/tiny/seed0/predictions/full/zebra.npy",
        "results/tiny/detectors/nope.safetensors",
        "results/tiny/weights/nothere.json",
    ],
)
def test_what_is_not_of_the_experiment_is_not_made(tmp_path: Path, target: str) -> None:
    refused = run(tmp_path, target, "--dry-run")
    told = refused.stdout + refused.stderr
    assert refused.returncode == 1
    assert f"No rule to produce {target}" in told
    assert "Traceback" not in told


def test_a_run_that_is_stopped_makes_nothing_and_says_how_to_go_on(tmp_path: Path) -> None:
    workflow = call(tmp_path, "table2", "--cores", "2", "--configfile", TINY, quick=False)
    workflow["env"] |= {
        "PATH": f"{FAKE}{os.pathsep}{workflow['env']['PATH']}",
        "FAKE_FAILURES": '{"features": "SLEEP"}',
    }
    running = subprocess.Popen(**workflow, stderr=subprocess.PIPE, process_group=0)
    try:
        while not (tmp_path / RESULTS / "logs/features.log").exists():
            assert running.poll() is None
            time.sleep(0.1)
        os.killpg(running.pid, signal.SIGINT)
        _, told = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 1
    assert told.splitlines()[-1].startswith("drdc: stopped before the end; the same command resumes")
    assert in_part(tmp_path) == []


def test_a_recommendation_goes_with_the_methods_that_it_compared(tmp_path: Path) -> None:
    """`drdc detect --model results/tiny` would go on using it after DRDC was trained anew."""
    recommended = tmp_path / RESULTS / "recommended.safetensors"
    assert run(tmp_path, "detector", "--config", "methods={simplenet: {}}").returncode == 0
    assert recommended.exists()
    assert run(tmp_path, "detector", "--config", "base={epochs: 3}").returncode == 0
    assert not recommended.exists()
