"""Gains, losses and chance, against numbers worked out by hand."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_scores import cells, frame, score, two_seeds
from scipy.stats import binomtest

from drdc.reporting.formats import write
from drdc.reporting.significance import defects, significance
from drdc.reporting.tables import METRICS
from drdc.runtime.errors import UserError

DEFECT_COLUMNS = ("seed", "method", "category", "defect_type", "images", "metric", "value", "note")
LOG = "results/toy/logs/score.seed1.log"
CHANGE = "change of Image AUROC"


def defect(
    name: str, base: tuple[float, ...], drdc: tuple[float, ...], category: str = "gear"
) -> list[tuple]:
    """Rows of one defect type: image AUROC per seed, pixel AUROC always 0.7."""
    return [
        (seed, method, category, name, 12, metric, value if metric == "image_auroc" else 0.7, "")
        for method, values in (("base", base), ("drdc", drdc))
        for seed, value in enumerate(values)
        for metric in ("image_auroc", "pixel_auroc")
    ]


def made(*types: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame([row for rows in types for row in rows], columns=list(DEFECT_COLUMNS))


# defect types


def test_defects_are_sorted_by_category_then_from_gain_to_loss() -> None:
    table = defects(
        made(
            defect("bent", (0.8,), (0.7,)),
            defect("same", (0.8,), (0.8,)),
            defect("rust", (0.6,), (0.9,)),
            defect("hole", (0.5,), (0.6,), "bottle"),
        )
    )
    assert [label for label, _ in table.rows] == ["bottle: hole", "gear: rust", "gear: same", "gear: bent"]
    found = cells(table)
    assert [found[label, CHANGE].mean for label, _ in table.rows] == pytest.approx([10, 30, 0, -10])
    assert found["gear: rust", "images"].mean == 12
    assert found["gear: rust", "DRDC Pixel AUROC"].mean == pytest.approx(70.0)
    assert any("2 defect types gained, 1 lost, 1 stayed the same" in note for note in table.notes)


def test_change_is_the_mean_of_each_seeds_change() -> None:
    found = cells(defects(made(defect("bent", (0.5, 0.7), (0.6, 1.0)))))
    assert found["gear: bent", "base Image AUROC"].std == pytest.approx(np.sqrt(200))
    assert found["gear: bent", CHANGE].mean == pytest.approx(20.0)
    assert found["gear: bent", CHANGE].std == pytest.approx(np.sqrt(200))  # 10 and 30
    assert found["gear: bent", CHANGE].seeds == 2


def test_changes_carry_their_sign(tmp_path: Path) -> None:
    write(defects(made(defect("bent", (0.8,), (0.7,)), defect("rust", (0.6,), (0.9,)))), tmp_path / "t")
    text = (tmp_path / "t.md").read_text()
    assert re.search(r"rust .*\+30\.0", text)
    assert re.search(r"bent .*−10\.0", text)


def test_failed_and_missing_defect_values_are_explained() -> None:
    rows = made(defect("bent", (0.8, 0.8), (0.7, 0.7)), defect("rust", (0.8, 0.8), (0.9, 0.9)))
    hit = (rows["defect_type"] == "bent") & (rows["method"] == "drdc") & (rows["seed"] == 1)
    failed = rows.copy()
    failed.loc[hit, ["value", "note"]] = [np.nan, f"failed; see {LOG}"]
    table = defects(failed)
    found = cells(table)
    assert found["gear: bent", "DRDC Image AUROC"].note == f"failed; see {LOG}"
    assert found["gear: bent", CHANGE].note == f"failed; see {LOG}"
    assert table.rows[-1][0] == "gear: bent"
    assert any(f"failed gear: bent (DRDC Image AUROC, DRDC Pixel AUROC): see {LOG}" in n for n in table.notes)
    missing = cells(defects(rows[~hit]))
    assert missing["gear: bent", "DRDC Pixel AUROC"].note == "no score for seed 1"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (made(), "no rows"),
        (made(defect("bent", (80.0,), (70.0,))), "fractions, not percent"),
        (
            made(defect("bent", (0.8,), (0.7,)), defect("bent", (0.8,), (0.7,))),
            "more than one value for 0, base",
        ),
        (made(defect("bent", (0.8,), (0.7,))).drop(columns="images"), "column images is missing"),
    ],
)
def test_bad_defects_are_refused(rows: pd.DataFrame, words: str) -> None:
    with pytest.raises(UserError, match=words):
        defects(rows)


# significance


def compared(differences: dict[str, tuple[float, ...]], metric: str = "image_auroc") -> pd.DataFrame:
    """Scores with base 0.5 and DRDC 0.5 + difference, per category and seed."""
    rows = [
        score(method, seed, category, 0.5 + (difference if method == "drdc" else 0.0), metric)
        for category, values in differences.items()
        for seed, difference in enumerate(values)
        for method in ("base", "drdc")
    ]
    return frame(*rows)


def image_row(scores: pd.DataFrame) -> dict[str, float]:
    return {
        column: cell.mean
        for (row, column), cell in cells(significance(scores)).items()
        if row == "Image AUROC"
    }


@pytest.mark.parametrize("pairs", [3, 5, 6, 10])
def test_all_wins_give_the_smallest_possible_p(pairs: int) -> None:
    found = image_row(compared({f"c{i}": (0.01 * (i + 1),) for i in range(pairs)}))
    assert found["p (categories)"] == pytest.approx(2 / 2**pairs)
    assert (found["p (categories)"] < 0.05) == (pairs >= 6)
    assert [found[name] for name in ("categories", "wins", "ties", "losses")] == [pairs, pairs, 0, 0]


def test_p_against_the_signed_ranks_counted_by_hand() -> None:
    # ranks 1 to 5 with the third negative: W = 3; 5 of the 32 sign patterns have a rank sum of at most 3
    found = image_row(compared({"a": (0.01,), "b": (0.02,), "c": (-0.03,), "d": (0.04,), "e": (0.05,)}))
    assert found["p (categories)"] == pytest.approx(2 * 5 / 32)
    assert found["mean difference"] == pytest.approx(1.8)
    assert (found["wins"], found["losses"]) == (4, 1)


def test_ties_are_counted_and_dropped_from_the_test() -> None:
    wins = {f"c{i}": (0.01 * (i + 1),) for i in range(6)}
    with_ties = image_row(compared(wins | {"x": (0.0,), "y": (0.0,)}))
    assert (with_ties["categories"], with_ties["ties"]) == (8, 2)
    assert with_ties["p (categories)"] == image_row(compared(wins))["p (categories)"]


def test_no_difference_at_all_is_no_evidence() -> None:
    found = image_row(compared({f"c{i}": (0.0, 0.0) for i in range(20)}))
    assert (found["p (categories)"], found["p (category × seed)"], found["ties"]) == (1.0, 1.0, 20)


def test_pairs_are_categories_first_and_category_times_seed_second() -> None:
    found = image_row(compared({"a": (0.03, -0.01), "b": (0.02, 0.04), "c": (0.05, 0.06)}))
    assert (found["categories"], found["category × seed"]) == (3, 6)
    assert found["wins"] == 3  # a wins in the mean over its seeds
    assert found["p (categories)"] == pytest.approx(2 / 2**3)
    assert found["p (category × seed)"] == pytest.approx(2 * 2 / 2**6)  # the smallest rank alone is negative


def test_symmetric_differences_agree_with_the_sign_test() -> None:
    equal = {f"c{i}": (0.02 if i < 9 else -0.02,) for i in range(10)}
    assert image_row(compared(equal))["p (categories)"] == pytest.approx(binomtest(9, 10).pvalue)


def test_notes_name_the_test_and_its_limits() -> None:
    notes = " ".join(significance(two_seeds()).notes)
    for words in ("Wilcoxon's signed-rank test, two-sided", "not independent", "2/2^n", "fewer than 6 pairs"):
        assert words in notes


def test_undefined_metrics_and_categories_are_left_out_with_a_reason() -> None:
    scores = compared({"a": (0.1,), "b": (0.2,)})
    scores.loc[scores["category"] == "b", ["value", "note"]] = [np.nan, "no anomalous images"]
    table = significance(scores)
    assert [label for label, _ in table.rows] == list(METRICS.values())
    found = cells(table)
    assert found["Image AUROC", "categories"].mean == 1
    assert found["Pixel AP", "p (categories)"].note == "no score"
    assert any("n/d b: no anomalous images" in note for note in table.notes)


def test_seeds_of_one_method_alone_do_not_count() -> None:
    alone = frame(score("drdc", 5, "a", 0.1))
    assert image_row(pd.concat([compared({"a": (0.1, 0.2)}), alone]))["category × seed"] == 2


def test_significance_needs_both_methods() -> None:
    with pytest.raises(UserError, match="hold no drdc to compare"):
        significance(two_seeds().query("method == 'base'"))
