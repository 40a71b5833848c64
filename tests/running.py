"""Runs the workflow for real, in a folder of its own, and tells what was made."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import forking

ROOT = Path(__file__).parents[1]
#: The whole chain at a size that only shows that it runs.
TINY = ROOT / "tests/workflow/tiny.yaml"


def call(folder: Path, *options: str | Path, quick: bool = True) -> dict[str, Any]:
    """Arguments for `subprocess`: Snakemake as in the manual, in a folder of its own.

    `quick`: Snakemake and its jobs are forked, see `forking`.
    """
    programs = [forking.folder()] if quick else []
    programs.append(Path(sys.executable).parent)
    command = [programs[0] / "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    arguments = [str(part) for part in (*command, *options)]
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    environment = os.environ | {"PATH": path}
    return {"args": arguments, "cwd": folder, "env": environment, "text": True}


def snakemake(folder: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """Run it on two cores of this computer, to its end."""
    return subprocess.run(**call(folder, "--cores", "2", *options), capture_output=True, check=False)


def finish(folder: Path) -> None:
    """Run the workflow with `TINY` to its end."""
    done = snakemake(folder, "--configfile", TINY)
    assert done.returncode == 0, done.stderr


def planned(output: str) -> dict[str, int]:
    """Jobs of a dry run, by rule."""
    stats = output.split("Job stats:")[1].split("total")[0] if "Job stats:" in output else ""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)$", stats, re.M) if rule != "all"}


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of all results below a folder; not of logs, measured times and the digests beside them."""
    left_out = {"logs", "benchmarks"}
    files = [p for p in folder.rglob("[!.]*") if p.is_file() and not left_out & set(p.parts)]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
