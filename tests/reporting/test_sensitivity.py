"""Figure 2 shows the scores' means on shared seeds, marks the default, and says what failed."""

from itertools import combinations
from math import isnan, nan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from synthetic_scores import with_bare_category

from drdc.reporting.method_means import method_means
from drdc.reporting.sensitivity import Sweep, draw, fig2, sensitivity_data
from drdc.runtime.errors import UserError

STEPS = Sweep("steps", ("5", "10", "20"), "10")
START = Sweep("normalisation", ("mean", "none"), "mean")
FAILED = "failed; see results/toy/logs/score.log"


def scores(seeds: int = 2, **changes: float | str) -> pd.DataFrame:
    """Two categories; `changes`: variant -> a value for its cells, or the note of one without."""
    levels = {"full": 0.95, "steps=5": 0.91, "steps=20": 0.96, "normalisation=none": 0.90}
    rows = []
    for variant, level in levels.items():
        change = changes.get(variant, level)
        for seed in range(seeds):
            for category, metric, plus in (
                ("gear", "image_auroc", -0.03), ("tile", "image_auroc", 0.01), ("gear", "pixel_auroc", 0.02),
                ("tile", "pixel_auroc", 0.02),
            ):  # fmt: skip
                note = change if isinstance(change, str) else ""
                value = nan if isinstance(change, str) else change + plus + 0.01 * seed
                rows.append(("toy", "drdc", variant, str(seed), category, metric, value, note))
    names = ["experiment", "method", "variant", "seed", "category", "metric", "value", "note"]
    return pd.DataFrame(rows, columns=names)


def row(data: pd.DataFrame, value: str, metric: str = "image_auroc") -> pd.Series:
    return data[(data["value"] == value) & (data["metric"] == metric)].iloc[0]


def figure(frame: pd.DataFrame, *sweeps: Sweep) -> Figure:
    return draw(sensitivity_data(frame, sweeps), sweeps)


def line(axes: Axes, name: str) -> np.ndarray:
    return np.array([found.get_xydata()[:] for found in axes.lines if found.get_label() == name])


def test_data_are_means_over_categories_then_seeds_with_their_spread() -> None:
    data = sensitivity_data(scores(), [STEPS])
    five = row(data, "5")
    assert five["variant"] == "steps=5"
    assert five["mean"] == pytest.approx(0.91 - 0.01 + 0.005)  # categories -0.03 and 0.01, seeds 0 and 0.01
    assert five["std"] == pytest.approx(0.01 / np.sqrt(2))
    assert five["seeds"] == 2
    assert row(data, "10")["variant"] == "full"
    assert list(data["value"]) == ["5", "5", "10", "10", "20", "20"]


def test_all_variants_are_compared_on_the_seeds_that_they_share() -> None:
    frame = pd.concat([scores(1), scores(3).query("variant == 'full' and seed != '0'")])
    data = sensitivity_data(frame, [STEPS])
    assert set(data["seeds"]) == {1}
    assert row(data, "10")["mean"] == pytest.approx(0.94)
    assert isnan(row(data, "10")["std"])


def test_seeds_can_be_named_and_what_lacks_one_is_marked() -> None:
    frame = pd.concat([scores(1), scores(2).query("variant == 'full' and seed == '1'")])
    data = sensitivity_data(frame, [STEPS], seeds=["0", "1"])
    assert row(data, "10")["seeds"] == 2
    assert isnan(row(data, "5")["mean"])
    assert row(data, "5")["note"] == "no score for seed 1"


def test_no_shared_seed_is_refused() -> None:
    frame = scores(2)
    frame = frame[(frame["variant"] == "full") == (frame["seed"] == "0")]
    with pytest.raises(UserError, match="share no seed"):
        sensitivity_data(frame, [STEPS])


def test_a_failed_category_fails_the_variant_but_one_defined_nowhere_is_left_out() -> None:
    frame = scores()
    tile = (frame["category"] == "tile") & (frame["metric"] == "image_auroc")
    undefined = frame.assign(
        value=frame["value"].mask(tile), note=np.where(tile, "not defined: no defect", "")
    )
    assert row(sensitivity_data(undefined, [STEPS]), "5")["mean"] == pytest.approx(0.91 - 0.03 + 0.005)
    one = tile & (frame["variant"] == "steps=5") & (frame["seed"] == "1")
    failed = frame.assign(value=frame["value"].mask(one), note=np.where(one, FAILED, ""))
    data = sensitivity_data(failed, [STEPS])
    assert row(data, "5")["note"] == FAILED
    assert isnan(row(data, "5")["mean"])
    assert row(data, "5", "pixel_auroc")["mean"] == pytest.approx(0.935)


