"""Curves show the rankings that they are given, of every method."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from PIL import Image
from sklearn.metrics import auc, precision_recall_curve, roc_curve
from synthetic_images import NAMES

from drdc.config.described import Described
from drdc.reporting.curves import curves, draw_curves
from drdc.runtime.errors import UserError

OURS = ["base", "drdc"]


def ranking(seed: int, method: str, category: str, level: str = "image") -> pd.DataFrame:
    """A curve of scores drawn for its key, with recall 0 first."""
    rng = np.random.default_rng([seed, len(method), len(category)])
    labels = np.arange(60) % 2
    scores = rng.normal(labels * (1 + seed))
    fpr, recall, _ = roc_curve(labels, scores, drop_intermediate=False)
    hits, alarms = recall * 30, fpr * 30
    precision = np.append(1.0, hits[1:] / (hits + alarms)[1:])
    frame = pd.DataFrame({"recall": recall, "precision": precision, "fpr": fpr})
    return frame.assign(seed=str(seed), method=method, category=category, level=level)


def rankings(
    categories: int = 2, seeds: int = 1, levels: tuple[str, ...] = ("image", "pixel")
) -> pd.DataFrame:
    return pd.concat(
        ranking(seed, method, category, level)
        for seed in range(seeds) for method in ("base", "drdc") for category in NAMES[:categories]
        for level in levels
    )  # fmt: skip


def thick(axes: Axes) -> dict[str, np.ndarray]:
    return {str(line.get_label())[:4]: line.get_xydata() for line in axes.lines if line.get_linewidth() > 2}


def lines_of(axes: Axes) -> dict[str, np.ndarray]:
    return {str(line.get_label()): line.get_xydata() for line in axes.lines}


def test_one_curve_is_the_roc_and_precision_recall_curve() -> None:
    one = rankings(1, levels=("image",))
    roc, precision = draw_curves(one, OURS).axes
    for method, name in (("base", "base"), ("drdc", "DRDC")):
        expected = one[one["method"] == method]
        xy = thick(roc)[name]
        assert auc(*xy.T) == pytest.approx(auc(expected["fpr"], expected["recall"]), abs=0.01)
        xy = thick(precision)[name][1:]
        steps = expected["precision"] * expected["recall"].diff()
        assert auc(*xy.T) == pytest.approx(steps.sum(), abs=0.01)  # average precision


def test_precision_is_that_of_the_first_threshold_that_reaches_the_recall() -> None:
    labels, scores = np.array([1, 0, 1, 1, 0]), np.array([5, 4, 3, 2, 1])
    precision, recall, _ = precision_recall_curve(labels, scores)
    frame = pd.DataFrame(
        {"recall": recall[::-1], "precision": precision[::-1], "fpr": [0, 0, 0.5, 0.5, 0.5, 1]}
    )
    frame = frame.assign(seed="0", method="drdc", category="gear", level="image")
    _, axes = draw_curves(frame, OURS).axes
    x, y = thick(axes)["DRDC"][1:].T
    for low, high, expected in ((0, 0.33, 1.0), (0.34, 0.66, 2 / 3), (0.67, 1, 3 / 4)):
        assert set(y[(x >= low) & (x <= high)]) == {expected}


def test_thick_line_is_the_mean_of_the_categories_means_over_seeds() -> None:
    roc, _ = draw_curves(rankings(2, 2, ("image",)), OURS).axes
    singles = [
        thick(draw_curves(ranking(s, "drdc", c), OURS).axes[0])["DRDC"] for s in (0, 1) for c in NAMES[:2]
    ]
    np.testing.assert_allclose(thick(roc)["DRDC"], np.mean(singles, axis=0))
    thin = [line for line in roc.lines if line.get_linewidth() < 1]
    assert len(thin) == 4
    labels = [text.get_text() for text in roc.figure.legends[0].get_texts()]
    assert labels == ["base", "DRDC", "chance"]
    assert "mean over the categories and 2 seeds" in roc.figure.legends[0].get_title().get_text()


def test_levels_without_curves_are_left_out_and_no_curve_at_all_is_said(tmp_path: Path) -> None:
    assert len(draw_curves(rankings(), OURS).axes) == 4
    assert len(draw_curves(rankings(levels=("image",)), OURS).axes) == 2
    curves(rankings().iloc[:0], tmp_path / "none.png")
    assert Image.open(tmp_path / "none.png").width == 1200
    with pytest.raises(UserError, match="column fpr is missing"):
        curves(rankings().drop(columns="fpr"), tmp_path / "c.png")


def test_further_methods_have_a_mean_line_each_that_looks_like_no_other() -> None:
    names = [f"net{i}" for i in range(15)]
    further = [ranking(0, name, category) for name in names for category in NAMES[:2]]
    roc, precision = draw_curves(pd.concat([rankings(2, levels=("image",)), *further]), [*OURS, *names]).axes
    for axes in (roc, precision):
        lines = {str(line.get_label()): line for line in axes.lines}
        drawn = [lines[name] for name in names]
        assert len({(line.get_color(), str(line._dash_pattern)) for line in drawn}) == 15
        assert len([line for line in axes.lines if line.get_linewidth() < 1]) == 4, (
            "thin: base and DRDC alone"
        )
    singles = [
        thick(draw_curves(ranking(0, "net3", c).assign(method="drdc"), OURS).axes[0])["DRDC"]
        for c in NAMES[:2]
    ]
    np.testing.assert_allclose(lines_of(roc)["net3"], np.mean(singles, axis=0))
    labels = [text.get_text() for text in roc.figure.legends[0].get_texts()]
    assert names == [label for label in labels if label.startswith("net")]


def test_a_method_that_lacks_a_category_has_no_mean_and_is_said_to_have_failed() -> None:
    whole = rankings(2, 2, ("image",))
    lacking = (whole["method"] == "drdc") & (whole["category"] == NAMES[1]) & (whole["seed"] == "1")
    for frame, failed in ((whole[~lacking], {}), (whole, {("drdc", "1", "cap"): "failed; see a.log"})):
        roc, _ = draw_curves(frame, OURS, failed=failed).axes
        labels = [text.get_text() for text in roc.figure.legends[0].get_texts()]
        assert labels == ["base", "DRDC (failed)", "chance"]
        np.testing.assert_allclose(thick(roc)["base"], thick(draw_curves(whole, OURS).axes[0])["base"])
        assert np.isnan(thick(roc)["DRDC"][:, 1]).all()


def test_a_method_of_fewer_seeds_says_so() -> None:
    frame = rankings(2, 2, ("image",))
    roc, _ = draw_curves(frame[(frame["method"] != "base") | (frame["seed"] == "0")], OURS).axes
    labels = [text.get_text() for text in roc.figure.legends[0].get_texts()]
    assert labels == ["base (1 seed)", "DRDC", "chance"]


def test_only_methods_of_the_experiment_are_drawn(tmp_path: Path) -> None:
    both = pd.concat([rankings(1), ranking(0, "net", "gear")])
    curves(rankings(1), tmp_path / "a.png")
    curves(both, tmp_path / "b.png")
    curves(both, tmp_path / "c.png", {"net": Described(), "lost": Described()})
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


def test_same_numbers_same_bytes_and_other_numbers_other_bytes(tmp_path: Path) -> None:
    frame = rankings(2, 2)
    for name, one in (("a", frame), ("b", frame), ("c", frame.assign(fpr=frame["fpr"] ** 2))):
        curves(one, tmp_path / f"{name}.png")
    for ending in ("png", "pdf"):
        a, b, c = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "abc")
        assert a == b != c
