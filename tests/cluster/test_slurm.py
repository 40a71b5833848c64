"""The slurm profile: the requests of each rule, and the whole chain through a real SLURM."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm
from running import call, digests

pytestmark = pytest.mark.slurm

SMALL = Path(__file__).with_name("small.yaml")
RESULTS = Path("results/small")
#: Trainings as on the cluster, where each has four cores (or all, if there are fewer).
AS_THERE = ["--set-threads", "train=4", "features=4"]
CANCELLED = "train.seed0.diffusion.log"


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    if reason := slurm.why_not():
        if os.environ.get("DRDC_REQUIRE_SLURM"):
            pytest.fail(reason)
        pytest.skip(reason)
    with slurm.running():
        yield


@pytest.fixture(scope="module")
def run(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chain, run through SLURM; its diffusion training is cancelled once."""
    folder = tmp_path_factory.mktemp("slurm")
    options = ["--workflow-profile", "slurm", "--configfile", SMALL, "--jobs", "4"]
    options += ["--slurm-init-seconds-before-status-checks", "2"]
    log = folder / RESULTS / "logs" / CANCELLED
    with (folder / "output.txt").open("w+") as output:
        workflow = subprocess.Popen(**call(folder, *options, quick=False), stdout=output, stderr=output)
        try:
            slurm.wait_until(lambda: workflow.poll() is not None or slurm_job(log), 120, "no training ran")
            slurm.output("scancel", slurm_job(log))
            returned = workflow.wait(timeout=400)
        finally:
            workflow.kill()
        output.seek(0)
        assert returned == 0, output.read()[-5000:]
    return folder


def gpu_of(log: Path) -> tuple[str, str]:
    """(GPU, SLURM job) as the job noted them; empty if it has not begun."""
    text = log.read_text() if log.exists() else ""
    found = re.search(r"computing on GPU (.+) of SLURM job (\d+)", text)
    return (found[1], found[2]) if found else ("", "")


def slurm_job(log: Path) -> str:
    return gpu_of(log)[1]


def test_the_chain_runs_to_its_end_with_the_results_of_a_local_run(run: Path, tmp_path: Path) -> None:
    """Also of the training that was cancelled and tried again."""
    here = call(tmp_path, "--cores", "2", "--configfile", SMALL, *AS_THERE, quick=False)
    local = subprocess.run(**here, capture_output=True, check=False)
    assert local.returncode == 0, local.stderr
    made, expected = digests(run / RESULTS), digests(tmp_path / RESULTS)
    assert set(made) == set(expected)
    exact = [name for name in expected if name.endswith((".safetensors", ".npy", "image_scores.csv"))]
    assert len(exact) >= 8
    assert {name: made[name] for name in exact} == {name: expected[name] for name in exact}


def test_every_gpu_job_has_one_gpu_that_no_other_has_at_that_time(run: Path) -> None:
    times = {job["JobId"]: (job["StartTime"], job["EndTime"]) for job in slurm.finished_jobs()}
    jobs = [gpu_of(log) for log in (run / RESULTS / "logs").glob("*.log")]
    jobs = [(gpu, *times[job]) for gpu, job in jobs if job]
    assert len(jobs) >= 6
    assert {gpu for gpu, _, _ in jobs} <= {str(number) for number in range(slurm.GPUS)}
    together = 0
    for i, (gpu, begin, end) in enumerate(jobs):
        for other, other_begin, other_end in jobs[i + 1 :]:
            if begin < other_end and other_begin < end:
                together += 1
                assert gpu != other
    assert together, "some jobs ran side by side"


def test_a_cancelled_job_asks_for_more_memory_the_next_time(run: Path) -> None:
    trainings = [job["Tres"] for job in slurm.finished_jobs() if "mem=8000M" in job["Tres"]]
    again = [job["Tres"] for job in slurm.finished_jobs() if "mem=16000M" in job["Tres"]]
    assert len(again) == 1
    assert again[0].replace("16000M", "8000M") in trainings
    states = {job["JobState"] for job in slurm.finished_jobs()}
    assert states == {"COMPLETED", "CANCELLED"}
    assert re.search(r"computing on GPU \d of SLURM job", (run / RESULTS / "logs" / CANCELLED).read_text())


def test_time_is_asked_for_by_rule(run: Path) -> None:
    limits = {int(job["TimeLimit"]) for job in slurm.finished_jobs()}
    assert limits == {60, 120, 240, 720, 1440, 2880}