def test_lines_show_the_data_in_percent_in_the_order_of_the_numbers() -> None:
    left, right = figure(scores(), Sweep("steps", ("20", "5", "10"), "10")).axes
    np.testing.assert_allclose(line(left, "image_auroc")[0], [[5, 90.5], [10, 94.5], [20, 95.5]])
    np.testing.assert_allclose(line(right, "pixel_auroc")[0], [[5, 93.5], [10, 97.5], [20, 98.5]])


def test_words_stand_evenly_spaced_and_are_turned_where_they_have_no_room() -> None:
    _, lower = figure(scores(), START).axes
    np.testing.assert_allclose(line(lower, "pixel_auroc")[0][:, 0], [0, 1])
    assert [tick.get_text() for tick in lower.get_xticklabels()] == ["mean", "none"]
    assert lower.get_xticklabels()[0].get_rotation() == 0
    many = Sweep("steps", ("1+2+4", "1+2+4+8", "1+2+4+8+16"), "1+2+4")
    frame = scores().replace(
        {"variant": {f"steps={a}": f"steps={b}" for a, b in zip(("5", "20"), many.values[1:], strict=True)}}
    )
    assert figure(frame, many).axes[1].get_xticklabels()[0].get_rotation() > 0


def test_only_numbers_are_joined_and_each_metric_has_axes_of_its_own() -> None:
    raw = Sweep("raw_weight", ("0.9", "0.99", "1"), "0.9", "raw")
    also = {"full": "raw", "steps=5": "raw_weight=0.99", "steps=20": "raw_weight=1"}
    frame = pd.concat([scores(), scores().replace({"variant": also})]).drop_duplicates()
    drawn = figure(frame, STEPS, START, raw)
    styles = [
        one.get_linestyle()
        for axes in drawn.axes
        for one in axes.lines
        if one.get_label() in ("image_auroc", "pixel_auroc")
    ]
    assert styles == ["-", "-", *["None"] * 4]
    drawn.draw_without_rendering()
    boxes = [axes.get_position() for axes in drawn.axes]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert [axes.get_ylabel() for axes in drawn.axes] == ["Image AUROC (%)", "Pixel AUROC (%)", *[""] * 4]


def test_default_is_marked_in_every_panel() -> None:
    for axes, place in zip(figure(scores(), STEPS, START).axes[::2], (10, 0), strict=True):
        assert set(line(axes, "default")[0][:, 0]) == {place}
        assert "default" in [text.get_text() for text in axes.texts]


def test_the_weight_of_raw_maps_is_the_papers_and_its_values_stand_evenly_spaced() -> None:
    raw = Sweep("raw_weight", ("0.9", "0.99", "1"), "0.9", "raw")
    frame = scores().replace(
        {"variant": {"full": "raw", "steps=5": "raw_weight=0.99", "steps=20": "raw_weight=1"}}
    )
    left, _ = figure(frame, raw).axes
    np.testing.assert_allclose(line(left, "image_auroc")[0][:, 0], [0, 1, 2])
    assert "paper" in [text.get_text() for text in left.texts]


def test_several_seeds_give_a_band_and_one_gives_none() -> None:
    left, right = figure(scores(2), STEPS).axes
    band = left.collections[0].get_paths()[0].vertices
    spread = 100 * 0.01 / np.sqrt(2)
    assert band[:, 1].max() == pytest.approx(95.5 + spread)
    assert band[:, 1].min() == pytest.approx(90.5 - spread)
    assert len(right.collections) == 1
    one = figure(scores(1), STEPS)
    assert not any(len(axes.collections) for axes in one.axes)
    assert "one seed, hence no spread" in [text.get_text() for text in one.legends[0].get_texts()]


