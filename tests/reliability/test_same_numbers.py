"""Two runs on one machine give the same models, predictions and scores to the bit, and say how."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from running import ROOT, TINY, digests

COMMANDS = (
    "prepare",
    "images 32",
    "images 64",
    "features",
    "groups",
    "train base",
    "train diffusion",
    "predict",
    "score",
)
RESULTS = Path("results/tiny")
#: Runs one command after another in one process, which imports torch once.
ONE_BY_ONE = (
    "import sys; from drdc.cli import main; sys.exit(any(main(line.split()) for line in sys.argv[1:]))"
)


def run(folder: Path, *commands: str, threads: int = 1) -> dict[str, str]:
    """Run commands of `drdc` in a folder; the digest of every file that they leave."""
    folder.mkdir(exist_ok=True)
    lines = [f"{command} --config {TINY} --threads {threads}" for command in commands]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", ONE_BY_ONE, *lines],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return digests(folder / RESULTS)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], dict[str, str]]:
    """Folder and files of a whole run, and the files of another one."""
    folder = tmp_path_factory.mktemp("runs")
    return folder / "first", run(folder / "first", *COMMANDS), run(folder / "second", *COMMANDS)


def test_two_runs_leave_the_same_bytes(runs: tuple[Path, dict[str, str], dict[str, str]]) -> None:
    _, first, second = runs
    kinds = ("base.safetensors", "diffusion.safetensors", "full/wood.npy", "full/scores.csv")
    assert all(any(name.endswith(kind) for name in first) for kind in kinds)
    assert first == second


def test_two_threads_score_like_one(runs: tuple[Path, dict[str, str], dict[str, str]]) -> None:
    """Two categories at once: the same values in the same order."""
    folder, first, _ = runs
    (folder / RESULTS / "seed0/scores/full/scores.csv").unlink()
    assert run(folder, "score", threads=2) == first


def test_every_score_says_how_it_was_computed(runs: tuple[Path, dict[str, str], dict[str, str]]) -> None:
    scores = pd.read_csv(runs[0] / RESULTS / "seed0/scores/full/scores.csv", keep_default_na=False)
    assert scores["flags"].str.fullmatch("deterministic on; tf32 off; bf16 (on|off)").all()
    assert scores["versions"].str.contains("torch ").all()
    assert scores["device"].str.len().min() > 0
