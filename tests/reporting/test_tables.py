"""The tables say what the scores say, and the paper's numbers are the paper's."""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pandas as pd
import pytest
from synthetic_scores import cells, frame, score, two_seeds

from drdc.config.described import Described
from drdc.reporting.paper import TABLES, paper_values, reruns
from drdc.reporting.tables import (
    METRICS,
    SCALES,
    metrics,
    summary,
    table1,
    table2,
    table3,
    table4,
)
from drdc.runtime.errors import UserError

MVTEC = tuple(dict.fromkeys(paper_values(2)["category"]))[:-1]
Change = Callable[[pd.DataFrame], pd.DataFrame]
KNOWN_WRONG = {("AST", "image_auroc"): 94.7867, ("UniAD+UNet", "pixel_auroc"): 97.0967}


# the paper's numbers


@pytest.mark.parametrize("number", [2, 3, 4])
def test_printed_means_are_the_means_of_their_rows_except_the_known_two(number: int) -> None:
    half_step = 0.05 if number < 4 else 0.005
    for key, part in paper_values(number).groupby(["method", "metric"]):
        method, metric = map(str, key)
        values = part.set_index("category")["value"]
        computed = values.drop("mean").mean()
        if (method, metric) in KNOWN_WRONG and number == (2 if method == "AST" else 4):
            assert abs(computed - values["mean"]) > half_step + 1e-6
            assert computed == pytest.approx(KNOWN_WRONG[method, metric], abs=1e-3)
        else:
            assert abs(computed - values["mean"]) <= half_step + 1e-6, (method, metric)


def test_paper_tables_are_complete_and_hold_the_headline_numbers() -> None:
    shapes = {n: (paper_values(n)["method"].nunique(), len(paper_values(n))) for n in TABLES}
    assert shapes == {1: (5, 5), 2: (16, 256), 3: (16, 256), 4: (7, 56), 5: (1, 14)}
    for number, metric, value in (
        (2, "image_auroc", 98.5),
        (3, "pixel_auroc", 98.1),
        (4, "pixel_auroc", 98.26),
    ):
        rows = paper_values(number).set_index(["method", "category", "metric"])["value"]
        assert rows["DRDC", "mean", metric] == value
    assert set(paper_values(4)["category"]) == {"01", "02", "03", "mean"}
    for number in TABLES:
        assert paper_values(number)["value"].between(40, 100).all()
        assert set(paper_values(number)["metric"]) <= set(METRICS)


def test_table5_counts_of_ticks_are_the_printed_ones() -> None:
    columns = paper_values(5).drop_duplicates("column").set_index("column")
    ticks = columns[
        ["multi_scale_base", "spatio_temporal_fusion", "model_conditioning", "test_time_conditioning"]
    ]
    assert ticks.sum().tolist() == [1, 4, 5, 5]
    assert not ticks.duplicated().any()
    assert columns.loc[7, "variant"] == "full"
    assert columns.loc[7, "certainty"] == "certain"
    assert (columns["certainty"] != "").all()


def test_unknown_table_is_refused() -> None:
    with pytest.raises(ValueError, match="Table 6"):
        paper_values(6)


def test_reruns_are_attributed_and_show_the_spread_between_groups() -> None:
    runs = reruns()
    assert (runs["source"] != "").all()
    assert runs["value"].between(10, 100).all()
    assert set(runs["metric"]) <= set(METRICS)
    uniad = runs.query("method == 'UniAD' and dataset == 'mvtec' and metric == 'image_auroc'")["value"]
    assert uniad.min() == 92.5
    assert uniad.max() == 97.6
    assert not runs.duplicated(["method", "dataset", "metric", "source", "epochs"]).any()


def test_each_rerun_has_its_protocol_or_says_that_it_is_unknown() -> None:
    runs = reruns()
    assert set(runs["input_size"]) == {"224", "256", "320", "392", "448", "unknown"}
    assert set(runs["mask_threshold"]) == {"0", "0.5", "unknown"}
    assert set(runs["checkpoint"]) == {"last", "best on test", "untrained", "unknown"}
    assert set(runs.query("source == 'ADer benchmark'")["mask_threshold"]) == {"0.5"}
    assert set(runs.query("method == 'Dinomaly'")["mask_threshold"]) == {"0"}


def test_the_two_methods_called_invad_are_told_apart() -> None:
    assert {method for method in reruns()["method"] if "InvAD" in method} == {"InvAD (feature inversion)"}


# ours


