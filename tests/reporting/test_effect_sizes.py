"""Effect sizes are those of the image scores, of every method."""

from math import isnan
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_images import images, of, with_methods

from drdc.config.described import Described
from drdc.reporting.effect_sizes import draw_separation, effect_sizes, separation
from drdc.reporting.separation import ALL, cohens_d


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
    ours = frame["method"] == "drdc"
    frame["score"] += 5.0 * (better & ours)
    worse = (frame["category"] == "valve") & (frame["label"] == 1)
    frame["score"] -= 0.5 * (worse & ours)
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


def test_what_a_failed_job_lacks_has_no_effect_size() -> None:
    frame = images(3, 2)
    part = frame[(frame["category"] != "valve") | (frame["seed"] == "0") | (frame["method"] == "base")]
    sizes = effect_sizes(part).set_index(["category", "method"])
    lacking = sizes[sizes["mean"].isna()]
    assert set(lacking.index) == {("valve", "drdc"), (ALL, "drdc")}
    assert set(lacking["note"]) == {"failed; no scores of valve for seed 1"}
    (axes,) = draw_separation(sizes.reset_index()).axes
    assert [text.get_text().strip() for text in axes.texts] == ["failed"] * 2
    log = "failed; see results/toy/logs/predict.seed1.full.cap.log"
    everywhere = effect_sizes(frame, failed={("drdc", "1", "cap"): log}).set_index(["category", "method"])
    assert everywhere.loc[[("cap", "drdc"), (ALL, "drdc")], "note"].tolist() == [log] * 2
    assert not isnan(everywhere.loc[(ALL, "base"), "mean"])


def test_a_method_of_fewer_seeds_says_so() -> None:
    frame = with_methods(images(3, 2), ["baseline"])
    one = frame[(frame["method"] != "baseline") | (frame["seed"] == "0")]
    for part, told in ((frame, "baseline"), (one, "baseline (1 seed)")):
        (axes,) = draw_separation(effect_sizes(part, {"baseline": Described()})).axes
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == ["base", "DRDC", told]


def test_further_methods_have_markers_of_their_own_behind_base_and_drdc() -> None:
    names = [f"net{i}" for i in range(15)]
    frame = with_methods(images(3, 2), names)
    sizes = effect_sizes(frame, dict.fromkeys(names, Described()))
    (axes,) = draw_separation(sizes).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["base", "DRDC", *names]
    drawn = {str(line.get_label()): line for line in axes.lines}
    assert len({(drawn[name].get_color(), drawn[name].get_marker()) for name in names}) == 15
    order = [label.get_text() for label in axes.get_yticklabels()]
    expected = sizes[sizes["method"] == "net7"].set_index("category")["mean"].loc[order]
    np.testing.assert_allclose(drawn["net7"].get_xdata(), expected)
    alone = effect_sizes(frame).set_index(["category", "method"])
    pd.testing.assert_frame_equal(sizes.set_index(["category", "method"]).loc[alone.index], alone)


def test_same_numbers_same_bytes_and_other_numbers_other_bytes(tmp_path: Path) -> None:
    frame = images(2, 2)
    for name, one in (("a", frame), ("b", frame), ("c", frame.assign(score=frame["score"] ** 2))):
        separation(one, tmp_path / f"{name}.png")
    for ending in ("png", "pdf"):
        a, b, c = ((tmp_path / f"{name}.{ending}").read_bytes() for name in "abc")
        assert a == b != c
