"""The cluster-generic profile, unchanged, on a mock PBS that runs jobs in the background."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from running import call
from slurm import wait_until

PBS = Path(__file__).with_name("pbs")
SMALL = Path(__file__).with_name("small.yaml")
MODEL = "results/small/seed0/base.safetensors"


def environment(jobs: Path) -> dict[str, str]:
    jobs.mkdir(exist_ok=True)
    return {"PRETENDED_PBS": str(jobs), "PATH": f"{PBS}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.long
def test_jobs_go_through_the_scheduler_and_a_deleted_one_is_tried_again_with_more_memory(
    tmp_path: Path,
) -> None:
    jobs = tmp_path / "jobs"
    workflow = call(
        tmp_path, MODEL, "--configfile", SMALL, "--workflow-profile", "cluster-generic", quick=False
    )
    workflow["env"] |= environment(jobs) | {"PATH": f"{PBS}{os.pathsep}{workflow['env']['PATH']}"}
    with (tmp_path / "output.txt").open("w+") as output:
        running = subprocess.Popen(**workflow, stdout=output, stderr=output)
        try:
            wait_until(
                lambda: running.poll() is not None or asked(jobs, "features"), 120, "nothing was submitted"
            )
            (id_,) = asked(jobs, "features")
            wait_until((jobs / f"{id_}.pid").exists, 10, "it was not begun")
            subprocess.run([PBS / "qdel", id_], check=True, env=os.environ | environment(jobs))
            returned = running.wait(timeout=300)
        finally:
            running.kill()
        output.seek(0)
        assert returned == 0, output.read()[-5000:]
    assert (tmp_path / MODEL).is_file()
    features = list(asked(jobs, "features").values())
    assert len(features) == 2
    assert "-l select=1:ncpus=4:mem=4000mb:ngpus=1 -l walltime=4:00:00 " in features[0]
    assert "-l select=1:ncpus=4:mem=8000mb:ngpus=1 -l walltime=4:00:00 " in features[1]
    (prepare,) = asked(jobs, "prepare").values()
    assert "-l select=1:ncpus=4:mem=2000mb -l walltime=4:00:00 " in prepare
    assert len(asked(jobs, "train")) == 1


def asked(jobs: Path, rule: str) -> dict[str, str]:
    """Id and options of the jobs of a rule, in the order of their submission."""
    texts = {path.name.removesuffix(".asked"): path.read_text() for path in sorted(jobs.glob("*.asked"))}
    return {id_: text for id_, text in texts.items() if f"-N {rule} " in text}
