"""Histograms show the image scores that they are given, of every method."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from synthetic_images import images, of, with_methods

from drdc.config.described import Described
from drdc.reporting.histograms import SCORE, SHARE, draw_histograms, histograms
from drdc.reporting.separation import ALL, limit, overlap
from drdc.runtime.errors import UserError


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def bars(axes: Axes) -> list[np.ndarray]:
    """The heights of each histogram of a panel."""
    return [patch.get_xy()[:, 1] for patch in axes.patches]


def test_each_category_and_all_have_a_row_of_base_and_drdc() -> None:
    expected = [f"{m}: {name}" for name in ("gear", "valve", ALL) for m in ("base", "DRDC")]
    assert titles(draw_histograms(images())) == expected
    assert titles(draw_histograms(images(), "valve")) == ["base: valve", "DRDC: valve"]
    assert titles(draw_histograms(images(1))) == ["base: gear", "DRDC: gear"]


def test_every_outer_axis_has_a_title() -> None:
    axes = draw_histograms(images(2)).axes
    assert [one.get_ylabel() for one in axes] == [SHARE, ""] * 3
    assert [one.get_xlabel() for one in axes] == ["", "", "", "", SCORE, SCORE]
    many = draw_histograms(images(14)).axes  # in two blocks side by side, the second one row shorter
    assert sum(one.get_xlabel() == SCORE for one in many) == 4


def test_histograms_show_each_class_in_percent_of_its_images() -> None:
    frame = images(1)
    for axes, method in zip(draw_histograms(frame).axes, ("base", "drdc"), strict=True):
        for label, heights in enumerate(bars(axes)):
            edges = np.histogram_bin_edges(np.concatenate([of(frame, method, 0), of(frame, method, 1)]), 20)
            expected = np.histogram(of(frame, method, label), edges)[0] * 100 / len(of(frame, method, label))
            assert heights.max() == pytest.approx(expected.max())
        (line,) = (line for line in axes.lines if line.get_label() == "threshold")
        expected, _ = limit(frame[(frame["split"] == "val") & (frame["method"] == method)], "gear")
        assert set(line.get_xdata()) == {expected}
        shared = overlap(of(frame, method, 0), of(frame, method, 1))
        assert [text.get_text() for text in axes.texts] == [f"overlap {100 * shared:.0f} %"]


def test_the_first_seed_is_shown_and_named() -> None:
    """By its place in the configuration, not by its size."""
    first = images(1, first=10)
    first.loc[first["method"] == "drdc", "score"] = 7.0
    figure = draw_histograms(pd.concat([first, images(1, first=9)]))
    assert figure.legends[0].get_title().get_text() == "Image scores of seed 10"
    low, high = figure.axes[1].get_xlim()
    assert low < 7.0 < high < 8.0


def test_a_category_without_anomalous_or_held_out_images_is_drawn() -> None:
    frame = images(1)
    axes = draw_histograms(frame[frame["label"] == 0]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["overlap n/d"]
    axes = draw_histograms(frame[frame["split"] == "test"]).axes[0]
    assert not [line for line in axes.lines if line.get_label() == "threshold"]


def test_a_panel_says_failed_where_a_method_lacks_its_category_or_any_of_all() -> None:
    frame = images(2, 2)
    lacking = (frame["method"] == "drdc") & (frame["category"] == "valve") & (frame["seed"] == "0")
    figure = draw_histograms(frame[~lacking])
    said = {axes.get_title(loc="left"): axes.texts[0].get_text() for axes in figure.axes}
    failed = {title for title, words in said.items() if words == "failed"}
    assert failed == {"DRDC: valve", f"DRDC: {ALL}"}
    assert not any(axes.patches for axes in figure.axes if axes.get_title(loc="left") in failed)
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown[0] == "20 normal test images", "of a method that has all of them"
    other = draw_histograms(frame[~lacking | (frame["seed"] == "1")].query("seed == '1'"))
    assert "failed" not in {axes.texts[0].get_text() for axes in other.axes}


@pytest.mark.parametrize("categories", [1, 8, 14])
def test_histograms_keep_the_size_of_a_page(categories: int, tmp_path: Path) -> None:
    histograms(images(categories), tmp_path / "h.png")
    width, height = Image.open(tmp_path / "h.png").size
    assert width == 1200
    assert height <= 2400


def test_bad_image_scores_are_refused(tmp_path: Path) -> None:
    for bad, sentence in (
        (images().drop(columns="score"), "column score is missing"),
        (images().query("split == 'val'"), "no test image"),
        (images().assign(score=np.nan), "NaN or infinite"),
        (images().query("method == 'net'"), "no scores of base or DRDC"),
    ):
        with pytest.raises(UserError, match=sentence):
            histograms(bad, tmp_path / "h.png")
    with pytest.raises(UserError, match="no test image of category cup"):
        histograms(images(), tmp_path / "h.png", "cup")
    assert not list(tmp_path.iterdir())


def test_each_method_of_the_configuration_has_a_column() -> None:
    names = ["net", "toy"]
    frame = with_methods(images(), names)
    figure = draw_histograms(frame, described=dict.fromkeys(names, Described()))
    assert titles(figure) == ["base", "DRDC", "net", "toy"] * 3
    labels = [axes.get_ylabel() for axes in figure.axes]
    first = [f"{name}\n{SHARE}" for name in ("gear", "valve", ALL)]
    assert labels == [label for name in first for label in (name, "", "", "")]
    assert [axes.get_xlabel() for axes in figure.axes] == [""] * 8 + [SCORE] * 4
    shown = overlap(of(frame, "toy", 0), of(frame, "toy", 1))
    assert [text.get_text() for text in figure.axes[11].texts] == [f"overlap {100 * shown:.0f} %"]


def test_many_methods_are_broken_into_blocks_that_do_not_overlap() -> None:
    names = [f"net{i}" for i in range(15)]
    frame = with_methods(images(1), names)
    figure = draw_histograms(frame, described=dict.fromkeys(names, Described()))
    assert titles(figure) == ["base", "DRDC", *names]
    boxes = [axes.get_position() for axes in figure.axes]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    width, _ = figure.get_size_inches()
    assert min(box.width for box in boxes) * width > 0.6


def test_a_method_without_scores_is_left_out() -> None:
    figure = draw_histograms(
        with_methods(images(1), ["net"]), described={"net": Described(), "lost": Described()}
    )
    assert titles(figure) == ["base", "DRDC", "net"]


def test_same_numbers_same_bytes_and_other_numbers_other_bytes(tmp_path: Path) -> None:
    frame = images()
    for name, one in (("a", frame), ("b", frame), ("c", frame.assign(score=frame["score"] ** 2))):
        histograms(one, tmp_path / f"{name}.png")
    for ending in ("png", "pdf"):
        a, b, c = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "abc")
        assert a == b != c