def test_cells_and_mean_against_hand_computed() -> None:
    found = cells(table2(two_seeds()))
    assert found["gear", "base (ours)"].mean == pytest.approx(80.0)
    assert found["gear", "base (ours)"].std == pytest.approx(np.sqrt(200.0))  # 90 and 70
    # seeds' means are 85 and 65 for base, 95 and 90 for DRDC
    assert found["mean", "base (ours)"].mean == pytest.approx(75.0)
    assert found["mean", "base (ours)"].std == pytest.approx(np.sqrt(200.0))
    assert found["mean", "DRDC (ours)"].std == pytest.approx(np.sqrt(12.5))
    assert found["mean", "DRDC (ours)"].seeds == 2


def test_other_variants_and_metrics_do_not_count() -> None:
    noise = two_seeds().assign(variant="no_fusion", value=0.1)
    other = two_seeds().assign(metric="pixel_auroc", value=0.2)
    assert table2(pd.concat([two_seeds(), noise, other])) == table2(two_seeds())


def test_one_seed_has_no_spread() -> None:
    table = table2(frame(score("base", 0, "gear", 0.5)))
    assert np.isnan(cells(table)["gear", "base (ours)"].std)
    assert "no spread" in table.notes[0]


def test_undefined_category_is_shown_explained_and_left_out_of_every_mean() -> None:
    scores = two_seeds()
    undefined = (scores["method"] == "base") & (scores["category"] == "tile_x") & (scores["seed"] == 1)
    scores.loc[undefined, "value"] = np.nan
    scores.loc[undefined, "note"] = "not defined: no anomalous images"
    table = table2(scores)
    found = cells(table)
    assert np.isnan(found["tile_x", "base (ours)"].mean)
    assert found["tile_x", "base (ours)"].note == "not defined: no anomalous images"
    assert found["tile_x", "DRDC (ours)"].mean == pytest.approx(90.0)
    assert found["mean", "base (ours)"].mean == pytest.approx(80.0)
    assert found["mean", "DRDC (ours)"].mean == pytest.approx(95.0)
    assert "n/d tile_x (base): not defined: no anomalous images; left out of our means." in table.notes


def test_missing_seed_is_named_and_no_mean_is_made_up() -> None:
    scores = two_seeds()
    lost = (scores["method"] == "drdc") & (scores["category"] == "gear") & (scores["seed"] == 1)
    table = table2(scores[~lost])
    assert cells(table)["gear", "DRDC (ours)"].note == "no score for seed 1"
    assert cells(table)["mean", "DRDC (ours)"].mean == pytest.approx(90.0)


def test_summary_without_masks_has_undefined_pixel_metrics_with_one_reason() -> None:
    rows = [
        score(m, s, c, np.nan, k, "no masks") if k.startswith("pixel") else score(m, s, c, 0.5 + 0.1 * s, k)
        for m in ("base", "random_map") for s in (0, 1) for c in ("mono", "poly") for k in METRICS
    ]  # fmt: skip
    table = summary(frame(*rows))
    assert [label for label, _ in table.rows] == ["random map", "base"]
    assert cells(table)["base", "Image AP"].mean == pytest.approx(55.0)
    assert cells(table)["base", "Pixel AUPRO"].note == "no category is defined"
    reasons = [note for note in table.notes if "no masks" in note]
    assert len(reasons) == 1
    assert reasons[0].startswith("Pixel AUROC, Pixel AP, Pixel F1-max, Pixel AUPRO: n/d mono, poly: no masks")


def test_pooled_metrics_stand_below_the_means_and_enter_no_mean() -> None:
    rows = [score(m, s, c, v, k)
        for m, v in (("random_map", 0.5), ("base", 0.7), ("drdc", 0.9)) for s in (0, 1)
        for c in ("gear", "nut") for k in METRICS]  # fmt: skip
    alone = summary(frame(*rows))
    assert [label for label, _ in alone.rows] == ["random map", "base", "DRDC"]
    together = [
        score(m, s, "all", v + s / 10, "pooled_image_auroc")
        for m, v in (("base", 0.6), ("drdc", 0.5))
        for s in (0, 1)
    ]
    table = summary(frame(*rows, *together))
    found = cells(table)
    assert [label for label, _ in table.rows[3:]] == ["base, pooled", "DRDC, pooled"]
    assert found["DRDC, pooled", "Image AUROC"].mean == pytest.approx(55)
    assert found["DRDC, pooled", "Image AUROC"].seeds == 2
    assert np.isnan(found["DRDC, pooled", "Pixel AUPRO"].mean)
    for name in ("random map", "base", "DRDC"):
        for column in table.columns:
            assert found[name, column.label] == cells(alone)[name, column.label]
    every = metrics(frame(*rows, *together))
    assert [label for label, _ in every.rows[-2:]] == ["pooled: base", "pooled: DRDC"]
    assert every.footer == 4


