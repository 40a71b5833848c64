"""The self-check of a trained model: its files, and what the detector's file says of it."""

from __future__ import annotations

from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from exporting import drdc
from PIL import Image

from drdc import Detector
from drdc.data.defects import KINDS
from drdc.data.images import to_square
from drdc.evaluation.self_check import summary
from drdc.experiment.stage_settings import config_hash
from drdc.reporting.gallery import coloured
from drdc.reporting.synthetic_defects import synthetic_defects
from drdc.results.layout import Layout
from drdc.results.scores import read_numbers, write_table
from drdc.runtime.digests import sha256_of
from drdc.stages.export import self_checked
from drdc.stages.self_check import BAR, FOOT, SIDE, read_shown


@pytest.fixture(scope="module")
def found(exported: Path) -> pd.DataFrame:
    with chdir(exported.parents[1]):
        return read_numbers(Layout("tiny").self_check(), "self_check", "self-check")


def test_normal_images_are_those_held_out_and_each_kind_is_drawn_in_each_category(
    exported: Path, found: pd.DataFrame
) -> None:
    manifest = pd.read_csv(exported / "manifest.csv", keep_default_na=False)
    held_out = manifest[manifest.split == "val"]
    normal, defects = found[found.kind == ""], found[found.kind != ""]
    assert normal.path.tolist() == held_out.path.tolist()
    assert set(defects.path) <= set(held_out.path)
    assert defects.groupby(["category", "kind"]).size().eq(1).all()
    assert set(defects.kind) <= set(KINDS)
    assert len(defects) > 9


def test_scores_and_decisions_are_the_detectors(exported: Path, found: pd.DataFrame) -> None:
    normal, defects = found[found.kind == ""], found[found.kind != ""]
    calibration = Detector.load(exported).modes["full"].calibration
    np.testing.assert_allclose(normal.score, calibration.scores, rtol=1e-9)
    assert ((defects.score > defects.threshold) == (defects.anomalous == 1)).all()
    assert defects.pixel_auroc.between(0, 1).all()
    assert defects.share.between(0, 0.1).all()


def test_the_file_of_the_detector_has_its_summary(exported: Path, found: pd.DataFrame) -> None:
    noted = Detector.load(exported).self_check
    expected = summary(found)
    pd.testing.assert_frame_equal(
        noted.loc[expected.index, list(expected)], expected, check_names=False, atol=1e-6, check_dtype=False
    )


def test_a_picture_shows_the_defects(exported: Path) -> None:
    with Image.open(exported / "self_check/drdc.png") as picture:
        assert picture.width == 134 * len(KINDS)
        assert picture.height > 2 * 134
        bar = np.asarray(picture.convert("RGB"))[-FOOT + 10, 4 : 4 + BAR[0]]
    np.testing.assert_array_equal(bar, coloured(np.linspace(0.0, 1.0, BAR[0])))


@pytest.mark.parametrize("size", [(4096, 512), (2400, 1800), (700, 2800)])
def test_what_is_reduced_is_as_sharp_to_a_method_as_the_normal_images(
    size: tuple[int, int], tmp_path: Path
) -> None:
    """Otherwise a self-check of photos of a line-scan camera would find the reduction, not the defects."""
    width, height = size
    fine = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(fine).save(tmp_path / "0.png")
    digest = sha256_of(tmp_path / "0.png")
    shown = read_shown(tmp_path, SimpleNamespace(path="0.png", sha256=digest, bits=8))
    assert min(shown.shape[:2]) == min(SIDE, width, height)
    seen, expected = (to_square(Image.fromarray(one), 256).astype(float) for one in (shown, fine))
    assert 0.9 < seen.std() / expected.std() < 1.1


def test_the_same_command_finds_the_same(exported: Path) -> None:
    path = exported / "self_check/drdc.csv"
    before = path.read_bytes()
    folder = exported.parents[1]
    assert drdc(folder, "self-check", "--config", "config.yaml", "--threads", "1") == 0
    assert path.read_bytes() == before


def test_the_table_has_each_category_method_kind_and_size(found: pd.DataFrame) -> None:
    table = synthetic_defects({"drdc": found, "small": found.assign(anomalous=1)})
    labels = [label for label, _ in table.rows]
    assert labels == [f"{c}: {m}" for c in ("capsule", "wood", "all categories") for m in ("DRDC", "small")]
    columns = [column.label for column in table.columns]
    assert columns[:3] == ["Image AUROC", "Pixel AUROC", "detection rate"]
    assert {f"detected: {name}" for name in (*KINDS, "small", "medium", "large")} == set(columns[3:])
    rates = dict(table.rows)["all categories: small"]
    assert rates[2].mean == 100


def test_a_self_check_of_other_settings_is_not_noted(
    exported: Path, found: pd.DataFrame, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    own, path = found["config_hash"].iloc[0], tmp_path / "drdc.csv"
    settings = {"weight": 0.5}
    for digest, noted in ((config_hash(settings), {"capsule", "wood", "all"}), (own, set())):
        write_table(path, found.assign(config_hash=digest))
        assert set(self_checked(path, "drdc", settings)) == noted
    assert "is of other settings or models; run `drdc self-check` again" in caplog.text
    assert self_checked(tmp_path / "none.csv", "drdc", settings) == {}
