"""What the jobs ask a scheduler for, without one: the submit string, and the profiles beside each other."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from running import ROOT, TINY, snakemake
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

PROFILES = ROOT / "profiles"
PARAMETERS = {"run_uuid": "run", "slurm_logfile": "log", "comment_str": "rule", "workdir": ".",
              "account": "", "partition": ""}  # fmt: skip


class Asked(dict[str, Any]):
    """A job's resources as Snakemake hands them over: by key and by attribute."""

    __getattr__ = dict.__getitem__


def profile(name: str) -> dict[str, Any]:
    return yaml.safe_load((PROFILES / name / "config.yaml").read_text())


def submitted(**asked: Any) -> str:
    job = SimpleNamespace(resources=Asked(asked), threads=4)
    return get_submit_command(job, PARAMETERS) + set_gres_string(job)


def test_a_training_asks_slurm_for_gpu_memory_time_and_cores() -> None:
    command = submitted(
        gpu=1, mem_mb=8000, runtime=profile("slurm")["set-resources"]["train_diffusion"]["runtime"]
    )
    for option in ("--gpus=1", "--mem 8000", "-t 2880", "--cpus-per-task=4"):
        assert option in command


@pytest.mark.parametrize(
    ("asked", "option", "without"),
    [
        ({"gpu": 1, "gpu_model": "a100"}, "--gpus=a100:1", "--gres"),
        ({"gpu": 0, "gres": "gpu:1"}, "--gres=gpu:1", "--gpus"),
        ({"gpu": 1, "slurm_extra": "--exclusive"}, "--exclusive", "--gres"),
    ],
)
def test_the_commented_lines_of_the_profile_ask_for_what_they_say(
    asked: dict[str, Any], option: str, without: str
) -> None:
    command = submitted(mem_mb=8000, **asked)
    assert option in command
    assert without not in command


@pytest.mark.parametrize("name", ["slurm", "cluster-generic"])
def test_a_profile_is_found_by_its_name_from_any_folder_and_keeps_what_default_promises(
    tmp_path: Path, name: str
) -> None:
    plan = snakemake(
        tmp_path, "--configfile", TINY, "--workflow-profile", name, "--dry-run", "--quiet", "rules"
    )
    assert plan.returncode == 0, plan.stderr
    assert f"Using workflow specific profile {PROFILES / name} " in plan.stderr
    promised = {key: value for key, value in profile("default").items() if key != "cores"}
    assert {key: profile(name)[key] for key in promised} == promised


def test_both_cluster_profiles_ask_for_the_same() -> None:
    slurm, generic = profile("slurm"), profile("cluster-generic")
    for key in ("set-resources", "set-threads", "default-resources", "retries", "jobs", "latency-wait"):
        assert slurm[key] == generic[key]
