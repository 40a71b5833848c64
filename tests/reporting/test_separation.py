"""Overlap, Cohen's d and the rates at a threshold, against numbers worked out by hand."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from made_scores import cells

from drdc.errors import UserError
from drdc.reporting.separation import cohens_d, overlap, separation, threshold

COLUMNS = ("seed", "row", "path", "category", "split", "defect_type", "label", "base", "diffusion", "drdc")


Change = Callable[[pd.DataFrame], pd.DataFrame]


def images(category: str, held_out: list, good: list, anomalous: list, seed: int = 0) -> pd.DataFrame:
    """Rows whose base score is as given and whose DRDC score is twice that."""
    parts = (("val", "good", 0, held_out), ("test", "good", 0, good), ("test", "bent", 1, anomalous))
    rows = [
        (seed, i, f"{i}.png", category, split, kind, label, score, 0.0, 2.0 * score)
        for split, kind, label, scores in parts
        for i, score in enumerate(scores)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_overlap_of_the_same_of_distant_and_of_half_shared_samples() -> None:
    apart, same = np.array([0.0, 0.1]), np.array([9.9, 10.0])
    assert overlap(apart, same) == 0.0
    assert overlap(same, same) == 1.0
    assert overlap(np.array([0.0, 10.0]), np.array([10.0, 10.0, 10.0])) == pytest.approx(0.5)
    assert overlap(np.array([3.0]), np.array([3.0, 3.0])) == 1.0


def test_overlap_is_symmetric_and_free_of_scale() -> None:
    a, b = np.random.default_rng(0).normal([[0.0], [1.0]], 1.0, (2, 200))
    assert overlap(a, b) == pytest.approx(overlap(b, a))
    assert overlap(a, b) == pytest.approx(overlap(100 * a, 100 * b))
    assert overlap(a, b) == pytest.approx(2 * 0.3085, abs=0.08)  # 2 Φ(−d / 2) of two normals with d = 1


def test_cohens_d_by_hand() -> None:
    # variances 1 and 4 with 3 and 5 values: s² = (2 · 1 + 4 · 4) / 6 = 3
    normal, anomalous = np.array([0.0, 1.0, 2.0]), np.array([3.0, 3.0, 5.0, 7.0, 7.0])
    assert cohens_d(normal, anomalous) == pytest.approx(4.0 / np.sqrt(3.0))
    assert cohens_d(anomalous, normal) == pytest.approx(-4.0 / np.sqrt(3.0))
    assert np.isnan(cohens_d(normal[:1], anomalous))
    assert np.isnan(cohens_d(np.ones(3), np.ones(3)))


@pytest.mark.parametrize(("count", "exceeding"), [(1, 0), (19, 0), (20, 1), (39, 1), (40, 2), (100, 5)])
def test_threshold_is_exceeded_by_five_percent_at_most(count: int, exceeding: int) -> None:
    held_out = np.random.default_rng(1).permutation(count).astype(float)
    limit = threshold(held_out)
    assert (held_out > limit).sum() == exceeding
    assert limit in held_out


def test_rates_come_from_the_held_out_images_not_from_the_test() -> None:
    rows = images("gear", list(range(20)), good=[0, 5, 18.5, 30], anomalous=[18, 19, 20, 40, 50])
    found = cells(separation(rows))  # of 20 held-out scores one exceeds 18
    assert found["gear: base", "detection rate"].mean == pytest.approx(80.0)
    assert found["gear: base", "false alarm rate"].mean == pytest.approx(50.0)
    for measure in ("overlap", "Cohen's d", "detection rate", "false alarm rate"):
        assert found["gear: DRDC", measure].mean == pytest.approx(found["gear: base", measure].mean)


def test_all_together_pools_the_categories_under_one_threshold() -> None:
    low = images("gear", [0.0] * 20, good=[0.0, 0.0], anomalous=[1.0, 1.0])
    high = images("nut", [10.0] * 20, good=[10.0, 10.0], anomalous=[11.0, 11.0])
    table = separation(pd.concat([low, high]))
    assert [label for label, _ in table.rows][-2:] == ["all together: base", "all together: DRDC"]
    found = cells(table)
    assert found["gear: base", "detection rate"].mean == 100.0
    assert found["all together: base", "detection rate"].mean == 50.0
    assert found["all together: base", "false alarm rate"].mean == 0.0


def test_mean_and_deviation_over_seeds() -> None:
    first = images("gear", [1.0] * 20, good=[0.0, 1.0], anomalous=[2.0, 2.0])
    second = images("gear", [1.0] * 20, good=[0.0, 1.0], anomalous=[2.0, 0.5], seed=1)
    cell = cells(separation(pd.concat([first, second])))["gear: base", "detection rate"]
    assert (cell.mean, cell.seeds) == (75.0, 2)
    assert cell.std == pytest.approx(np.sqrt(1250.0))


@pytest.mark.parametrize(
    ("sets", "reasons"),
    [
        (([], [0.0, 1.0], [1.0, 2.0]), ("", "", "no held-out normal image", "no held-out normal image")),
        (([1.0], [], [1.0, 2.0]), ("no good test image", "no good test image", "", "no good test image")),
        (
            ([1.0], [0.0, 1.0], []),
            ("no anomalous test image", "no anomalous test image", "no anomalous test image", ""),
        ),
        (([1.0], [0.0], [1.0]), ("", "fewer than two images of a kind, or all scores the same", "", "")),
    ],
)
def test_what_is_not_defined_is_explained(sets: tuple, reasons: tuple) -> None:
    table = separation(images("gear", *sets))
    assert tuple(cell.note for cell in table.rows[0][1]) == reasons
    for reason in filter(None, reasons):
        assert any(reason in note for note in table.notes)


def test_notes_state_bins_and_threshold() -> None:
    notes = " ".join(separation(images("gear", [1.0] * 20, [0.0, 1.0], [2.0, 3.0])).notes)
    assert "20 bins that hold equally many" in notes
    assert "exceeded by 5 % of the held-out normal images" in notes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows.head(0), "at least one image"),
        (lambda rows: rows.assign(drdc=np.nan), "finite scores"),
        (lambda rows: rows.assign(base="high"), "column base holds something that is not a number"),
        (lambda rows: rows.drop(columns="split"), "column split is missing"),
    ],
)
def test_bad_image_scores_are_refused(change: Change, words: str) -> None:
    with pytest.raises(UserError, match=words):
        separation(change(images("gear", [1.0], [0.0, 1.0], [2.0, 3.0])))
