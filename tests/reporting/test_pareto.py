"""Accuracy over time: one marker per method with both, the front as steps, labels side by side."""

from itertools import combinations
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image
from synthetic_scores import with_bare_category

from drdc.reporting.pareto import conditions, draw, pareto, points
from drdc.runtime.errors import UserError

TIMES = {"base full": 0.1, "drdc full": 4.0, "drdc steps=1": 0.5, "drdc steps=20": 8.0}
LEVELS = {"base full": 0.90, "drdc full": 0.97, "drdc steps=1": 0.94, "drdc steps=20": 0.96}


def costs(times: dict[str, float] = TIMES) -> pd.DataFrame:
    rows = [(*name.split(), seconds, "AMD EPYC", 2, 4) for name, seconds in times.items()]
    return pd.DataFrame(
        rows, columns=["method", "variant", "seconds_per_image", "device", "threads", "batch_size"]
    )


def scores(levels: dict[str, float] = LEVELS, seeds: int = 2) -> pd.DataFrame:
    rows = [
        ("toy", *name.split(), str(seed), category, metric, level - drop + 0.01 * seed, "")
        for name, level in levels.items()
        for seed in range(seeds)
        for category in ("gear", "nut")
        for metric, drop in (("image_auroc", 0.0), ("pixel_ap", 0.5))
    ]
    names = ["experiment", "method", "variant", "seed", "category", "metric", "value", "note"]
    return pd.DataFrame(rows, columns=names)


def markers(axes: Axes) -> list[list[float]]:
    """Places of the markers, legend entries left out."""
    return sorted(place for found in axes.collections for place in np.asarray(found.get_offsets()).tolist())


def test_a_marker_per_method_at_its_seconds_and_percent() -> None:
    image, pixel = draw(points(costs(), scores()), "").axes
    percent = {0.1: 90.5, 0.5: 94.5, 4.0: 97.5, 8.0: 96.5}
    np.testing.assert_allclose(markers(image), list(percent.items()))
    np.testing.assert_allclose(markers(pixel), [(x, y - 50) for x, y in percent.items()])
    assert image.get_xscale() == "log"


def test_front_holds_what_nothing_beats_in_both_and_is_drawn_as_steps() -> None:
    found = points(costs(), scores())
    front = found[found["front"] & (found["metric"] == "image_auroc")]
    assert list(front["variant"]) == ["full", "full", "steps=1"]
    axes = draw(found, "").axes[0]
    (line,) = (line for line in axes.lines if line.get_label() == "Pareto front")
    assert line.get_drawstyle() == "steps-post"
    np.testing.assert_allclose(line.get_xydata()[:3], [(0.1, 90.5), (0.5, 94.5), (4.0, 97.5)])
    filled = [tuple(c[:3]) != (1, 1, 1) for found in axes.collections for c in found.get_facecolors()
              if len(found.get_offsets())]  # fmt: skip
    assert sorted(filled) == [False, True, True, True]


def test_of_equal_methods_both_are_on_the_front() -> None:
    times = {"base full": 1.0, "drdc full": 1.0, "drdc steps=1": 1.0}
    found = points(costs(times), scores({"base full": 0.9, "drdc full": 0.9, "drdc steps=1": 0.8}))
    assert list(found.loc[found["metric"] == "image_auroc", "front"]) == [True, True, False]


def test_only_methods_with_cost_and_score_are_drawn_and_the_others_named() -> None:
    without_cost = {**TIMES, "drdc full": nan}
    failed = scores()
    bad = failed["variant"] == "steps=1"
    failed = failed.assign(value=failed["value"].mask(bad), note=np.where(bad, "failed; see x.log", ""))
    figure = draw(points(costs(without_cost), failed), "Measured here.")
    assert [place[0] for place in markers(figure.axes[0])] == [0.1, 8.0]
    text = " ".join(figure.get_supxlabel().split())
    assert text.startswith("Measured here.")
    assert text.endswith("Without a score: DRDC, steps=1.")


