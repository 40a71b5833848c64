"""What was made elsewhere, in a real run: heatmaps as a method, numbers next to ours, labels of one's own.

The heatmaps are those of DRDC itself, written as another program would write them: their scores are known.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from running import TINY, planned, snakemake

from drdc.data.manifest import read_manifest
from drdc.experiment.experiment import load_experiment
from drdc.results.heatmaps import Heatmaps
from drdc.results.layout import Layout

pytestmark = pytest.mark.long
RESULTS = Path("results/tiny")
THEIRS = {"method": "heatmaps", "folder": "theirs", "label": "Theirs & co.", "citation": "Doe, Maps, 2025."}
NUMBERS = """method,category,metric,value,source
Old,wood,image_auroc,91.5,Doe 2024
Old,capsule,image_auroc,88.5,Doe 2024
Old,mean,pixel_ap,40,Doe 2024
"""
#: What runs again after other heatmaps; "separation" is a figure, too.
AGAIN = {"predict", "score", "tables", "figures"}
TABLES = ("table2", "table4", "reported", "summary", "separation", "inference", "synthetic_defects")
WANTED = (*TABLES, "heatmaps", "pareto", str(RESULTS / "scores.csv"), str(RESULTS / "gallery.html"))


def written(folder: Path, splits: tuple[str, ...] = ("val", "test")) -> None:
    """DRDC's heatmaps and scores as files below `folder / theirs`."""
    target = folder / "theirs"
    target.mkdir(exist_ok=True)
    with chdir(folder):
        layout, fusion = Layout("tiny"), load_experiment(TINY).fusion
        table = read_manifest(layout.manifest)
        every = Heatmaps.of_drdc(layout, 0, table, fusion)
        rows = []
        for places, found in every.batches(table.split.isin(splits).to_numpy()):
            for row, heatmap, score in zip(places, *found["drdc"], strict=True):
                np.save(target / f"{row}.npy", heatmap)
                rows.append((table.path[row], f"{row}.npy", score))
    pd.DataFrame(rows, columns=["path", "heatmap", "score"]).to_csv(target / "heatmaps.csv", index=False)


def configured(folder: Path, **changes: Any) -> Path:
    about = {"methods": {"theirs": THEIRS | changes}, "reported": ["numbers.csv"]}
    (folder / "own.yaml").write_text(yaml.safe_dump(yaml.safe_load(TINY.read_text()) | about))
    return folder / "own.yaml"


