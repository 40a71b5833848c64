"""The built package: all that the manual does in a checkout works without one, from any folder."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from running import ROOT, TINY, planned
from sharing import shared

pytestmark = pytest.mark.long

#: What `pip` needs to build it.
SOURCES = (
    "setup.py",
    "MANIFEST.in",
    "pyproject.toml",
    "constraints.txt",
    "README.md",
    "LICENSE",
    "NOTICE.md",
)
SOURCES += ("Snakefile", "config", "profiles", "workflow", "drdc")


def checkout(folder: Path) -> Path:
    """A copy of the sources, without what building them leaves."""
    folder.mkdir(exist_ok=True)
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    return folder


def pip(folder: Path, *arguments: str | Path) -> None:
    """The packages that it asks for are installed already."""
    command = [sys.executable, "-m", "pip", *arguments, "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def build(folder: Path) -> None:
    """Build the source package, install it as `site`, and delete what it was built from."""
    sources = checkout(folder / "sources")
    backend = f"from setuptools.build_meta import build_sdist; build_sdist({str(folder)!r})"
    subprocess.run([sys.executable, "-c", backend], cwd=sources, check=True, capture_output=True)
    shutil.rmtree(sources)
    (archive,) = folder.glob("drdc-*.tar.gz")
    pip(folder, "install", "--target", folder / "site", archive)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared(tmp_path_factory, "package", build) / "site"


def run(site: Path, folder: Path, command: str) -> str:
    """What a command of the shell prints, in a folder that has nothing of the project."""
    path = os.pathsep.join([str(site / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = (done.stdout + done.stderr).replace(sys.prefix, "")  # the programs may be in a checkout's .venv
    assert str(ROOT) not in said, "the checkout is used"
    return done.stdout


def test_the_workflow_runs_the_demo_from_an_empty_folder(site: Path, tmp_path: Path) -> None:
    assert run(site, tmp_path, "drdc workflow") == f"{site}/drdc/project/Snakefile\n"
    plan = run(site, tmp_path, 'snakemake --snakefile "$(drdc workflow)" --dry-run')
    assert planned(plan)["train"] == 5, "two seeds of the demo, and Table 5"
    assert not list(tmp_path.glob("[!.]*"))


def test_jobs_run_and_use_the_installed_package(site: Path, tmp_path: Path) -> None:
    target = "results/tiny/manifest.csv"
    tiny = shlex.quote(str(shutil.copy(TINY, tmp_path)))
    run(site, tmp_path, f'snakemake {target} --snakefile "$(drdc workflow)" --cores 1 --configfile {tiny}')
    assert (tmp_path / target).is_file()


def test_experiments_and_profiles_are_found(site: Path, tmp_path: Path) -> None:
    preset = '--configfile "$(drdc workflow config/mvtec.yaml)"'
    plan = f'snakemake --snakefile "$(drdc workflow)" --workflow-profile slurm {preset} --dry-run'
    assert planned(run(site, tmp_path, plan))["train"] == 11
    submit = run(site, tmp_path, "drdc workflow profiles/cluster-generic/submit").strip()
    assert os.access(submit, os.X_OK)


def test_an_experiment_of_ones_own_is_written_and_planned(site: Path, exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported / "dataset", tmp_path / "parts")
    said = run(site, tmp_path, "drdc new-experiment parts --minutes 0.01")
    commands = [line.strip() for line in said.partition("Next:\n")[2].splitlines()]
    assert [command.split()[0] for command in commands] == ["drdc", "snakemake"]
    assert planned(run(site, tmp_path, f"{commands[1]} --dry-run"))["train"] == 2 + 3


def test_defects_are_found(site: Path, exported: Path, tmp_path: Path) -> None:
    model, image = exported / "detectors/drdc.safetensors", next(exported.glob("dataset/wood/test/*/*.png"))
    run(site, tmp_path, f"drdc detect --model {model} --output found {image}")
    assert (tmp_path / "found/results.csv").is_file()


def test_the_environment_of_conda_installs_the_project(tmp_path: Path) -> None:
    """As conda does: the lines below `pip` become a file in .snakemake/conda of the project's folder."""
    asked = yaml.safe_load((ROOT / "workflow/envs/drdc.yaml").read_text())["dependencies"]
    (lines,) = [one["pip"] for one in asked if isinstance(one, dict)]
    place = checkout(tmp_path / "project") / ".snakemake/conda"
    place.mkdir(parents=True)
    (place / "requirements.txt").write_text("\n".join(lines))
    pip(place, "wheel", "--wheel-dir", tmp_path, "--requirement", "requirements.txt")
    assert list(tmp_path.glob("drdc-*.whl"))
