"""The installed Snakemake has all that the workflow reads of it beyond its documentation."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

from drdc.experiment import snakemake_internals as internals

ROOT = Path(__file__).parents[2]
RULES = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
SNAKEFILE = """
import json
from pathlib import Path
from drdc.experiment import snakemake_internals as internals

configfile: "own.yaml"

def plain(value):
    return sorted(map(str, value)) if isinstance(value, set) else str(value)

found = {
    "has_configfile": internals.has_configfile(workflow),
    "configfiles": [str(file) for file in internals.configfiles(workflow)],
    "given_config": internals.given_config(workflow),
    "snakefile": internals.snakefile(workflow),
    "local_cores": internals.local_cores(workflow),
    "gpu_limit": internals.gpu_limit(workflow),
}

rule all:
    input: "all.txt"

rule train:
    output: "{name}.txt"
    wildcard_constraints: name="first"
    log: "{name}.log"
    resources: gpu=1
    shell: "exit 1"

rule join:
    input: "first.txt"
    output: "all.txt"
    shell: "touch {output}"

internals.use_environment(workflow, "environment.yaml")
found["use_environment"] = {str(one.conda_env) for one in workflow.rules if one.shellcmd}
found["gpus_by_rule"] = dict(internals.gpus_by_rule(workflow))

onerror:
    (failed,) = found["failed_jobs"] = internals.failed_jobs(workflow)
    (waits,) = [job for job in internals.unmade_jobs(workflow) if internals.rule_of(job) == "join"]
    found["unmade_jobs"] = sorted(map(internals.rule_of, internals.unmade_jobs(workflow)))
    found["inputs_by_job"] = list(internals.inputs_by_job(workflow, waits)[failed])
    found["has_ended"] = internals.has_ended(workflow)
    found["running_logs"] = internals.running_logs(workflow)
    found["executor_error"] = internals.executor_error(workflow)
    names = ("rule_of", "log_of", "outputs_of", "wildcards_of")
    found.update((name, getattr(internals, name)(failed)) for name in names)
    internals.mark_incomplete(workflow, failed)
    found["mark_incomplete"] = workflow.persistence._filter_incomplete_keys(["first.txt", "all.txt"])
    Path("found.json").write_text(json.dumps(found, default=plain))
"""


def test_each_is_there_and_says_what_it_is_to_say(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "environment.yaml").touch()
    (tmp_path / "own.yaml").write_text("one: 1\n")
    options = ["--cores", "1", "--keep-going", "--config", "two=1", "--resources", "gpu=2"]
    ended = subprocess.run(
        [sys.executable, "-m", "snakemake", *options], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 1, ended.stderr
    assert (tmp_path / "found.json").exists(), ended.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found.pop("failed_jobs")) == 1
    assert found == {
        "has_configfile": False,
        "configfiles": ["own.yaml"],
        "outputs_of": ["first.txt"],
        "given_config": {"two": 1},
        "snakefile": str(tmp_path / "Snakefile"),
        "local_cores": 1,
        "gpu_limit": 2,
        "use_environment": ["environment.yaml"],
        "gpus_by_rule": {"all": 0, "train": 1, "join": 0},
        "unmade_jobs": ["all", "join", "train"],
        "inputs_by_job": ["first.txt"],
        "has_ended": True,
        "running_logs": [],
        "executor_error": "",
        "rule_of": "train",
        "log_of": "first.log",
        "mark_incomplete": ["first.txt"],
        "wildcards_of": {"name": "first"},
    }
    functions = {name for name, own in inspect.getmembers(internals, inspect.isfunction)}
    assert functions == {*found, "failed_jobs"}


def test_rule_files_read_nothing_else_of_it() -> None:
    """`basedir` is documented."""
    text = "".join(path.read_text("utf-8") for path in RULES)
    read = set(re.findall(r"\bworkflow\.(?!rst)(\w+)", text))
    assert read <= {"basedir"}