@pytest.mark.parametrize(
    ("note", "said"),
    [
        ("not defined: no masks", "n/d pooled: not defined: no masks."),
        ("failed; see score.log", "failed pooled: see score.log."),
    ],
)
def test_what_is_not_pooled_says_why(note: str, said: str) -> None:
    together = [("image_auroc", 0, 0.5, ""), ("image_auroc", 1, 0.5, ""), ("pixel_auroc", 0, 0.5, "")]
    together.append(("pixel_auroc", 1, np.nan, note))
    rows = [score("drdc", s, c, 0.5, k) for s in (0, 1) for c in ("gear", "nut") for k in AUROCS]
    rows += [score("drdc", s, "all", value, f"pooled_{k}", why) for k, s, value, why in together]
    for make, row in ((summary, "DRDC, pooled"), (metrics, "pooled: DRDC")):
        table = make(frame(*rows))
        assert cells(table)[row, "Pixel AUROC"].note == note
        assert cells(table)[row, "Image AUROC"].mean == pytest.approx(50)
        assert f"Pixel AUROC: {said}" in table.notes


def test_table1_puts_ours_next_to_the_printed() -> None:
    values = dict(zip(SCALES, (1.0, 0.99, 0.98, 0.95, 0.9), strict=True))
    rows = [
        score(f"oracle_mask@{scale}", 0, category, value - off, "pixel_auroc")
        for scale, value in values.items() for category, off in (("gear", 0.0), ("wood", 0.02))
    ]  # fmt: skip
    found = cells(table1(frame(*rows)))
    assert [found[s, "ours"].mean for s in SCALES] == pytest.approx([99, 98, 97, 94, 89])
    assert [found[s, "paper (MVTec AD)"].mean for s in SCALES] == [100.0, 99.99, 99.93, 99.27, 96.05]


def test_paper_columns_carry_printed_values_and_printed_mean() -> None:
    scores = frame(*(score("drdc", 0, c, 0.9, "pixel_auroc") for c in reversed(MVTEC)))
    found = cells(table3(scores, "mvtec"))
    assert [row for row, column in found if column == "DRDC (ours)"] == [*MVTEC, "mean"]
    assert found["screw", "DRDC, MVTec AD (paper)"].mean == 99.5
    assert found["mean", "UniAD, MVTec AD (paper)"].mean == 96.8
    btad = cells(table2(frame(*(score("drdc", 0, c, 0.9) for c in ("01", "02", "03"))), "btad"))
    assert btad["02", "DRDC, BTAD (paper)"].mean == 82.07
    assert btad["mean", "DiAD, BTAD (paper)"].mean == 89.15


def test_paper_mean_over_some_categories_is_labelled() -> None:
    table = table2(frame(score("base", 0, "tile", 0.9), score("base", 0, "wood", 0.9)), "mvtec")
    assert cells(table)["mean", "DRDC, MVTec AD (paper)"].mean == pytest.approx((99.9 + 98.7) / 2)
    assert any("shown categories only (2 of 15)" in note for note in table.notes)
    printed = "paper: as printed in DRDC (ECCV 2024) for the images of MVTec AD, without a spread"
    assert any(note.startswith(printed) for note in table.notes)


@pytest.mark.parametrize(
    ("dataset", "categories"),
    [
        ("synthetic", ("capsule", "wood")),
        ("realiad", ("toothbrush", "zipper")),
        ("mvtec", ("01", "02", "03")),  # folders of one's own in this layout
        ("mvtec", ("bottle", "grid", "commutator")),
        ("btad", ("bottle", "grid")),
        ("visa", ("capsules", "candle")),
        ("", ("capsule", "wood")),
    ],
)
def test_a_namesake_in_another_dataset_is_not_the_papers_category(
    dataset: str, categories: Sequence[str]
) -> None:
    for make in (table2, table3, table4):
        assert {column.source for column in make(two_metrics(categories), dataset).columns} == {"ours"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.assign(method="other"), "contain none of the methods base, diffusion, drdc"),
        (lambda s: pd.concat([s, s.assign(experiment="second")]), "mix the experiments second, toy"),
        (lambda s: pd.concat([s, s.head(1)]), "more than one value for base, 0, gear, image_auroc"),
        (lambda s: s.assign(value=s["value"] * 100), "fractions, not percent"),
    ],
)
def test_scores_that_cannot_be_a_table_are_refused(change: Change, words: str) -> None:
    with pytest.raises(UserError, match=words):
        table2(change(two_seeds()))


