"""A copy of the project in which the demo, at tiny size, is finished: where the manual's commands are run."""

import shutil
from pathlib import Path

import pytest
import yaml
from blocks import ROOT
from checkout import run

PROJECT = ("Snakefile", "Makefile", "pyproject.toml", "constraints.txt")
PROJECT += ("drdc", "docs", "profiles", "workflow", "config")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment of config/config.yaml, but small, and pictures as the manual's examples name them."""
    folder = tmp_path_factory.mktemp("project")
    for name in PROJECT:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)
    tiny = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text(encoding="utf-8"))
    tiny["dataset"] |= {"holdout": 0.5, "synthetic": {"train": 20, "test_good": 2, "test_bad": 4, "size": 64}}
    tiny |= {"experiment": "demo", "evaluation": {"sweeps": {"weight": [0.5]}}}
    tiny["dataset"]["holdout"] = 0.4  # 20 images: enough for the usual false-alarm rate
    tiny["dataset"]["synthetic"]["train"] = 25
    (folder / "config/config.yaml").write_text(yaml.safe_dump(tiny), encoding="utf-8")
    done = run(folder, "snakemake", "--cores", "2")
    assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "results/demo/dataset", folder / "our-parts")
    pictures = sorted((folder / "results/demo/dataset/wood").glob("t*/*/*.png"))
    (folder / "photos").mkdir()
    (folder / "data/screws").mkdir(parents=True)
    shutil.copy(pictures[0], folder / "image.png")
    for number, picture in enumerate(pictures[:16]):
        shutil.copy(picture, folder / f"photos/{number}.png")
        shutil.copy(picture, folder / f"data/screws/{'ok' if number < 12 else 'bad'}_{number:02}.png")
    return folder


@pytest.fixture
def project(finished: Path, tmp_path: Path) -> Path:
    """A copy of its own for one test."""
    return shutil.copytree(finished, tmp_path / "project")
