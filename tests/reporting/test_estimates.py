"""The self-check against the truth: numbers as computed by hand, and a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from synthetic_images import images, of

from drdc.config.evaluation import Evaluation
from drdc.config.fusion import Fusion
from drdc.config.sampling import Sampling
from drdc.evaluation.self_check import COLUMNS
from drdc.reporting import kinds
from drdc.reporting.coverage import coverage_data
from drdc.reporting.estimates import correlation, estimates, estimates_data, within_categories
from drdc.reporting.kinds import Source
from drdc.results.layout import Layout


def checked(frame: pd.DataFrame, gap: float) -> pd.DataFrame:
    """A self-check of each category, with defects `gap` above the normal images."""
    rows = []
    for category in frame["category"].unique():
        rows += [(category, f"{i}", "", np.nan, i / 10, np.nan, 0, np.nan) for i in range(10)]
        rows += [(category, f"{i}", "stain", 0.01, i / 10 + gap, 1.0, 1, 0.9) for i in range(10)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_estimate_and_truth_are_the_image_aurocs() -> None:
    frame = images(2)
    data = estimates_data({"drdc": checked(frame, 0.35)}, frame).set_index("category")
    normal, defective = np.arange(10) / 10, np.arange(10) / 10 + 0.35
    labels = np.repeat([0, 1], 10)
    expected = 100 * roc_auc_score(labels, np.append(normal, defective))
    assert data["estimate"].to_numpy() == pytest.approx([expected] * 2)
    for category, row in data.iterrows():
        own = frame[frame["category"] == category]
        scores = [of(own, "drdc", label) for label in (0, 1)]
        truth = roc_auc_score(np.repeat([0, 1], [len(part) for part in scores]), np.concatenate(scores))
        assert row["truth"] == pytest.approx(100 * truth)


def test_the_truth_is_that_of_the_first_seed_of_which_the_self_check_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = images(2, first=10)
    both = pd.concat([first, images(2, first=9)])
    pd.testing.assert_frame_equal(coverage_data(both), coverage_data(first))
    source = Source(Layout("own"), [10, 9], 32, Sampling(), Fusion(), Evaluation(), {})
    monkeypatch.setattr(kinds, "_self_check", lambda source: ({},))
    for given in (both, both[both["seed"] == "9"]):  # in which the first seed failed
        monkeypatch.setattr(kinds, "read_scored", lambda *_, given=given: given)
        assert set(source.read("estimates")[1]["seed"]) == set(given["seed"]) & {"10"}


def points(*rows: tuple[str, str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["method", "category", "estimate", "truth"])


def test_correlations_are_of_ranks_over_all_and_within_a_category() -> None:
    data = points(
        ("a", "cap", 60, 90), ("b", "cap", 70, 92), ("c", "cap", 80, 95),
        ("a", "nut", 10, 99), ("b", "nut", 20, 98), ("c", "nut", 30, 97),
    )  # fmt: skip
    assert within_categories(data) == pytest.approx(0)
    assert correlation(data[data["category"] == "cap"]) == pytest.approx(1)
    assert correlation(data) < 0
    assert np.isnan(correlation(data.head(2)))
    assert np.isnan(correlation(data.assign(estimate=50.0)))


@pytest.mark.parametrize("gap", [0.0, 0.35])
def test_the_figure_and_its_numbers(tmp_path: Path, gap: float) -> None:
    frame = images(3)
    found = {"drdc": checked(frame, gap)}
    estimates(found, frame, tmp_path / "estimates.png")
    assert Image.open(tmp_path / "estimates.png").width == 1200
    written = pd.read_csv(tmp_path / "estimates.csv")
    pd.testing.assert_frame_equal(written, estimates_data(found, frame), check_dtype=False)


def test_without_defects_it_says_so(tmp_path: Path) -> None:
    frame = images(1)
    normal = frame[frame["label"] == 0]
    estimates({"drdc": checked(frame, 0.3)}, normal, tmp_path / "estimates.png")
    assert Image.open(tmp_path / "estimates.png").width == 1200
