"""What the jobs ask a scheduler for, without one: the submit string, and the profiles beside each other."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from running import ROOT, TINY, snakemake
from snakemake_executor_plugin_slurm import ExecutorSettings
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

from drdc.methods.registry import method_class

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
    no_requeue = profile("slurm")["slurm-no-requeue"]
    settings = SimpleNamespace(requeue=False, no_requeue=no_requeue, qos=None, reservation=None)
    return get_submit_command(job, PARAMETERS, settings) + set_gres_string(job)


def rules() -> dict[str, str]:
    """The text of every rule that runs a command."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    found = dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", text, re.M | re.S))
    return {name: body for name, body in found.items() if "    shell:" in body}


GPU_RULES = {name for name, body in rules().items() if "gpu=1" in body}


@pytest.mark.parametrize("name", rules())
def test_every_rule_has_a_time_limit(name: str) -> None:
    assert "        runtime=" in rules()[name]


def test_diad_has_three_days_for_each_attempt() -> None:
    assert "runtime=lambda w: jobs.time_limit(EXPERIMENT, w.model)" in rules()["train"]
    assert method_class("diad").minutes == 3 * 24 * 60


@pytest.mark.parametrize("name", ["slurm", "cluster-generic"])
def test_a_profile_knows_every_rule_that_needs_a_gpu(name: str) -> None:
    assert profile(name)["set-resources"] == {rule: {"gpu": 1} for rule in GPU_RULES}
    assert len(GPU_RULES) == 8


def test_one_change_asks_for_all_gpus_in_the_other_form() -> None:
    """As the comments of the profile say: the first line goes, and two lose their #."""
    text = (PROFILES / "slurm/config.yaml").read_text()
    text = (
        text.replace("    gpu: 1\n", "")
        .replace("#    gpu: 0 ", "    gpu: 0 ")
        .replace("#    gres:", "    gres:")
    )
    asked = yaml.safe_load(text)["set-resources"]
    assert asked == {rule: {"gpu": 0, "gres": "gpu:1"} for rule in GPU_RULES}


def test_three_changes_submit_job_arrays() -> None:
    """As the comments of the profile say; the tasks of an array get what the first one asks for."""
    text = (PROFILES / "slurm/config.yaml").read_text()
    text = re.sub(r"^jobs: 20 .*\n|^  train: \*gpu\n", "", text, flags=re.M)
    for line in ("jobs:", "slurm-array-jobs:", "  train: {gpu: 1, runtime:"):
        text = text.replace(f"#{line}", line)
    asked = yaml.safe_load(text)
    assert asked["jobs"] == 10000
    assert "array_jobs" in {field.name for field in fields(ExecutorSettings)}
    arrays = asked["slurm-array-jobs"].split(",")
    varying = {name for name in arrays if re.search("(runtime|gpu)=lambda|mem_mb=lambda", rules()[name])}
    assert varying == {name for name in arrays if "runtime" in asked["set-resources"].get(name, {})}
    assert asked["set-resources"]["train"]["runtime"] >= method_class("diad").minutes


def test_a_training_asks_slurm_for_gpu_memory_time_and_cores_and_is_not_begun_again_by_it() -> None:
    command = submitted(gpu=1, mem_mb=8000, runtime=2880)
    for option in ("--gpus=1", "--mem 8000", "-t 2880", "--cpus-per-task=4", "--no-requeue"):
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
    for key in ("set-resources", "retries", "jobs", "latency-wait"):
        assert slurm[key] == generic[key]
