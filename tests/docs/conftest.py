"""A copy of the project in which the demo, at tiny size, is finished: where the manual's commands are run."""

import shutil
from pathlib import Path

import forking
import pytest
import yaml
from blocks import ROOT
from checkout import run
from sharing import shared

PROJECT = ("Snakefile", "Makefile", "pyproject.toml", "constraints.txt")
PROJECT += ("drdc", "docs", "profiles", "workflow", "config")


@pytest.fixture(scope="session")
def finished_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment of config/config.yaml, but small, and folders as the manual's examples name them."""
    return shared(tmp_path_factory, "finished-demo", finish_demo)


@pytest.fixture
def project(finished_demo: Path, tmp_path: Path) -> Path:
    """A copy of its own for one test."""
    return shutil.copytree(finished_demo, tmp_path / "project")


def finish_demo(folder: Path) -> None:
    """Fill the folder. The commands are forked: what they have imported is what is copied here."""
    for name in PROJECT:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
    tiny = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text(encoding="utf-8"))
    tiny |= {"experiment": "demo", "evaluation": {"sweeps": {"weight": [0.5]}}}
    tiny["dataset"]["holdout"] = 0.4  # 20 images: enough for the usual false-alarm rate
    tiny["dataset"]["synthetic"]["train"] = 25
    (folder / "config/config.yaml").write_text(yaml.safe_dump(tiny), encoding="utf-8")
    done = run(folder, "snakemake", "--cores", "2", programs=forking.folder())
    assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "results/demo/dataset", folder / "our-parts")
    pictures = sorted((folder / "results/demo/dataset/wood").glob("t*/*/*.png"))
    (folder / "data/screws").mkdir(parents=True)
    for number, picture in enumerate(pictures[:16]):
        shutil.copy(picture, folder / f"data/screws/{'ok' if number < 12 else 'bad'}_{number:02}.png")
