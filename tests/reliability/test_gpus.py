"""GPUs under Snakemake, which counts them but gives out none; on GPUs that only exist as names."""

from __future__ import annotations

import re
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from running import ROOT, TINY, call, snakemake

SMALL = ROOT / "tests/cluster/small.yaml"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--resources", "gpu=1", "--set-resources", "train:gpu=2"],
            "rule train asks for 2 GPUs, but --resources gpu=1 allows only 1",
        ),
        (["--resources", "gpu=0"], "rule features asks for 1 GPUs, but --resources gpu=0 allows only 0"),
    ],
)
def test_a_rule_that_would_get_fewer_gpus_stops_the_workflow(
    tmp_path: Path, options: list[str], sentence: str
) -> None:
    """Snakemake alone would cut its number to the limit and say nothing."""
    refused = snakemake(tmp_path, "--configfile", TINY, "--dry-run", *options)
    text = refused.stdout + refused.stderr
    assert refused.returncode == 1
    assert sentence in text
    assert "Traceback" not in text


def test_enough_gpus_are_no_error(tmp_path: Path) -> None:
    options = ["--resources", "gpu=2", "--set-resources", "train:gpu=2"]
    plan = snakemake(tmp_path, "--configfile", TINY, "--dry-run", "--printshellcmds", *options)
    assert plan.returncode == 0, plan.stderr
    assert len(re.findall(r"drdc train \w+ .* --gpu 2 ", plan.stdout + plan.stderr)) == 3


def gpu_and_times(log: Path) -> tuple[str, datetime, datetime]:
    """What a job computed on, when it had got it, and its last line."""
    lines = log.read_text().splitlines()
    begin = next(i for i, line in enumerate(lines) if "computing on GPU" in line)
    stamps = [datetime.fromisoformat(line[:19]) for line in lines[begin:] if line[:2] == "20"]
    return lines[begin].split("computing on GPU ")[1], stamps[0], stamps[-1]


@pytest.mark.long
def test_jobs_side_by_side_have_gpus_of_their_own(tmp_path: Path) -> None:
    experiment = yaml.safe_load(SMALL.read_text()) | {"seeds": [0, 1]}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(experiment))
    models = [
        f"results/small/seed{seed}/{kind}.safetensors" for seed in (0, 1) for kind in ("base", "diffusion")
    ]
    options = [*models, "--configfile", tmp_path / "settings.yaml", "--cores", "4", "--resources", "gpu=4"]
    workflow = call(tmp_path, *options, quick=False)
    workflow["env"] |= {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b,MIG-c,3", "TMPDIR": str(tmp_path)}
    workflow["env"].pop("SLURM_JOB_ID", None)
    done = subprocess.run(**workflow, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    jobs = [gpu_and_times(log) for log in (tmp_path / "results/small/logs").glob("train.*.log")]
    assert len(jobs) == 4
    assert {gpu for gpu, _, _ in jobs} <= {"GPU-a", "GPU-b", "MIG-c", "3"}
    for i, (gpu, begin, end) in enumerate(jobs):
        for other, other_begin, other_end in jobs[i + 1 :]:
            assert gpu != other or end <= other_begin or other_end <= begin


@pytest.mark.long
def test_a_job_with_too_few_gpus_stops_and_says_so(tmp_path: Path) -> None:
    options = ["results/small/features.npy", "--configfile", SMALL, "--cores", "2"]
    workflow = call(tmp_path, *options, "--set-resources", "features:gpu=2", quick=False)
    workflow["env"] |= {"CUDA_VISIBLE_DEVICES": "GPU-a"}
    failed = subprocess.run(**workflow, capture_output=True, check=False)
    assert failed.returncode == 1
    log = (tmp_path / "results/small/logs/features.log").read_text()
    assert "2 GPUs are requested, but only 1 can be used here (GPU-a)" in log
    assert "Traceback" not in log
    assert not (tmp_path / "results/small/features.npy").exists()
