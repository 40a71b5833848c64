"""The false alarms of each category under both kinds of threshold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic_images import images

from drdc.evaluation.calibration import RATE
from drdc.reporting.coverage import ONE, OWN, SPLITS, coverage, coverage_data


def shifted(by: float) -> pd.DataFrame:
    """Two categories, the second with higher scores."""
    frame = images(2)
    second = frame["category"] == frame["category"].unique()[1]
    return frame.assign(score=frame["score"] + by * second)


def test_one_threshold_puts_all_false_alarms_on_one_category_and_groups_share_them() -> None:
    data = coverage_data(shifted(0.9)).set_index(["category", "threshold"])["rate"]
    first, second = shifted(0.0)["category"].unique()
    assert data[first, ONE] == 0
    assert data[second, ONE] > 1.5 * RATE
    for name in (first, second):
        assert 0.01 < data[name, OWN] <= RATE + 0.01
    assert data["all together", ONE] <= RATE + 0.01


def test_the_halves_are_normal_images_of_all_kinds() -> None:
    data = coverage_data(images(2))
    assert set(data["splits"]) == {SPLITS}
    assert data[data["category"] != "all together"]["images"].tolist() == [50] * 4
    assert (data["low"] <= data["rate"]).all()
    assert (data["rate"] <= data["high"]).all()
    alone = coverage_data(images(1))
    assert "all together" not in set(alone["category"])


def test_with_few_images_a_rate_is_asked_for_at_which_each_category_stands_alone() -> None:
    frame = shifted(0.9)
    few = frame[frame["label"] == 0].groupby(["category", "method"]).head(20)
    data = coverage_data(few).set_index(["category", "threshold"])
    assert set(data["asked"]) == {1 / (8 + 1)}
    first, second = few["category"].unique()
    assert data.loc[(second, ONE), "rate"] > 1.3 * data.loc[(second, OWN), "rate"]
    for name in (first, second):
        assert 0.02 < data.loc[(name, OWN), "rate"] <= 1 / 9 + 0.02


def test_too_few_images_are_said(tmp_path: Path) -> None:
    frame = images(1)
    few = frame[frame["split"] == "test"]
    coverage(few, tmp_path / "coverage.png")
    assert Image.open(tmp_path / "coverage.png").width == 1200
    assert pd.read_csv(tmp_path / "coverage.csv").empty


def test_nothing_is_drawn_where_a_category_failed(tmp_path: Path) -> None:
    frame = images(3, 2)
    lost = (frame["category"] == "valve") & (frame["method"] == "drdc")
    assert coverage_data(frame[~lost | (frame["seed"] == "1")]).empty
    assert not coverage_data(frame[~lost | (frame["seed"] == "0")]).empty, "of the first seed"
    failed = {("drdc", "0", "cap"): "failed; see results/toy/logs/predict.seed0.full.cap.log"}
    assert coverage_data(frame, failed).empty
    coverage(frame, tmp_path / "coverage.png", failed)
    assert pd.read_csv(tmp_path / "coverage.csv").empty


def test_the_figure_and_its_numbers(tmp_path: Path) -> None:
    coverage(shifted(0.3), tmp_path / "coverage.png")
    assert Image.open(tmp_path / "coverage.png").width == 1200
    written = pd.read_csv(tmp_path / "coverage.csv")
    pd.testing.assert_frame_equal(written, coverage_data(shifted(0.3)), check_dtype=False)
    assert np.isfinite(written["rate"]).all()


@pytest.mark.parametrize("categories", [1, 15])
def test_any_number_of_categories_is_drawn(tmp_path: Path, categories: int) -> None:
    coverage(images(categories), tmp_path / "coverage.png")
    assert Image.open(tmp_path / "coverage.png").width == 1200
