"""Histograms, curves and effect sizes show the scores that they are given."""

from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from drdc.reporting.distributions import (
    curves,
    draw_curves,
    draw_histograms,
    draw_separation,
    effect_sizes,
    histograms,
    separation,
)
from drdc.reporting.separation import ALL, cohens_d, limit, overlap
from drdc.runtime.errors import UserError

NAMES = (
    "gear",
    "valve",
    "nut",
    "cap",
    "rod",
    "pin",
    "bolt",
    "ring",
    "disc",
    "wire",
    "lid",
    "cog",
    "pad",
    "tap",
)


def images(categories: int = 2, seeds: int = 1, first: int = 0) -> pd.DataFrame:
    """Scores 1-2 for normal and 1.6-2.6 (base) or 2.1-3.1 (DRDC) for anomalous images, in every category."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(first, first + seeds):
        for category in NAMES[:categories]:
            for split, label, count in (("val", 0, 40), ("test", 0, 10), ("test", 1, 15)):
                for score in 1.0 + rng.random(count):
                    rows.append((str(seed), category, split, label, score + 0.6 * label, score + 1.1 * label))
    return pd.DataFrame(rows, columns=["seed", "category", "split", "label", "base", "drdc"])


def of(frame: pd.DataFrame, method: str, label: int, split: str = "test") -> np.ndarray:
    return frame.loc[(frame["split"] == split) & (frame["label"] == label), method].to_numpy()


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def bars(axes: Axes) -> list[np.ndarray]:
    """The heights of each histogram of a panel."""
    return [patch.get_xy()[:, 1] for patch in axes.patches]


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


# histograms


def test_each_category_and_all_have_a_row_of_base_and_drdc() -> None:
    expected = [f"{m}: {name}" for name in ("gear", "valve", ALL) for m in ("base", "DRDC")]
    assert titles(draw_histograms(images())) == expected
    assert titles(draw_histograms(images(), "valve")) == ["base: valve", "DRDC: valve"]
    assert titles(draw_histograms(images(1))) == ["base: gear", "DRDC: gear"]


def test_histograms_show_each_class_in_percent_of_its_images() -> None:
    frame = images(1)
    for axes, method in zip(draw_histograms(frame).axes, ("base", "drdc"), strict=True):
        for label, heights in enumerate(bars(axes)):
            edges = np.histogram_bin_edges(frame.loc[frame["split"] == "test", method], 20)
            expected = np.histogram(of(frame, method, label), edges)[0] * 100 / len(of(frame, method, label))
            assert heights.max() == pytest.approx(expected.max())
        (line,) = (line for line in axes.lines if line.get_label() == "threshold")
        expected, _ = limit(frame[frame["split"] == "val"], method, "gear")
        assert set(line.get_xdata()) == {expected}
        shared = overlap(of(frame, method, 0), of(frame, method, 1))
        assert [text.get_text() for text in axes.texts] == [f"overlap {100 * shared:.0f} %"]


def test_the_lowest_seed_is_shown_and_named() -> None:
    frame = pd.concat([images(1, first=10), images(1, first=9).assign(drdc=7.0)])
    figure = draw_histograms(frame)
    assert figure.legends[0].get_title().get_text() == "image scores of seed 9"
    low, high = figure.axes[1].get_xlim()
    assert low < 7.0 < high < 8.0


def test_a_category_without_anomalous_or_held_out_images_is_drawn() -> None:
    frame = images(1)
    axes = draw_histograms(frame[frame["label"] == 0]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["overlap n/d"]
    axes = draw_histograms(frame[frame["split"] == "test"]).axes[0]
    assert not [line for line in axes.lines if line.get_label() == "threshold"]


@pytest.mark.parametrize("categories", [1, 8, 14])
def test_histograms_keep_the_size_of_a_page(categories: int, tmp_path: Path) -> None:
    histograms(images(categories), tmp_path / "h.png")
    width, height = Image.open(tmp_path / "h.png").size
    assert width == 1200
    assert height <= 2400


def test_bad_image_scores_are_refused(tmp_path: Path) -> None:
    for bad, sentence in (
        (images().drop(columns="drdc"), "column drdc is missing"),
        (images().query("split == 'val'"), "no test image"),
        (images().assign(base=np.nan), "not finite"),
    ):
        for draw in (histograms, separation):
            with pytest.raises(UserError, match=sentence):
                draw(bad, tmp_path / "h.png")
    with pytest.raises(UserError, match="no test image of category cup"):
        histograms(images(), tmp_path / "h.png", "cup")
    assert not list(tmp_path.iterdir())


# curves


def test_one_curve_is_the_roc_and_precision_recall_curve() -> None:
    one = rankings(1, levels=("image",))
    roc, precision = draw_curves(one).axes
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
    _, axes = draw_curves(frame).axes
    x, y = thick(axes)["DRDC"][1:].T
    for low, high, expected in ((0, 0.33, 1.0), (0.34, 0.66, 2 / 3), (0.67, 1, 3 / 4)):
        assert set(y[(x >= low) & (x <= high)]) == {expected}


def test_thick_line_is_the_mean_of_the_categories_means_over_seeds() -> None:
    roc, _ = draw_curves(rankings(2, 2, ("image",))).axes
    singles = [thick(draw_curves(ranking(s, "drdc", c)).axes[0])["DRDC"] for s in (0, 1) for c in NAMES[:2]]
    np.testing.assert_allclose(thick(roc)["DRDC"], np.mean(singles, axis=0))
    thin = [line for line in roc.lines if line.get_linewidth() < 1]
    assert len(thin) == 4
    labels = [text.get_text() for text in roc.figure.legends[0].get_texts()]
    assert "DRDC, mean of 2 categories, 2 seeds" in labels


def test_levels_without_curves_are_left_out_and_no_curve_at_all_is_said(tmp_path: Path) -> None:
    assert len(draw_curves(rankings()).axes) == 4
    assert len(draw_curves(rankings(levels=("image",))).axes) == 2
    curves(rankings().iloc[:0], tmp_path / "none.png")
    assert Image.open(tmp_path / "none.png").size == (1200, 75)
    with pytest.raises(UserError, match="column fpr is missing"):
        curves(rankings().drop(columns="fpr"), tmp_path / "c.png")


# effect sizes


def test_effect_sizes_are_cohens_d_per_seed_averaged() -> None:
    frame = images(2, 2)
    sizes = effect_sizes(frame).set_index(["category", "method"])
    for category, part in (("valve", frame[frame["category"] == "valve"]), (ALL, frame)):
        each = [cohens_d(of(p, "drdc", 0), of(p, "drdc", 1)) for _, p in part.groupby("seed")]
        assert sizes.loc[(category, "drdc"), "mean"] == pytest.approx(np.mean(each))
        assert sizes.loc[(category, "drdc"), "std"] == pytest.approx(np.std(each, ddof=1))
    assert set(sizes["seeds"]) == {2}
    assert list(effect_sizes(images(1))["category"]) == ["gear", "gear"]


def test_separation_is_sorted_by_drdc_with_all_at_the_bottom() -> None:
    frame = images(3)
    better = (frame["category"] == "nut") & (frame["label"] == 1)
    frame["drdc"] += 5.0 * better
    worse = (frame["category"] == "valve") & (frame["label"] == 1)
    frame["drdc"] -= 0.5 * worse
    sizes = effect_sizes(frame)
    (axes,) = draw_separation(sizes).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["nut", "gear", "valve", ALL]
    drawn = {c.get_label(): c.lines[0].get_xdata().astype(float) for c in axes.containers}
    table = sizes.pivot(index="category", columns="method", values="mean").loc[["nut", "gear", "valve", ALL]]
    np.testing.assert_allclose(drawn["DRDC"], table["drdc"])
    np.testing.assert_allclose(drawn["base"], table["base"])


def test_a_category_without_anomalous_images_is_not_defined() -> None:
    frame = images(2)
    frame = frame[(frame["category"] == "gear") | (frame["label"] == 0)]
    sizes = effect_sizes(frame)
    assert isnan(sizes.set_index(["category", "method"]).loc[("valve", "base"), "mean"])
    (axes,) = draw_separation(sizes).axes
    assert [text.get_text().strip() for text in axes.texts] == ["not defined"]


def test_same_numbers_same_bytes_and_other_numbers_other_bytes(tmp_path: Path) -> None:
    for draw, frame in ((histograms, images()), (separation, images(2, 2)), (curves, rankings(2, 2))):
        numbers = frame.select_dtypes("float").columns[-1]
        for name, one in (("a", frame), ("b", frame), ("c", frame.assign(**{numbers: frame[numbers] ** 2}))):
            draw(one, tmp_path / name)
        a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
        assert a == b != c
