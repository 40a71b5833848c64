"""What the workflow plans for a dataset: by its reader's listing, without opening an image."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from running import call, planned, snakemake

TINY = Path(__file__).with_name("tiny.yaml")
EVALUATION = {"ablation": True, "sweeps": {"steps": [1]}}


def configure(
    folder: Path,
    categories: list[str],
    evaluation: dict[str, Any],
    root: str = "data",
    download: bool = False,
) -> None:
    settings = yaml.safe_load(TINY.read_text())
    dataset = {"name": "mvtec", "root": root, "categories": categories, "image_size": 16}
    dataset["download"] = download
    settings |= {"dataset": dataset, "evaluation": evaluation}
    settings["sampling"]["grid_sizes"] = settings["diffusion"]["grid_sizes"] = [4, 8]
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")


def draw(root: Path, category: str, *places: str) -> None:
    for number, place in enumerate(places):
        path = root / category / place
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([number, *category.encode()])
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)


def plan(folder: Path, *words: str) -> dict[str, int]:
    done = snakemake(folder, *words, "--dry-run", "--configfile", folder / "config.yaml")
    assert done.returncode == 0, done.stderr + done.stdout
    return planned(done.stdout + done.stderr)


@pytest.fixture
def untested(tmp_path: Path) -> Path:
    """A category with normal training images, and what methods leave where test images would be."""
    draw(tmp_path / "data", "cap", "train/good/0.png", "train/good/1.png", "test/@eaDir/0.png")
    for junk in ("test/good/.DS_Store", "test/.DS_Store"):
        path = tmp_path / "data/cap" / junk
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    configure(tmp_path, ["cap"], EVALUATION)
    return tmp_path


def test_without_test_images_the_detector_is_all(untested: Path) -> None:
    computed = {"prepare": 1, "weights": 1, "images": 2, "features": 1, "groups": 1}
    computed |= {"train": 2, "predict": 1, "self_check": 1, "export": 1}
    assert plan(untested) == computed | {"figures": 1, "tables": 1, "about": 1}
    assert plan(untested, "detector") == computed | {"detector": 1}


def test_without_test_images_nothing_more_is_wanted_where_the_folder_is_away(untested: Path) -> None:
    before = plan(untested)
    done = snakemake(untested, "results/tiny/manifest.csv", "--configfile", untested / "config.yaml")
    assert done.returncode == 0, done.stderr
    (untested / "data").rename(untested / "away")
    del before["prepare"]
    assert plan(untested) == before


@pytest.mark.parametrize("target", ["table2", "results/tiny/figures/fig2.png"])
def test_what_needs_test_images_is_refused_while_planning(untested: Path, target: str) -> None:
    assert "needs test images" in refused(untested, target)


@pytest.mark.parametrize(
    ("target", "key"),
    [("fig2", "evaluation.sweeps"), ("table5", "evaluation.ablation"), ("heatmaps", "methods")],
)
def test_what_is_not_run_is_refused_while_planning(tmp_path: Path, target: str, key: str) -> None:
    configure(tmp_path, ["cap"], {})
    assert key in refused(tmp_path, target)


def refused(folder: Path, target: str) -> str:
    """The sentence that Snakemake ends with at planning."""
    done = snakemake(folder, target, "--dry-run", "--configfile", folder / "config.yaml")
    text = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in text
    assert "Job stats" not in text
    return next(line for line in text.splitlines() if line.startswith(f"drdc: {Path(target).stem} "))


def test_a_folder_that_is_one_category_is_tested_as_one_among_others(tmp_path: Path) -> None:
    draw(tmp_path / "data", "cap", *(f"{place}/0.png" for place in ("train/good", "test/good", "test/bent")))
    plans = []
    for root in ("data", "data/cap"):
        configure(tmp_path, ["cap"], {"sweeps": {"steps": [1]}}, root)
        plans.append(plan(tmp_path, "detector"))
    assert plans[0] == plans[1]
    assert plans[0]["score"] == 2


def test_a_changed_dataset_is_read_again_once(tmp_path: Path) -> None:
    draw(tmp_path / "data", "cap", "train/good/0.png", "train/good/1.png", "test/good/0.png")
    configure(tmp_path, ["cap"], {})
    manifest = "results/tiny/manifest.csv"
    for change in ("test/good/0.png", "test/good/1.png"):
        draw(tmp_path / "data", "cap", "train/good/0.png", "train/good/1.png", change)
        done = snakemake(tmp_path, manifest, "--configfile", tmp_path / "config.yaml")
        assert done.returncode == 0, done.stderr
        assert change in (tmp_path / manifest).read_text()
        assert plan(tmp_path, manifest) == {}


def test_new_test_images_train_nothing(tmp_path: Path) -> None:
    configure(tmp_path, ["cap"], {})
    normal = [f"train/good/{number}.png" for number in range(4)]
    results, target = tmp_path / "results/tiny", "results/tiny/seed0/predictions/full/cap.npy"
    base = results / "seed0/base.safetensors"
    for images in (1, 2):
        draw(tmp_path / "data", "cap", *normal, *(f"test/bent/{number}.png" for number in range(images)))
        done = snakemake(tmp_path, target, "--configfile", tmp_path / "config.yaml")
        assert done.returncode == 0, done.stderr
        assert len(np.load(tmp_path / target)) == images + 1, "and a held-out one"
        assert plan(tmp_path, target) == {}
        if images == 1:
            trained = base.stat().st_ino
    assert base.stat().st_ino == trained
    for model in ("base", "diffusion"):
        assert "is finished already" in (results / f"logs/train.seed0.{model}.log").read_text()


@pytest.mark.parametrize("download", [True, False])
def test_images_are_downloaded_where_the_configuration_says_so(tmp_path: Path, download: bool) -> None:
    """And before the folder is there: it is taken for one with test images."""
    configure(tmp_path, ["cap"], {}, download=download)
    jobs = {"download": 1} if download else {}
    assert plan(tmp_path, "results/tiny/images/64.npy") == jobs | {"prepare": 1, "images": 1}


def test_features_are_computed_from_images_of_the_backbones_size_and_its_weights(tmp_path: Path) -> None:
    draw(tmp_path / "data", "cap", "train/good/0.png", "train/good/1.png", "test/good/0.png")
    configure(tmp_path, ["cap"], {})
    target = "results/tiny/features.npy"
    done = snakemake(tmp_path, target, "--configfile", tmp_path / "config.yaml")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/tiny/images/64.npy").is_file()
    assert (tmp_path / "results/tiny/weights/backbone.json").is_file()
    more = ("--config", "methods={uniad: {size: 28}}")
    assert plan(tmp_path, target, *more) == {}, "another method changes no features"
    larger = ("--config", "backbone={input_size: 96}")
    assert plan(tmp_path, target, *larger) == {"images": 1, "weights": 1, "features": 1}


def test_a_replaced_file_of_weights_is_noticed(tmp_path: Path) -> None:
    configure(tmp_path, ["cap"], {})
    file, config = tmp_path / "own.pth", tmp_path / "config.yaml"
    target = "results/tiny/weights/backbone.json"
    settings = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(settings | {"backbone": settings["backbone"] | {"weights": str(file)}}))
    for weights, moment in ((b"some", 2e9), (b"more", 1e9)):  # the second is older, as of `cp -p`
        file.write_bytes(weights)
        os.utime(file, (moment, moment))
        assert plan(tmp_path, target) == {"weights": 1}
        done = snakemake(tmp_path, target, "--configfile", config)
        assert done.returncode == 0, done.stderr
        assert plan(tmp_path, target) == {}


def test_changed_images_and_weights_are_noticed_by_a_study(tmp_path: Path) -> None:
    """Each of its experiments is a run of the workflow, which then sees what of it is to be done again."""
    draw(tmp_path / "data", "cap", *(f"train/good/{number}.png" for number in range(4)), "test/bent/0.png")
    configure(tmp_path, ["cap"], {})
    weights = tmp_path / "diffusion/unet/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"some")
    study: dict[str, Any] = {"study": {"over": "images", "values": [2, "all"], "draws": 1}}
    study["methods"] = {"diad": {"pretrained": str(tmp_path / "diffusion")}}
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | study))
    target = "results/tiny/points/tiny.2.0.done"
    run = call(tmp_path, target, "--cores", "2", "--configfile", config)
    inner = tmp_path / "bin/snakemake"  # that of the point, which does nothing here
    inner.parent.mkdir()
    inner.write_text("#!/bin/sh\n")
    inner.chmod(0o755)
    run["env"] |= {"PATH": f"{inner.parent}{os.pathsep}{run['env']['PATH']}"}
    subprocess.run(**run, check=True, capture_output=True)
    assert plan(tmp_path, target) == {}
    os.utime(weights, (1e9, 1e9))
    assert plan(tmp_path, target) == {"point": 1}
    subprocess.run(**run, check=True, capture_output=True)
    draw(tmp_path / "data", "cap", *(f"train/good/{number}.png" for number in range(5)))
    assert plan(tmp_path, target) == {"point": 1}


def test_a_thousand_categories_with_long_names_fit_the_command_line(tmp_path: Path) -> None:
    """Settings of 130 kB: more than one argument of a command can hold."""
    names = [f"{number:04}-{'part ö' * 15}"[:80] for number in range(1000)]
    for name in names:
        draw(tmp_path / "data", name, "train/good/0.png", "train/good/1.png")
    configure(tmp_path, names, {})
    assert plan(tmp_path)["predict"] == len(names)
    done = snakemake(tmp_path, "results/tiny/manifest.csv", "--configfile", tmp_path / "config.yaml")
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "results/tiny/manifest.csv").read_text().splitlines()) == 2001
