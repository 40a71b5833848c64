"""Heatmaps that were made elsewhere: what their files must be, and what is stored of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from drawn import SIZE, rows_of

from drdc.data.manifest import read_manifest
from drdc.equations.fusion import image_score
from drdc.experiment.experiment import load_experiment
from drdc.experiment.stage_settings import used_by
from drdc.methods.heatmaps import Imported, fingerprint, read_map
from drdc.methods.registry import Configured, method_class
from drdc.results.heatmaps import StoredReading
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError
from drdc.stages.predict import predict

FOLDER = Path("theirs")


def ramp(height: int, width: int) -> np.ndarray:
    return np.linspace(0, 1, height)[:, None] + np.linspace(0, 2, width)


def write(layout: Layout, splits: tuple[str, ...] = ("val", "test"), **columns: Any) -> pd.DataFrame:
    """Heatmaps of 8 x 24 pixels, each with a constant of its own added."""
    table = read_manifest(layout.manifest)
    chosen = table[table.split.isin(splits)]
    FOLDER.mkdir(exist_ok=True)
    for row in chosen.index:
        np.save(FOLDER / f"{row}.npy", ramp(8, 24) + row)
    index = pd.DataFrame(
        {"path": chosen.path, "heatmap": [f"{row}.npy" for row in chosen.index]}, chosen.index
    )
    index.assign(**columns).to_csv(FOLDER / "heatmaps.csv", index=False)
    return index


def predicted(layout: Layout, folder: str = "theirs", seed: int = 0) -> np.ndarray:
    settings = method_class("heatmaps").Settings(folder=folder, pool_size=4).model_dump()
    own = Configured(name="theirs", method="heatmaps", settings=settings)
    predict(layout, seed, "all", image_size=SIZE, method=own, imported="0")
    return np.load(layout.predictions(seed, "theirs", "all"))


def test_maps_are_resized_and_keep_their_values(layout: Layout) -> None:
    write(layout)
    records = predicted(layout)
    assert records["row"].tolist() == [*rows_of("val"), *rows_of("good"), *rows_of("defect")]
    assert records["heatmap"].dtype == np.float32
    assert records["heatmap"].shape[1:] == (SIZE, SIZE)
    means = records["heatmap"].mean((1, 2))
    np.testing.assert_allclose(means, 1.5 + records["row"], atol=0.02)
    assert (np.diff(records["heatmap"], axis=2) > 0).all(), "still a ramp from left to right"
    pooled = image_score(torch.from_numpy(records["heatmap"].copy()), 4)
    np.testing.assert_array_equal(records["score"], pooled.numpy())


def test_given_scores_are_taken(layout: Layout) -> None:
    write(layout, score=0.25)
    assert set(predicted(layout)["score"]) == {0.25}


def test_given_scores_stay_different(layout: Layout) -> None:
    count = len(write(layout))
    given = [1 / (1 + np.exp(-logit)) for logit in np.linspace(20, 30, count)]  # of a sure classifier
    write(layout, score=given)
    read = StoredReading("theirs")(predicted(layout))["theirs"].scores
    assert sorted(read) == given
    assert len(set(read)) == count > len(set(np.float32(given)))


def test_a_folder_can_be_one_for_each_seed(layout: Layout) -> None:
    write(layout)
    FOLDER.rename("theirs3")
    assert len(predicted(layout, "theirs{seed}", seed=3)) == 18


def test_held_out_images_may_all_be_missing(layout: Layout) -> None:
    write(layout, ("test",))
    records = predicted(layout)
    without = np.isin(records["row"], rows_of("val"))
    assert np.isnan(records["score"][without]).all()
    assert np.isnan(records["heatmap"][without]).all()
    assert np.isfinite(records["heatmap"][~without]).all()


@pytest.mark.parametrize(
    ("kind", "count", "said"),
    [
        (
            "val",
            2,
            "2 of 6 held-out normal images have no heatmap, the first 24.png; add a row for each, or leave",
        ),
        ("good", 1, "1 of 12 test images have no heatmap, the first 30.png; add a row for each"),
    ],
)
def test_an_image_without_a_heatmap_is_named(layout: Layout, kind: str, count: int, said: str) -> None:
    index = write(layout)
    index.drop(rows_of(kind)[:count]).to_csv(FOLDER / "heatmaps.csv", index=False)
    with pytest.raises(UserError) as caught:
        predicted(layout)
    assert str(caught.value).startswith(f"theirs/heatmaps.csv: {said}")
    assert not layout.predictions(0, "theirs", "all").exists()


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("path\na.png\n", "heatmaps.csv, line 1: column heatmap is missing"),
        ("path,heatmap\na,1.npy\na,2.npy\n", "heatmaps.csv, line 3: a has a heatmap already; keep one"),
        ("path,heatmap,score\na,1.npy,high\n", "heatmaps.csv, line 2: score 'high' is not a finite number"),
        ("path,heatmap,score\na,1.npy,inf\n", "heatmaps.csv, line 2: score 'inf' is not a finite number"),
        (
            "path,heatmap,score\na,1.npy,1\nb,2.npy,\n",
            "heatmaps.csv: b has no score; give every image one, or none",
        ),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, rows: str, said: str) -> None:
    (tmp_path / "heatmaps.csv").write_text(rows)
    with pytest.raises(UserError) as caught:
        Imported.read(tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.zeros((1, 4, 4)), "has the shape (1, 4, 4)"),
        (np.zeros((0, 4)), "has the shape (0, 4)"),
        (np.full((2, 2), np.nan), "is NaN or infinite somewhere"),
        (np.full((2, 2), 1e300), "is NaN or infinite somewhere"),
        (np.array([["a"]]), "is not an array of numbers"),
        (np.array([[{}]]), "cannot be read"),  # pickled: never loaded
        (None, "cannot be read"),
    ],
)
def test_what_is_no_heatmap_is_refused(tmp_path: Path, content: np.ndarray | None, said: str) -> None:
    path = tmp_path / "a.npy"
    if content is not None:
        np.save(path, content)
    with pytest.raises(UserError) as caught:
        read_map(path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_a_damaged_archive_is_no_heatmap(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(UserError, match=r"a\.npy: cannot be read"):
        read_map(tmp_path / "a.npy")


def test_its_fingerprint_follows_the_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing; write it, with a row for each image"):
        fingerprint(str(tmp_path), [0])
    far = tmp_path / "scratch"
    far.mkdir()
    (tmp_path / "link").symlink_to(far)
    (tmp_path / "heatmaps.csv").write_text("path,heatmap\n1,a.npy\n2,link/c.npy\n3,b.npy\n")
    for path in (tmp_path / "a.npy", far / "c.npy"):
        np.save(path, np.zeros((2, 2)))
    found = [fingerprint(str(tmp_path), [0, 1]), fingerprint(str(tmp_path), [0, 1])]
    os.utime(tmp_path / "a.npy", (0, 0))
    found.append(fingerprint(str(tmp_path), [0, 1]))
    (tmp_path / "a.npy").rename(tmp_path / "b.npy")
    found.append(fingerprint(str(tmp_path), [0, 1]))
    os.utime(far / "c.npy", (0, 0))
    found.append(fingerprint(str(tmp_path), [0, 1]))
    assert found[0] == found[1]
    assert len(set(found)) == 4


@pytest.mark.parametrize("stage", ["train", "self_check", "export"])
def test_there_is_no_network_to_train_or_export(stage: str) -> None:
    own = {"theirs": {"method": "heatmaps", "folder": "theirs"}}
    experiment = load_experiment({"experiment": "toy", "dataset": {"root": "data"}, "methods": own})
    with pytest.raises(
        UserError, match=r"methods\.theirs: its heatmaps were made elsewhere, and there is no"
    ):
        used_by(experiment, stage, "theirs")