@pytest.fixture(scope="module")
def folder(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, with heatmaps and numbers from elsewhere."""
    folder = tmp_path_factory.mktemp("imported") / "run"
    shutil.copytree(finished, folder)
    written(folder)
    (folder / "numbers.csv").write_text(NUMBERS)
    plan = snakemake(folder, *TABLES, "--dry-run", "--configfile", configured(folder))
    jobs = planned(plan.stdout)
    assert (jobs["predict"], jobs["score"]) == (1, 1), plan.stderr
    assert not {"train", "self_check", "export", "weights", "images", "features"} & set(jobs)
    done = snakemake(folder, *WANTED, "--configfile", configured(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def cells(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / RESULTS / f"tables/{name}.csv", keep_default_na=False)


def page(folder: Path, name: str) -> str:
    return (folder / RESULTS / f"tables/{name}.md").read_text(encoding="utf-8")


def test_heatmaps_of_files_are_scored_as_if_they_were_computed_here(folder: Path) -> None:
    scores = pd.read_csv(folder / RESULTS / "scores.csv", keep_default_na=False)
    full = scores[scores.variant == "full"].set_index(["category", "metric"])
    ours, theirs = (full.loc[full.method == name, "value"] for name in ("drdc", "theirs"))
    assert len(theirs) > 20
    assert theirs.to_dict() == ours.to_dict()
    for kind in ("image_scores", "curves", "defects"):
        own = pd.read_csv(folder / RESULTS / f"seed0/scores/theirs/{kind}.csv")
        assert set(own.method) == {"theirs"}


def test_its_label_stands_wherever_it_is_shown_and_its_source_below(folder: Path) -> None:
    assert "Theirs & co." in set(cells(folder, "summary").row)
    assert "wood: Theirs & co." in set(cells(folder, "separation").row)
    assert "Theirs & co. (ours)" in set(cells(folder, "table2").column)
    note = r"Theirs \& co.: Doe, Maps, 2025; heatmaps made elsewhere (theirs, the same for every seed)"
    assert note in page(folder, "summary")
    gallery = (folder / RESULTS / "gallery.html").read_text(encoding="utf-8")
    assert "Theirs &amp; co." in gallery


def test_tables_say_why_it_has_no_costs_and_no_self_check(folder: Path) -> None:
    assert "without costs, because its heatmaps were made elsewhere" in page(folder, "inference")
    assert "without a self-check and a detector, because its heatmaps" in page(folder, "synthetic_defects")
    assert "Theirs & co." not in set(cells(folder, "inference").row)


def test_numbers_of_others_stand_in_columns_of_their_own(folder: Path) -> None:
    table = cells(folder, "table2")
    told = table[table.source == "reported"].set_index("row")
    assert set(told.column) == {"Old by Doe 2024 (reported)"}
    assert told.value.astype(float).to_dict() == {"wood": 91.5, "capsule": 88.5, "mean": 90.0}
    assert "numbers from other work, not computed here" in page(folder, "table2")
    every = cells(folder, "reported").set_index(["row", "column"]).value
    assert float(every["Pixel AP: mean", "Old by Doe 2024 (reported)"]) == 40
    assert every["Pixel AP: wood", "Old by Doe 2024 (reported)"] == ""


@pytest.mark.parametrize("change", [{"label": "Mine"}, {"citation": "Roe, 2026"}])
def test_another_label_shows_anew_and_computes_nothing(folder: Path, change: dict[str, str]) -> None:
    done = snakemake(folder, *WANTED, "--dry-run", "--configfile", configured(folder))
    assert not planned(done.stdout), done.stdout
    done = snakemake(folder, *WANTED, "--dry-run", "--configfile", configured(folder, **change))
    assert set(planned(done.stdout)) - {*WANTED} == {"tables", "figures", "gallery"}, done.stdout


@pytest.mark.parametrize(
    ("change", "runs"),
    [
        (lambda folder: os.utime(folder / "theirs/heatmaps.csv", (0, 0)), AGAIN),
        (lambda folder: np.save(next(folder.glob("theirs/*.npy")), np.zeros((2, 2))), AGAIN),
        (lambda folder: np.save(folder / "theirs/not listed.npy", np.zeros((2, 2))), set()),
        (lambda folder: (folder / "numbers.csv").write_text(NUMBERS.replace("40", "41")), {"tables"}),
    ],
)
def test_changed_files_are_noticed(copy: Path, change: Callable[[Path], object], runs: set[str]) -> None:
    change(copy)
    done = snakemake(copy, *TABLES, "--dry-run", "--configfile", configured(copy))
    jobs = set(planned(done.stdout)) - {"costs", *TABLES}
    assert jobs == runs, done.stdout


def test_without_held_out_images_there_is_no_threshold_and_all_else_is_made(copy: Path) -> None:
    written(copy, ("test",))
    wanted = ("separation", "summary", "heatmaps", RESULTS / "gallery.html")
    done = snakemake(copy, *wanted, "--configfile", configured(copy, label="No threshold"))
    assert done.returncode == 0, done.stderr
    rates = cells(copy, "separation").set_index(["row", "column"])
    assert "and there are 0" in rates.note["wood: No threshold", "detection rate, one threshold"]
    assert rates.value["wood: No threshold", "overlap"] == rates.value["wood: DRDC", "overlap"]
    gallery = (copy / RESULTS / "gallery.html").read_text(encoding="utf-8")
    assert "of No threshold, which has none of them, on all test images" in gallery


def test_no_detector_can_be_asked_for(folder: Path) -> None:
    target = RESULTS / "detectors/theirs.safetensors"
    done = snakemake(folder, target, "--dry-run", "--configfile", configured(folder))
    assert done.returncode == 1
    assert "methods.theirs: its heatmaps were made elsewhere, and there is no network here" in done.stderr


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("numbers.csv", "method,category,metric\n", "numbers.csv, line 1: column value is missing"),
        (
            "numbers.csv",
            NUMBERS + "Old,wod,image_auroc,91.5,Doe\n",
            "numbers.csv, line 5: category 'wod' is unknown; did you mean 'wood'?",
        ),
        ("theirs/heatmaps.csv", None, "methods.theirs.folder: theirs/heatmaps.csv: is missing"),
    ],
)
def test_bad_files_are_one_sentence_before_anything_runs(
    copy: Path, file: str, text: str | None, words: str
) -> None:
    (copy / file).unlink()
    if text is not None:
        (copy / file).write_text(text)
    done = snakemake(copy, "--dry-run", "--configfile", configured(copy))
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
