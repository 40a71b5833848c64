"""Overlap, Cohen's d and the rates at a threshold, against numbers worked out by hand."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_scores import cells

from drdc.config.described import Described
from drdc.evaluation.calibration import Calibration
from drdc.reporting.separation import cohens_d, limit, overlap, separation
from drdc.runtime.errors import UserError

COLUMNS = ("seed", "row", "path", "category", "split", "defect_type", "label", "method", "score")


NO_THRESHOLD = "a threshold needs 19 held-out normal images, and there are 0"
NO_GOOD, NO_ANOMALOUS = "no good test image", "no anomalous test image"
Change = Callable[[pd.DataFrame], pd.DataFrame]


def scores_of() -> st.SearchStrategy[np.ndarray]:
    """A few scores, many of them equal."""
    return st.lists(st.integers(-4, 4), min_size=1, max_size=12).map(lambda scores: np.array(scores, float))


def images(category: str, held_out: list, good: list, anomalous: list, seed: int = 0) -> pd.DataFrame:
    """Rows whose base score is as given and whose DRDC score is twice that."""
    parts = (("val", "good", 0, held_out), ("test", "good", 0, good), ("test", "bent", 1, anomalous))
    rows = [
        (seed, i, f"{i}.png", category, split, kind, label, method, factor * score)
        for split, kind, label, scores in parts
        for i, score in enumerate(scores)
        for method, factor in (("base", 1.0), ("diffusion", 0.0), ("drdc", 2.0))
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS)).assign(group=category)


def test_overlap_of_the_same_of_distant_and_of_half_shared_samples() -> None:
    apart, same = np.array([0.0, 0.1]), np.array([9.9, 10.0])
    assert overlap(apart, same) == 0.0
    assert overlap(same, same) == 1.0
    assert overlap(np.array([0.0, 10.0]), np.array([10.0, 10.0, 10.0])) == pytest.approx(0.5)
    assert overlap(np.array([3.0]), np.array([3.0, 3.0])) == 1.0
    assert overlap(np.array([1.0, 2.0, 2.0, 3.0]), np.array([2.0, 3.0])) == pytest.approx(0.75)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 3))
def test_overlap_is_nothing_exactly_where_a_threshold_separates(good: int, anomalous: int, ties: int) -> None:
    normal = np.arange(good) // (1 + ties) - 100.0
    higher = np.arange(anomalous) // (1 + ties) * 1.0
    assert overlap(normal, higher) == 0.0
    touching = np.append(higher, normal.max())  # one image at the highest normal score
    assert overlap(normal, touching) > 0.0


@given(scores_of(), scores_of())
def test_overlap_is_the_least_sum_of_false_alarms_and_misses(
    normal: np.ndarray, anomalous: np.ndarray
) -> None:
    limits = [-np.inf, *normal, *anomalous]
    sums = [np.mean(normal > t) + np.mean(anomalous <= t) for t in limits]
    assert overlap(normal, anomalous) == pytest.approx(min(sums))


def test_overlap_is_free_of_scale_and_all_where_the_order_is_reversed() -> None:
    a, b = np.random.default_rng(0).normal([[0.0], [1.0]], 1.0, (2, 200))
    assert overlap(b + 9, a) == 1.0
    assert overlap(a, b) == pytest.approx(overlap(-b, -a))
    assert overlap(a, b) == pytest.approx(overlap(100 * a, 100 * b))
    assert overlap(a, b) == pytest.approx(2 * 0.3085, abs=0.08)  # 2 Φ(−d / 2) of two normals with d = 1


def test_cohens_d_by_hand() -> None:
    # variances 1 and 4 with 3 and 5 values: s² = (2 · 1 + 4 · 4) / 6 = 3
    normal, anomalous = np.array([0.0, 1.0, 2.0]), np.array([3.0, 3.0, 5.0, 7.0, 7.0])
    assert cohens_d(normal, anomalous) == pytest.approx(4.0 / np.sqrt(3.0))
    assert cohens_d(anomalous, normal) == pytest.approx(-4.0 / np.sqrt(3.0))
    assert np.isnan(cohens_d(normal[:1], anomalous))


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("other", [0.1, 0.9])
def test_there_is_no_cohens_d_of_scores_without_spread(value: float, other: float) -> None:
    """However their variance is rounded."""
    for counts in ((3, 3), (3, 6), (7, 2)):
        assert np.isnan(cohens_d(np.full(counts[0], value), np.full(counts[1], other)))


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.3, 0.5])
def test_the_threshold_is_that_of_detect(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """For all sizes of two groups: of the own images if enough, else of all, else none."""
    monkeypatch.setattr("drdc.reporting.separation.RATE", rate)
    rng = np.random.default_rng(0)
    for count in range(1, 401):
        names = np.array(["gear"] * count + ["nut"] * rng.integers(0, 40))
        scores = rng.normal(size=len(names)).round(1)
        detect = Calibration(scores, scores, names, names)
        rows = pd.DataFrame({"group": names, "score": scores})
        for group in ("gear", None):
            found, why = limit(rows, group)
            if why:
                with pytest.raises(UserError, match="held-out normal images"):
                    detect.reference(rate, group=group)
            else:
                assert found == detect.reference(rate, group=group).threshold


def test_categories_with_few_held_out_images_share_a_threshold_and_that_is_said() -> None:
    few = images("nut", [50.0] * 3, good=[0.0, 51.0], anomalous=[52.0, 53.0])
    many = images("gear", list(range(20)), good=[0.0], anomalous=[1.0])
    table = separation(pd.concat([few, many]))
    assert cells(table)["nut: base", "detection rate"].mean == 100.0
    assert cells(table)["nut: base", "false alarm rate"].mean == 50.0
    said = (
        "categories that share a threshold, because some have fewer than 19 held-out normal images: "
        "gear (20), nut (3)."
    )
    assert said in table.notes
    alone = separation(few)
    note = cells(alone)["nut: base", "detection rate"].note
    assert note == "a threshold needs 19 held-out normal images, and there are 3"


def test_rates_come_from_the_held_out_images_not_from_the_test() -> None:
    rows = images("gear", list(range(20)), good=[0, 5, 18.5, 30], anomalous=[18, 19, 20, 40, 50])
    found = cells(separation(rows))  # of 20 held-out scores none exceeds 19
    assert found["gear: base", "detection rate"].mean == pytest.approx(60.0)
    assert found["gear: base", "false alarm rate"].mean == pytest.approx(25.0)
    for measure in ("overlap", "Cohen's d", "detection rate", "false alarm rate"):
        assert found["gear: DRDC", measure].mean == pytest.approx(found["gear: base", measure].mean)


def test_one_threshold_for_all_and_one_for_each_category() -> None:
    low = images("gear", [0.0] * 20, good=[0.0, 0.0], anomalous=[1.0, 1.0])
    high = images("nut", [10.0] * 20, good=[10.0, 10.0], anomalous=[11.0, 11.0])
    table = separation(pd.concat([low, high]))
    assert [label for label, _ in table.rows][-2:] == ["all together: base", "all together: DRDC"]
    found = cells(table)
    assert found["gear: base", "detection rate"].mean == 100.0
    assert found["all together: base", "detection rate"].mean == 100.0, "each by its own"
    assert found["all together: base", "detection rate, one threshold"].mean == 50.0
    assert found["gear: base", "detection rate, one threshold"].mean == 0.0
    assert found["nut: base", "detection rate, one threshold"].mean == 100.0
    assert found["all together: base", "false alarm rate, one threshold"].mean == 0.0


def test_an_image_has_the_threshold_of_its_group_not_of_its_folder() -> None:
    low = images("gear", [0.0] * 20, good=[0.0, 5.0], anomalous=[1.0, 1.0])
    high = images("nut", [10.0] * 20, good=[10.0, 10.0], anomalous=[11.0, 11.0])
    rows = pd.concat([low, high], ignore_index=True)
    chosen = (rows["category"] == "gear") & rows["score"].isin([5.0, 10.0]) & (rows["split"] == "test")
    found = cells(separation(rows.assign(group=rows["group"].mask(chosen, "nut"))))
    assert found["gear: base", "false alarm rate"].mean == 0.0
    assert cells(separation(rows))["gear: base", "false alarm rate"].mean == 50.0


def test_mean_and_standard_deviation_over_seeds() -> None:
    first = images("gear", [1.0] * 20, good=[0.0, 1.0], anomalous=[2.0, 2.0])
    second = images("gear", [1.0] * 20, good=[0.0, 1.0], anomalous=[2.0, 0.5], seed=1)
    cell = cells(separation(pd.concat([first, second])))["gear: base", "detection rate"]
    assert (cell.mean, cell.seeds) == (75.0, 2)
    assert cell.std == pytest.approx(np.sqrt(1250.0))


@pytest.mark.parametrize(
    ("sets", "reasons"),
    [
        (([], [0.0, 1.0], [1.0, 2.0]), ("", "", NO_THRESHOLD, NO_THRESHOLD)),
        (([1.0] * 19, [], [1.0, 2.0]), (NO_GOOD, NO_GOOD, "", NO_GOOD)),
        (([1.0] * 19, [0.0, 1.0], []), (NO_ANOMALOUS, NO_ANOMALOUS, NO_ANOMALOUS, "")),
        (
            ([1.0] * 19, [0.0], [1.0]),
            ("", "fewer than two images of a kind, or all scores of each the same", "", ""),
        ),
        (([1.0] * 19, [], []), (NO_GOOD, NO_GOOD, NO_ANOMALOUS, NO_GOOD)),
    ],
)
def test_what_is_not_defined_is_explained(sets: tuple, reasons: tuple) -> None:
    table = separation(images("gear", *sets))
    assert tuple(cell.note for cell in table.rows[0][1]) == (*reasons, *reasons[2:])
    for reason in filter(None, reasons):
        assert any(reason in note for note in table.notes)


def test_notes_define_overlap_and_threshold() -> None:
    notes = " ".join(separation(images("gear", [1.0] * 20, [0.0, 1.0], [2.0, 3.0])).notes)
    assert "false alarm rate plus miss rate at the threshold where their sum is smallest" in notes
    assert "a normal image exceeds with a chance of at most 5 %" in notes
    assert "share a threshold" not in notes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.head(0), "no scores of base or DRDC"),
        (lambda rows: rows.assign(score=np.nan), "NaN or infinite"),
        (lambda rows: rows.assign(score="high"), "column score holds something that is not a number"),
        (lambda rows: rows.drop(columns="split"), "column split is missing"),
    ],
)
def test_bad_image_scores_are_refused(change: Change, words: str) -> None:
    with pytest.raises(UserError, match=words):
        separation(change(images("gear", [1.0], [0.0, 1.0], [2.0, 3.0])))


# what a failed job lacks


def of_two(held_out: int) -> pd.DataFrame:
    """Two categories at two seeds, without the second category at the second seed."""
    rows = pd.concat(
        images(name, list(range(held_out)), good=[0.0, 1.0], anomalous=[2.0, 30.0], seed=seed)
        for name in ("gear", "nut") for seed in (0, 1)
    )  # fmt: skip
    return rows[(rows["category"] == "gear") | (rows["seed"] == 0)]


def test_all_together_fails_where_a_seed_lacks_a_category() -> None:
    table = separation(of_two(held_out=20))
    why = "failed; no scores of nut for seed 1"
    for label, row in table.rows:
        together = label.startswith(("nut", "all together"))
        expected = [why] * 6 if together else [""] * 4 + [why] * 2
        assert [cell.note for cell in row] == expected, "one threshold needs the images of all categories"
    assert not any("test image" in note for note in table.notes[7:])
    shared = cells(separation(of_two(held_out=10)))
    assert shared["gear: base", "detection rate"].note == why, "so does a threshold of groups that join"


def test_a_category_that_failed_everywhere_has_a_row_with_the_log() -> None:
    rows = images("gear", [1.0] * 20, good=[0.0, 1.0], anomalous=[2.0, 3.0])
    log = "failed; see results/toy/logs/predict.seed0.full.nut.log"
    table = separation(rows, failed={(method, "0", "nut"): log for method in ("base", "drdc")})
    found = cells(table)
    assert found["gear: DRDC", "detection rate"].mean == 100.0
    for row in ("nut: DRDC", "all together: base"):
        assert {cell.note for (label, _), cell in found.items() if label == row} == {log}
    assert any("see results/toy/logs/predict.seed0.full.nut.log" in note for note in table.notes)


# several methods


def net(rows: pd.DataFrame, factor: float = -1.0) -> pd.DataFrame:
    """The same images as another method scores them."""
    base = rows[rows["method"] == "base"]
    return base.assign(method="net", score=factor * base["score"])


def test_each_method_of_the_configuration_has_a_row_per_category() -> None:
    rows = images("gear", list(range(20)), good=[0, 5], anomalous=[18, 40])
    table = separation(pd.concat([rows, net(rows)]), {"net": Described()})
    labels = [f"{place}: {name}" for place in ("gear", "all together") for name in ("base", "DRDC", "net")]
    assert [label for label, _ in table.rows] == labels
    assert (table.group, table.footer) == (3, 3)
    found, alone = cells(table), cells(separation(rows))
    assert found["gear: net", "Cohen's d"].mean == pytest.approx(-alone["gear: base", "Cohen's d"].mean)
    assert all(repr(found[key]) == repr(cell) for key, cell in alone.items())


def test_a_method_without_scores_is_named_and_one_with_fewer_seeds_counted() -> None:
    both = [images("gear", [1.0] * 20, good=[0.0, 1.0], anomalous=[2.0, 3.0], seed=s) for s in (0, 1)]
    table = separation(pd.concat([*both, net(both[1])]), {"net": Described(), "lost": Described()})
    assert "without image scores, because scoring failed: lost." in table.notes
    assert any("the seeds that each method has (base 2, DRDC 2, net 1)" in note for note in table.notes)
    assert cells(table)["gear: net", "overlap"].seeds == 1