def test_methods_are_compared_on_shared_seeds() -> None:
    few = scores()
    few = few[(few["variant"] == "full") | (few["seed"] == "0")]
    found = points(costs(), few)
    assert set(found["seeds"]) == {1}
    assert found["percent"].max() == pytest.approx(97.0)


def test_device_stands_underneath() -> None:
    assert (
        conditions(costs())
        == "Time: shortest of five for one test image on AMD EPYC, threads: 2, batch size: 4."
    )
    two = pd.concat([costs(), costs().assign(device="H200")])
    assert conditions(two).count("threads: 2") == 2


@pytest.mark.parametrize("crowd", [4, 12])
def test_labels_overlap_neither_each_other_nor_the_frame(crowd: int) -> None:
    names = [f"drdc steps={n}" for n in range(1, crowd + 1)]
    times = {name: 1.0 + 0.2 * n for n, name in enumerate(names)}
    figure = draw(points(costs(times), scores(dict.fromkeys(names, 0.9))), "")
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    for axes in figure.axes:
        boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]
        assert len(boxes) == crowd
        assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
        frame = axes.get_window_extent(renderer)
        assert all(frame.contains(b.x0, b.y0) and frame.contains(b.x1, b.y1) for b in boxes)


def test_without_masks_there_is_one_panel() -> None:
    frame = scores()
    pixel = frame["metric"] == "pixel_ap"
    frame = frame.assign(value=frame["value"].mask(pixel), note=np.where(pixel, "not defined: no masks", ""))
    assert len(draw(points(costs(), frame), "").axes) == 1


def test_further_methods_have_their_own_marker_and_names_are_no_formulas(tmp_path: Path) -> None:
    times, levels = {**TIMES, "$x_y^ full": 1.0}, {**LEVELS, "$x_y^ full": 0.8}
    figure = draw(points(costs(times), scores(levels)), "$ 5 and $")
    assert not figure.legends
    for axes in figure.axes:
        names = {text.get_text() for text in axes.texts}
        assert names >= {"base", "DRDC", "DRDC, steps=1", "$x_y^"}
    pareto(costs(times), scores(levels), tmp_path / "p.png")


def test_same_numbers_same_bytes_and_other_numbers_other_bytes(tmp_path: Path) -> None:
    for name, times in (("a", TIMES), ("b", TIMES), ("c", {**TIMES, "base full": 0.2})):
        pareto(costs(times), scores(), tmp_path / f"{name}.png")
    for ending in ("png", "pdf"):
        a, b, c = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "abc")
        assert a == b != c


def test_without_any_score_the_picture_says_why(tmp_path: Path) -> None:
    for note in ("failed; see x", "not defined: no anomalous images"):
        none = scores().assign(value=nan, note=note)
        assert set(points(costs(), none)["note"]) == {note}
        pareto(costs(), none, tmp_path / "p.png")
        assert Image.open(tmp_path / "p.png").width == 1200


def test_the_text_says_over_how_many_categories_the_means_are() -> None:
    frame = scores()
    total = frame["category"].nunique()
    text = " ".join(draw(points(costs(), frame), "").get_supxlabel().split())
    assert f"mean over {total} categor" in text
    text = " ".join(draw(points(costs(), with_bare_category(frame, "pixel_ap")), "").get_supxlabel().split())
    assert f"mean Image AUROC over {total + 1}, Pixel AP over {total} of {total + 1} categories" in text


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    for bad_costs, bad_scores, sentence in (
        (costs().drop(columns="device"), scores(), "column device is missing"),
        (costs(), scores().drop(columns="seed"), "column seed is missing"),
        (pd.concat([costs(), costs()]), scores(), "the method base full appears twice"),
        (costs().assign(seconds_per_image=nan), scores(), "no time of any method"),
        (costs(), scores().assign(variant="other"), "contain none of base full"),
    ):
        with pytest.raises(UserError, match=sentence):
            pareto(bad_costs, bad_scores, tmp_path / "p.png")
    assert not list(tmp_path.iterdir())
