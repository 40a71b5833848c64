"""A study, run for real at tiny size: each of its experiments is a run of the workflow."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image
from running import TINY, planned, snakemake

from drdc.reporting.study import study_table
from drdc.runtime.devices import total_memory

STUDY = {"over": "images", "values": [4, "all"], "draws": 1}


@pytest.mark.long
def test_a_study_ends_with_a_table_and_a_figure_and_is_done_once(tmp_path: Path) -> None:
    config = yaml.safe_load(TINY.read_text()) | {"evaluation": {"self_check": 0}, "study": STUDY}
    config |= {"methods": {"simplenet": {"epochs": 1, "width": 16}}}
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(config))
    done = snakemake(tmp_path, "--configfile", file)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(tmp_path / "results/tiny/study.csv", dtype={"at": str})
    assert len(rows) == 2 * 2 * 2 * 3, "values, methods, categories, metrics"
    for value, images in (("4", 4), ("all", 8)):
        manifest = pd.read_csv(tmp_path / f"results/tiny.{value}.0/manifest.csv", keep_default_na=False)
        assert (manifest[manifest.split != "test"].groupby("category").size() == images).all()
        scores = pd.read_csv(tmp_path / f"results/tiny.{value}.0/scores.csv", keep_default_na=False)
        own = scores[(scores.method == "drdc") & (scores.category == "wood") & (scores.metric == "pixel_ap")]
        found = rows[(rows["at"] == value) & (rows.method == "drdc") & (rows.category == "wood")]
        assert found.loc[found.metric == "pixel_ap", "value"].item() == pytest.approx(float(own.value.item()))
    table = study_table(rows, "images")
    assert [label for label, _ in table.rows] == ["4", "all"]
    with Image.open(tmp_path / "results/tiny/figures/study.png") as picture:
        assert picture.width == 1200
    again = snakemake(tmp_path, "--dry-run", "--configfile", file)
    assert planned(again.stdout + again.stderr) == {}


def test_points_share_the_cores_of_one_computer_where_they_can_run_side_by_side(tmp_path: Path) -> None:
    """Of two points both, where there is memory for them; one where there is one GPU."""
    together = max(1, min(2, total_memory() // (8000 * 10**6)))
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(TINY.read_text()) | {"study": STUDY}))
    for limits, cores in (([], 4 // together), (["--resources", "gpu=1"], 4)):
        options = ("--dry-run", "--printshellcmds", "--cores", "4", *limits, "--configfile", file)
        plan = snakemake(tmp_path, *options)
        inner = re.findall(r"snakemake results/tiny\.\S+ .*?--cores (\d+)", plan.stdout + plan.stderr)
        assert inner == [str(cores)] * 2


def test_a_study_without_test_images_is_refused_before_any_job(tmp_path: Path) -> None:
    for number in range(4):
        path = tmp_path / f"data/cap/train/good/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (number, 0, 0)).save(path)
    config = yaml.safe_load(TINY.read_text()) | {"study": STUDY | {"values": ["all"]}}
    config["dataset"] = {"name": "mvtec", "root": "data", "categories": ["cap"], "image_size": 32}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    done = snakemake(tmp_path, "--dry-run", "--configfile", tmp_path / "study.yaml")
    assert done.returncode == 1
    assert "drdc: a study needs test images, and the dataset has none; add some" in done.stderr


def test_other_heatmaps_that_were_made_elsewhere_run_a_study_again(tmp_path: Path) -> None:
    """The same settings, and a file of another time: the plan says why."""
    theirs = tmp_path / "theirs/heatmaps.csv"
    theirs.parent.mkdir()
    config = yaml.safe_load(TINY.read_text()) | {"study": STUDY}
    config |= {"methods": {"theirs": {"method": "heatmaps", "folder": str(theirs.parent)}}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    points = [f"results/tiny/points/{name}" for name in ("tiny.4.0", "tiny.all.0")]
    config_of = ("--configfile", tmp_path / "study.yaml")
    options = (*(f"{point}.done" for point in points), *config_of)
    theirs.write_text("path,heatmap\n")
    made = snakemake(tmp_path, *(f"{point}.yaml" for point in points), *config_of)
    assert made.returncode == 0, made.stderr
    for point in points:
        (tmp_path / f"{point}.done").touch()
    touched = snakemake(tmp_path, "--touch", "--forceall", *options)
    assert touched.returncode == 0, touched.stderr
    plan = snakemake(tmp_path, "--dry-run", *options)
    assert "point" not in planned(plan.stdout + plan.stderr)
    theirs.write_text("path,heatmap\na.png,a.npy\n")
    plan = snakemake(tmp_path, "--dry-run", *options)
    assert planned(plan.stdout + plan.stderr)["point"] == 2


def test_tables_of_single_experiments_are_refused_for_a_study(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(TINY.read_text()) | {"study": STUDY}))
    done = snakemake(tmp_path, "table5", "--dry-run", "--configfile", file)
    assert done.returncode == 1
    assert "table5 is not of a study but of each of its experiments" in done.stdout + done.stderr
