"""Differences and chance, against numbers worked out by hand."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, rankdata
from scipy.stats import wilcoxon as scipy_wilcoxon
from synthetic_scores import cells, frame, score, two_seeds

from drdc.config.described import Described
from drdc.reporting.aggregate import HEADLINE, METRICS
from drdc.reporting.significance import holm, significance, wilcoxon
from drdc.runtime.errors import UserError


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


@pytest.mark.parametrize("pairs", [1, 2, 7, 14, 15, 25])
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_p_is_the_share_of_sign_patterns_also_with_ties(pairs: int, levels: int) -> None:
    """Against every sign pattern, or where these are too many, against SciPy without ties."""
    rng = np.random.default_rng(pairs)
    differences = rng.integers(1, levels, pairs) * rng.choice([-1.0, 1.0], pairs)
    if pairs <= 15:
        ranks = rankdata(np.abs(differences))
        signs = np.array(list(product([0, 1], repeat=pairs)))
        sums, found = signs @ ranks, ranks[differences > 0].sum()
        far = np.abs(sums - ranks.sum() / 2) >= np.abs(found - ranks.sum() / 2)
        assert wilcoxon(differences) == pytest.approx(far.mean())
    else:
        distinct = rng.permutation(pairs) + 1.0
        signed = distinct * np.sign(differences)
        assert wilcoxon(signed) == pytest.approx(scipy_wilcoxon(signed, method="exact").pvalue)


def test_two_equal_ones_among_fifteen_wins_cost_nothing() -> None:
    """The paper's fifteen categories; the normal distribution would give ten times as much."""
    wins = np.append(np.arange(1.0, 15.0), 14.0)
    assert wilcoxon(wins) == pytest.approx(2 / 2**15)


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
    assert [label for label, _ in table.rows] == [METRICS[metric] for metric in HEADLINE]
    found = cells(table)
    assert found["Image AUROC", "categories"].mean == 1
    assert found["Pixel AP", "p (categories)"].note == "no score"
    assert any("n/d b: no anomalous images" in note for note in table.notes)


def test_seeds_of_one_method_alone_do_not_count() -> None:
    alone = frame(score("drdc", 5, "a", 0.1))
    assert image_row(pd.concat([compared({"a": (0.1, 0.2)}), alone]))["category × seed"] == 2


def test_significance_needs_both_methods() -> None:
    with pytest.raises(UserError, match="contain no drdc to compare"):
        significance(two_seeds().query("method == 'base'"))


# several methods


def test_each_method_is_tested_against_drdc_and_base_as_if_alone() -> None:
    scores = compared({f"c{i}": (0.01 * (i + 1),) for i in range(6)})
    net = scores[scores["method"] == "drdc"].assign(method="net")
    net["value"] += 0.1
    several = significance(pd.concat([scores, net]), {"net": Described(), "lost": Described()})
    found = cells(several)
    assert [label for label, _ in several.rows][:2] == ["Image AUROC: base", "Image AUROC: net"]
    assert found["Image AUROC: net", "mean difference"].mean == pytest.approx(-10.0)
    assert found["Image AUROC: net", "losses"].mean == 6
    alone = cells(significance(scores))
    for column in ("categories", "mean difference", "wins", "p (categories)", "p (category × seed)"):
        assert found["Image AUROC: base", column] == alone["Image AUROC", column]


def test_a_note_on_one_comparison_says_on_which() -> None:
    scores = compared({"a": (0.1,), "b": (0.2,)})
    net = scores[scores["method"] == "drdc"].assign(method="net")
    net.loc[net["category"] == "b", ["value", "note"]] = [np.nan, "failed; see its log"]
    notes = significance(pd.concat([scores, net]), {"net": Described()}).notes
    assert "Image AUROC: against net: means over 1 of 2 categories, without b." in notes


def test_a_pooled_value_that_may_be_off_is_told_of_every_method() -> None:
    scores = compared({"a": (0.1,), "b": (0.2,)})
    net = scores[scores["method"] == "drdc"].assign(method="net")
    pooled = frame(score("net", 0, "all", 0.9, "pooled_image_auroc")).assign(note="approximate: too many")
    notes = significance(pd.concat([scores, net, pooled]), {"net": Described()}).notes
    assert "Image AUROC: net, all: approximate: too many." in notes


def test_several_comparisons_are_corrected_and_a_single_one_is_not() -> None:
    scores = compared({f"c{i}": (0.01 * (i + 1),) for i in range(6)})
    net = scores[scores["method"] == "base"].assign(method="net")
    several = significance(pd.concat([scores, net]), {"net": Described()})
    found = cells(several)
    for name in ("base", "net"):
        assert found[f"Image AUROC: {name}", "p (categories)"].mean == pytest.approx(2 / 2**6)
        assert found[f"Image AUROC: {name}", "p (categories), Holm"].mean == pytest.approx(2 * 2 / 2**6)
    assert any("corrected for the 2 comparisons within a metric by Holm" in note for note in several.notes)
    assert "Holm" not in repr(significance(scores))


def test_a_failed_method_has_its_reason_and_does_not_count_as_a_comparison() -> None:
    scores = compared({f"c{i}": (0.01 * (i + 1),) for i in range(6)})
    failed = scores[scores["method"] == "base"].assign(method="net", value=np.nan, note="failed; see net.log")
    found = cells(significance(pd.concat([scores, failed]), {"net": Described()}))
    assert found["Image AUROC: net", "p (categories), Holm"].note == "failed; see net.log"
    assert found["Image AUROC: base", "p (categories), Holm"].mean == pytest.approx(2 / 2**6)


def test_holm_by_hand() -> None:
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1; none below the one before it
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.6, 0.5]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])


def test_a_pooled_difference_that_is_not_defined_says_why() -> None:
    scores = compared({"a": (0.01,), "b": (0.02,)})
    why = "not defined: no masks"
    bare = [score(m, 0, "all", np.nan, "pooled_image_auroc", why) for m in ("base", "drdc")]
    table = significance(pd.concat([scores, frame(*bare)]))
    assert cells(table)["Image AUROC", "pooled difference"].note == why
    assert f"Image AUROC: n/d pooled: {why}." in table.notes
