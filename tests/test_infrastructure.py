"""What runs elsewhere, on a code host or in a container, names what is there: files, commands, versions."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import drdc
from drdc.cli import STAGES, TOOLS

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def steps(workflow: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(job, step) of a workflow of the code host."""
    jobs = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]
    return [(job, step) for job in jobs.values() for step in job["steps"]]


def targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_of_the_code_host_makes_targets_of_the_makefile(workflow: Path) -> None:
    runs = [(job, shlex.split(step["run"].replace("${{ ", "${{").replace(" }}", "}}")))
            for job, step in steps(workflow) if "run" in step]  # fmt: skip
    assert runs
    for job, (program, target) in runs:
        assert program == "make"
        made = job["strategy"]["matrix"]["target"] if target == "${{matrix.target}}" else [target]
        assert set(made) <= targets()
    for _, step in steps(workflow):
        assert ("run" in step) != ("uses" in step)
        assert re.search(r"@v\d+$", step.get("uses", "@v1"))


def test_both_commands_of_the_readme_and_the_checks_run_on_every_push() -> None:
    tests = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text("utf-8"))
    assert "push" in tests[True]  # YAML reads `on` as a truth value
    assert {"demo", "test", "lint"} <= set(tests["jobs"]["make"]["strategy"]["matrix"]["target"])


def copied() -> list[str]:
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE, re.M)
    return [source for line in lines for source in line.split()[:-1]]


def test_what_the_image_copies_is_there_and_is_sent_to_docker() -> None:
    sent = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    assert set(copied()) == sent
    assert all((ROOT / source).exists() for source in copied())


def test_the_image_holds_all_that_the_package_is_built_from() -> None:
    manifest = (ROOT / "MANIFEST.in").read_text().split()
    parts = re.search(r"PARTS = \((.+)\)", (ROOT / "setup.py").read_text())
    assert parts
    needed = {*manifest, *re.findall(r'"(.+?)"', parts[1])} - {"include", "graft"}
    assert needed <= set(copied())


def test_the_commands_of_the_image_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (command,) = re.findall(r'^CMD \["(\w+)"', DOCKERFILE, re.M)
    assert command in project["scripts"]
    assert f"--tag drdc:{drdc.__version__} " in DOCKERFILE
    extras = re.search(r"'\.\[(.+)\]'", DOCKERFILE)
    assert extras
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])


def test_the_pod_names_the_version() -> None:
    pod = (ROOT / "profiles/kubernetes/job.yaml").read_text("utf-8")
    assert f"/drdc:{drdc.__version__} " in pod


def test_the_catalog_of_workflows_is_told_what_it_asks_for() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text("utf-8"))["usage"]
    assert usage["mandatory-flags"] == {"desc": usage["mandatory-flags"]["desc"], "flags": ""}
    assert set(usage["software-stack-deployment"]) == {"conda", "apptainer", "apptainer+conda"}
    assert usage["report"] is True
    assert (ROOT / "config/README.md").is_file()


def test_the_manual_names_the_commands_and_the_version() -> None:
    """Of the image and the package in docs/install.md."""
    page = (ROOT / "docs/install.md").read_text("utf-8")
    assert set(re.findall(r"\bdrdc:(\d+\.\d+\.\d+)", page)) == {drdc.__version__}
    assert set(re.findall(r"^drdc ([\w-]+)", page, re.M)) <= {*STAGES, *TOOLS}