# next to ours: the paper and re-runs


BTAD = ("01", "02", "03")
AUROCS = ("image_auroc", "pixel_auroc")


def two_metrics(categories: Sequence[str], methods: Sequence[str] = ("base", "drdc")) -> pd.DataFrame:
    return frame(*(score(m, 0, c, 0.9, k) for m in methods for c in categories for k in AUROCS))


def test_own_results_of_a_method_are_never_called_a_rerun() -> None:
    runs = reruns()
    assert set(runs["kind"]) == {"own", "re-run"}
    again = runs[runs["kind"] == "re-run"]
    assert not again["source"].isin(["UniAD README, 8 GPUs", "UniAD README, 1 GPU", "DiAD paper"]).any()
    assert not [s for m, s in zip(again["method"], again["source"], strict=True) if s.startswith(f"{m} ")]


def test_reruns_stand_in_the_mean_row_of_a_complete_dataset_only() -> None:
    table = table2(two_metrics(MVTEC), "mvtec")
    found = cells(table)
    assert found["mean", "UniAD, MVTec AD (re-run)"].mean == 96.8
    assert found["mean", "DiAD, MVTec AD (re-run)"].mean == 92.0
    assert {found[c, "UniAD, MVTec AD (re-run)"].note for c in MVTEC} == {""}
    assert np.isnan([found[c, "UniAD, MVTec AD (re-run)"].mean for c in MVTEC]).all()
    assert any("over all categories of MVTec AD as the ADer benchmark" in note for note in table.notes)
    assert any("UniAD, 300 epochs; DiAD, 300 epochs" in note for note in table.notes)
    protocol = "ADer benchmark: input size 256 pixels, threshold of resized masks 0.5, checkpoint unknown."
    assert table.notes.count(protocol) == 1
    others = next(note for note in table.notes if note.startswith("Other re-runs, Image AUROC"))
    assert "UniAD 92.5 (ADer benchmark, 100 epochs)" in others
    assert "README" not in others
    located = cells(table3(two_metrics(MVTEC), "mvtec"))
    assert located["mean", "DiAD, MVTec AD (re-run)"].mean == 89.3
    part = table2(two_metrics(MVTEC[:-1]), "mvtec")
    assert "re-run" not in {column.source for column in part.columns}


def test_table4_holds_the_papers_numbers_for_btad() -> None:
    found = cells(table4(two_metrics(BTAD), "btad"))
    paper = paper_values(4)
    for method in ("UniAD", "DiAD", "DRDC"):
        for head, metric in (("I-AUROC", "image_auroc"), ("P-AUROC", "pixel_auroc")):
            part = paper[(paper["method"] == method) & (paper["metric"] == metric)]
            printed = dict(zip(part["category"], part["value"], strict=True))
            assert {c: found[c, f"{method} {head}, BTAD (paper)"].mean for c in (*BTAD, "mean")} == printed
    assert found["mean", "UniAD I-AUROC, BTAD (re-run)"].mean == 94.5
    assert found["mean", "DiAD P-AUROC, BTAD (re-run)"].mean == 91.9


def test_table4_of_another_dataset_has_our_columns_only() -> None:
    table = table4(two_metrics(("gear", "nut"), ("base", "diffusion", "drdc")))
    assert [column.label for column in table.columns] == [
        f"{m} {head} (ours)" for m in ("base", "diffusion", "DRDC") for head in ("I-AUROC", "P-AUROC")
    ]
    assert [label for label, _ in table.rows] == ["gear", "nut", "mean"]
    assert "paper" not in {column.source for column in table4(two_metrics(MVTEC), "mvtec").columns}


def test_table4_compares_image_with_image_and_pixel_with_pixel() -> None:
    contests = [column.contest for column in table4(two_metrics(("gear",))).columns]
    assert contests == ["image_auroc", "pixel_auroc"] * 2


# all metrics per category


def test_metrics_lists_every_category_for_both_methods() -> None:
    value = {(m, c): 0.5 + i / 10 for i, (m, c) in enumerate(product(("base", "drdc"), ("gear", "nut")))}
    table = metrics(frame(*(score(m, 0, c, v, k) for (m, c), v in value.items() for k in METRICS)))
    names = ["gear: base", "gear: DRDC", "nut: base", "nut: DRDC", "mean: base", "mean: DRDC"]
    assert [label for label, _ in table.rows] == names
    assert [column.label for column in table.columns] == list(METRICS.values())
    found = cells(table)
    assert [found[name, "Pixel AP"].mean for name in names] == pytest.approx([50, 70, 60, 80, 55, 75])
    assert table.group == 2