def test_failed_value_is_left_out_of_the_line_and_marked() -> None:
    left, right = figure(scores(**{"steps=5": FAILED}), STEPS).axes
    np.testing.assert_allclose(line(left, "image_auroc")[0][:, 0], [10, 20])
    np.testing.assert_allclose(line(right, "pixel_auroc")[0][:, 0], [10, 20])
    np.testing.assert_allclose(line(left, "failed"), [[[5, 0]]])
    assert "failed" in [text.get_text() for text in left.texts]
    assert not len(line(figure(scores(), STEPS).axes[0], "failed"))


def test_all_failed_and_a_single_value_still_draw(tmp_path: Path) -> None:
    notes = dict.fromkeys(("full", "steps=5", "steps=20"), FAILED)
    fig2(scores(**notes), [STEPS], tmp_path / "failed.png")
    fig2(scores(), [Sweep("steps", ("10",), "10")], tmp_path / "single.png")
    assert len(list(tmp_path.glob("*.png"))) == 2


def test_without_masks_there_is_no_pixel_axis(tmp_path: Path) -> None:
    frame = scores()
    pixel = frame["metric"] == "pixel_auroc"
    none = frame.assign(value=frame["value"].mask(pixel), note=np.where(pixel, "not defined: no masks", ""))
    data = sensitivity_data(none, [STEPS])
    assert row(data, "5", "pixel_auroc")["note"] == "not defined: no masks"
    (only,) = draw(data, [STEPS]).axes
    assert not len(line(only, "failed"))
    fig2(frame.assign(value=nan, note="not defined: no masks"), [STEPS], tmp_path / "f.png")
    undefined = pd.read_csv(tmp_path / "f.csv")
    assert undefined["mean"].isna().all()
    assert Image.open(tmp_path / "f.png").width == 1200


def test_the_figure_and_its_numbers_say_over_how_many_categories_the_means_are() -> None:
    both = with_bare_category(scores(), "pixel_auroc")
    data = sensitivity_data(both, [STEPS])
    total = both["category"].nunique()
    assert row(data, "5", "image_auroc")["categories"] == f"{total}"
    assert row(data, "5", "pixel_auroc")["categories"] == f"{total - 1} of {total}"
    words = [text.get_text() for text in draw(data, [STEPS]).legends[0].get_texts()]
    over = f"mean Image AUROC over {total}, Pixel AUROC over {total - 1} of {total} categories"
    assert over in words


def test_axes_do_not_exaggerate_and_both_have_the_same_height() -> None:
    flat = dict.fromkeys(("full", "steps=5", "steps=20"), 0.95)
    for frame in (scores(1, **flat), scores()):
        heights = [np.ptp(axes.get_ylim()) for axes in figure(frame, STEPS).axes]
        assert heights[0] == pytest.approx(heights[1])
        assert heights[0] >= 2.0


def test_panels_are_lettered_and_named_with_the_papers_symbols() -> None:
    labels = [axes.get_xlabel() for axes in figure(scores(), STEPS, START).axes[1::2]]
    assert labels == ["(a) timesteps $|T|$", "(b) normalisation"]


def test_same_numbers_same_bytes_and_other_numbers_other_bytes(tmp_path: Path) -> None:
    for name, frame in (("a", scores()), ("b", scores().iloc[::-1]), ("c", scores(full=0.9))):
        fig2(frame, [STEPS, START], tmp_path / f"{name}.png")
    for ending in ("png", "pdf"):
        a, b, c = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "abc")
        assert a == b != c


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    frame = scores()
    for bad, sentence in (
        (frame.drop(columns="note"), "column note is missing"),
        (frame[frame["method"] == "base"], "contain none of drdc"),
        (pd.concat([frame, frame]), "more than one value for"),
        (frame.assign(value=frame["value"] * 100), "fractions, not percent"),
        (pd.concat([frame, frame.assign(experiment="other")]), "mix the experiments other, toy"),
    ):
        with pytest.raises(UserError, match=sentence):
            fig2(bad, [STEPS], tmp_path / "fig2.png")
    with pytest.raises(UserError, match="no sweep"):
        fig2(frame, [], tmp_path / "fig2.png")
    assert not list(tmp_path.iterdir())


def test_several_methods_share_seeds_and_categories() -> None:
    frame = pd.concat([scores(2), scores(1).query("variant == 'full'").assign(method="base", value=0.5)])
    means = method_means(frame, [("base", "full"), ("drdc", "full")], ["image_auroc"])
    assert list(means["mean"]) == pytest.approx([0.5, 0.94])
    assert set(means["seeds"]) == {1}