def test_metrics_of_one_method_have_no_groups() -> None:
    table = metrics(frame(*(score("base", 0, "gear", 0.5, k) for k in METRICS)))
    assert [label for label, _ in table.rows] == ["gear: base", "mean: base"]
    assert (table.best, table.group) == ("none", 0)


# methods that DRDC is compared with

NET = {"net": Described(paper_name="SimpleNet", citation="Liu et al., CVPR 2023", input_size=256)}
OURS = {
    name: Described(citation="backbone differs (a for b)", input_size=224, held_out=0.025)
    for name in ("base", "drdc")
}


def of_methods(categories: Sequence[str]) -> pd.DataFrame:
    return frame(
        *(
            score(m, 0, c, v, k)
            for m, v in (("base", 0.7), ("drdc", 0.8), ("net", 0.9))
            for c in categories
            for k in METRICS
        )
    )


def test_a_method_has_a_column_of_ours_next_to_the_papers_and_the_reruns() -> None:
    table = table2(of_methods(MVTEC), "mvtec", NET)
    found = cells(table)
    assert found["bottle", "net (ours)"].mean == pytest.approx(90)
    printed = paper_values(2).set_index(["method", "category"])["value"]["SimpleNet"]
    for category in ("bottle", "mean"):
        assert found[category, "SimpleNet, MVTec AD (paper)"].mean == printed[category]
    rerun = found["mean", "SimpleNet, MVTec AD (re-run)"]
    assert rerun.mean == 79.2, "of several the run with the most epochs"
    assert "net: Liu et al., CVPR 2023." in table.notes


def test_a_method_that_the_papers_table_lacks_has_our_column_alone() -> None:
    table = table4(of_methods(("01", "02", "03")), "btad", NET)
    labels = [column.label for column in table.columns]
    assert "net I-AUROC (ours)" in labels
    assert not any("SimpleNet" in label for label in labels)


def test_metrics_and_summary_list_every_method() -> None:
    scores = of_methods(("gear", "nut"))
    table = metrics(scores, NET)
    assert [label for label, _ in table.rows][:3] == ["gear: base", "gear: DRDC", "gear: net"]
    assert (table.group, table.footer) == (3, 3)
    assert [label for label, _ in summary(scores, NET).rows] == ["base", "DRDC", "net"]
    assert [label for label, _ in summary(scores).rows] == ["base", "DRDC"]


def test_notes_tell_input_sizes_and_what_is_said_of_base_and_drdc_together() -> None:
    scores = of_methods(("gear", "nut"))
    for make in (summary, metrics, table2, table3, table4):
        notes = make(scores, described=NET | OURS).notes
        assert "input size in pixels: base 224, DRDC 224, net 256." in notes
        assert "base, DRDC: backbone differs (a for b)." in notes
        assert "2.5 % of the normal training images were held out of all trainings." in notes
        assert not any("input size" in note for note in make(scores).notes)


# failures


LOG = "results/toy/logs/score.seed1.log"


def test_failed_job_is_called_failed_and_its_log_is_named() -> None:
    scores = two_seeds()
    hit = (scores["method"] == "drdc") & (scores["category"] == "gear") & (scores["seed"] == 1)
    scores.loc[hit, ["value", "note"]] = [np.nan, f"failed; see {LOG}"]
    for table in (table2(scores), table4(scores), summary(scores), metrics(scores)):
        assert any(f"failed gear (DRDC): see {LOG}; left out" in note for note in table.notes)
    found = cells(table2(scores))
    assert found["gear", "DRDC (ours)"].note == f"failed; see {LOG}"
    assert found["mean", "base (ours)"].mean == pytest.approx(70.0)  # tile_x alone


def test_seed_that_failed_altogether_is_left_out_and_named() -> None:
    scores = two_seeds()
    lost = scores["seed"] == 1
    scores.loc[lost, "value"] = np.nan
    scores.loc[lost, "note"] = f"failed; see {LOG}"
    table = table2(scores)
    assert f"failed seed 1: see {LOG}; left out of our means." in table.notes
    assert table.rows[0][1][0].mean == pytest.approx(90.0)
    assert {cell.seeds for _, row in table.rows for cell in row} == {1}


def test_nothing_but_failures_gives_a_table_of_failures() -> None:
    scores = two_seeds().assign(value=np.nan, note=f"failed; see {LOG}")
    table = table2(scores)
    assert {cell.note for _, row in table.rows for cell in row} == {f"failed; see {LOG}"}
    assert f"failed everywhere: see {LOG}; left out of our means." in table.notes
