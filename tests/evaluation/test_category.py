"""What is measured on a category: metrics, image scores, curves and defect types."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from drdc.config.names import ALL
from drdc.config.variants import COMPARED
from drdc.evaluation.category import (
    CategoryEvaluation,
    PooledCurves,
    has_masks,
    means,
    undefined_rows,
)
from drdc.evaluation.metrics import METRICS, auroc, average_precision
from drdc.evaluation.ranking_curve import RankingCurve

SIZE = 8
METHODS = ("base", "diffusion", "drdc")


def batch(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Six test images: two good ones, two bent, two with holes; maps that find some of it."""
    rng = np.random.default_rng(seed)
    defects = ["good", "good", "bent", "bent", "hole", "hole"]
    about = pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(6)],
            "category": "nut",
            "group": "nut",
            "split": "test",
            "defect_type": defects,
            "label": [int(d != "good") for d in defects],
            "mask": ["" if d == "good" else "mask.png" for d in defects],
        },
        index=pd.Index(range(10, 16)),
    )
    masks = np.zeros((6, SIZE, SIZE), dtype=bool)
    masks[2:, 2:5, 2:5] = True
    maps = {m: (rng.random(masks.shape) + 0.7 * masks).astype(np.float32) for m in METHODS}
    return about, masks, maps, {m: maps[m].max((1, 2)) for m in maps}


@pytest.fixture
def evaluation() -> CategoryEvaluation:
    found = CategoryEvaluation("nut", METHODS, has_masks=True, compared=METHODS)
    about, masks, maps, scores = batch()
    for part in (slice(0, 3), slice(3, 6)):
        parts = [{m: values[part] for m, values in what.items()} for what in (maps, scores)]
        found.update(about.iloc[part], masks[part], *parts)
    return found


def test_metrics_are_those_of_all_images(evaluation: CategoryEvaluation) -> None:
    about, masks, maps, scores = batch()
    found = {(r["method"], r["metric"]): r["value"] for r in evaluation.metric_rows()}
    for method in maps:
        assert found[method, "image_auroc"] == pytest.approx(roc_auc_score(about.label, scores[method]))
        expected = roc_auc_score(masks.ravel(), maps[method].ravel())
        assert found[method, "pixel_auroc"] == pytest.approx(expected)
    assert len(found) == 3 * len(METRICS)


def test_a_defect_type_is_ranked_among_the_good_images(evaluation: CategoryEvaluation) -> None:
    about, masks, maps, scores = batch()
    found = {(r["method"], r["defect_type"], r["metric"]): r for r in evaluation.defect_rows()}
    assert {key[1] for key in found} == {"bent", "hole"}
    for method in COMPARED:
        for defect in ("bent", "hole"):
            own, with_good = (about.defect_type == defect), about.defect_type.isin([defect, "good"])
            image, pixel = found[method, defect, "image_auroc"], found[method, defect, "pixel_auroc"]
            expected = roc_auc_score(about.label[with_good], scores[method][with_good])
            assert image["value"] == pytest.approx(expected)
            expected = roc_auc_score(masks[own].ravel(), maps[method][own].ravel())
            assert pixel["value"] == pytest.approx(expected)
            assert image["images"] == pixel["images"] == 2


def test_image_scores_name_their_row_of_the_manifest(evaluation: CategoryEvaluation) -> None:
    frame = pd.DataFrame(evaluation.image_rows)
    about, _, _, scores = batch()
    for method, own in frame.groupby("method"):
        assert own["row"].tolist() == [*range(10, 16)]
        assert np.allclose(own["score"], scores[str(method)])
        assert own["path"].tolist() == about["path"].tolist()
    assert set(frame["method"]) == set(METHODS)


def test_curves_begin_at_nothing_and_end_at_everything(evaluation: CategoryEvaluation) -> None:
    frame = pd.DataFrame(evaluation.curve_rows())
    for _, curve in frame.groupby(["method", "level"]):
        assert curve["recall"].is_monotonic_increasing
        assert curve["fpr"].is_monotonic_increasing
        assert (curve["recall"].iloc[0], curve["fpr"].iloc[0], curve["precision"].iloc[0]) == (0, 0, 1)
        assert (curve["recall"].iloc[-1], curve["fpr"].iloc[-1]) == (1, 1)


def test_without_masks_pixels_say_why() -> None:
    found = CategoryEvaluation("nut", METHODS, has_masks=False, compared=METHODS)
    about, masks, maps, scores = batch()
    found.update(about, np.zeros_like(masks), maps, scores)
    pixel = [r for r in found.metric_rows() + found.defect_rows() if r["metric"].startswith("pixel")]
    assert all(np.isnan(r["value"]) and "no masks" in r["note"] for r in pixel)
    assert {r["level"] for r in found.curve_rows()} == {"image"}


def test_what_is_not_compared_has_metrics_and_image_scores_alone() -> None:
    found = CategoryEvaluation("nut", METHODS, has_masks=True, compared=["drdc"])
    found.update(*batch())
    assert (
        {r["method"] for r in found.metric_rows()} == {r["method"] for r in found.image_rows} == set(METHODS)
    )
    assert {r["method"] for r in found.curve_rows()} == {r["method"] for r in found.defect_rows()} == {"drdc"}


def test_pixels_of_anomalous_images_without_a_mask_do_not_count() -> None:
    """They would count as normal ones."""
    about, masks, maps, scores = batch()
    about.loc[12, "mask"], masks[2] = "", False
    found = CategoryEvaluation("nut", METHODS, has_masks=True, compared=METHODS)
    found.update(about, masks, maps, scores)
    values = {(r["method"], r["metric"]): r["value"] for r in found.metric_rows()}
    types = {(r["method"], r["defect_type"], r["metric"]): r["value"] for r in found.defect_rows()}
    known = about.index != 12
    for method in COMPARED:
        expected = roc_auc_score(masks[known].ravel(), maps[method][known].ravel())
        assert values[method, "pixel_auroc"] == pytest.approx(expected)
        assert values[method, "image_auroc"] == pytest.approx(roc_auc_score(about.label, scores[method]))
        expected = roc_auc_score(masks[3].ravel(), maps[method][3].ravel())
        assert types[method, "bent", "pixel_auroc"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (slice(0, 2), "not defined: no anomalous images"),
        (slice(2, 6), "not defined: no normal images"),
        (slice(0, 0), "not defined: no anomalous and no normal images"),
    ],
)
def test_images_of_one_kind_have_reasons_instead_of_values(rows: slice, reason: str) -> None:
    found = CategoryEvaluation("nut", METHODS, has_masks=True, compared=METHODS)
    about, masks, maps, scores = batch()
    parts = [{m: values[rows] for m, values in what.items()} for what in (maps, scores)]
    found.update(about.iloc[rows], masks[rows], *parts)
    images = [r for r in found.metric_rows() + found.defect_rows() if r["metric"].startswith("image")]
    assert {r["method"] for r in images} == set(METHODS)
    assert all(np.isnan(r["value"]) and r["note"] == reason for r in images)
    assert not any(r["level"] == "image" for r in found.curve_rows())


@pytest.mark.parametrize(
    ("labels", "masks", "known"),
    [
        ([0, 1], ["", "m"], True),
        ([0, 1], ["", ""], False),
        ([0, 0], ["", ""], True),
        ([1, 1], ["", "m"], True),
    ],
)
def test_masks_are_missing_only_where_something_is_anomalous(
    labels: list[int], masks: list[str], known: bool
) -> None:
    assert has_masks(pd.DataFrame({"label": labels, "mask": masks})) == known


def test_means_in_the_log_say_over_how_many_categories_they_are() -> None:
    rows = [r | {"value": 0.5, "note": ""} for r in undefined_rows("nut", ["base", "drdc"], "")]
    rows += undefined_rows("cap", ["base"], "not defined: no masks")
    rows += [r | {"value": 1.0} for r in undefined_rows("cap", ["drdc"], "")]
    rows += undefined_rows("nut", ["oracle_mask@1"], "not defined: no masks")
    base, drdc, oracle = means(pd.DataFrame(rows)).splitlines()[-3:]
    assert base.split()[:5] == ["base", "0.5000", "(1", "of", "2)"]
    assert drdc.split()[:2] == ["drdc", "0.7500"]
    assert oracle.split()[:2] == ["oracle_mask@1", "n/d"]


def test_thinned_points_keep_the_area() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(20000) < 0.03
    curve = RankingCurve()
    curve.update(rng.normal(size=20000) + labels, labels)
    points = curve.points(200)
    assert len(points["fpr"]) <= 200
    assert auc(points["fpr"], points["recall"]) == pytest.approx(curve.measure(auroc).value, abs=2e-3)
    precision = np.average(points["precision"][1:], weights=np.diff(points["recall"]))
    assert precision == pytest.approx(curve.measure(average_precision).value, abs=5e-3)


def test_points_of_one_class_are_none() -> None:
    curve = RankingCurve()
    curve.update(np.arange(3.0), np.zeros(3))
    assert all(len(values) == 0 for values in curve.points().values())


def test_pooled_metrics_rank_the_images_and_pixels_of_all_categories_together() -> None:
    """A shift between the categories costs nothing in the mean, and much of the pooled AUROC."""
    pooled, maps, masks, scores, labels = PooledCurves(["drdc"]), [], [], [], []
    for seed in (0, 1):
        about, own_masks, own_maps, own_scores = batch(seed)
        shifted = {m: values + seed for m, values in own_maps.items()}
        image_scores = {m: values + seed for m, values in own_scores.items()}
        evaluation = CategoryEvaluation(f"c{seed}", METHODS, has_masks=True, compared=())
        evaluation.update(about, own_masks, shifted, image_scores)
        pooled.add(evaluation)
        maps.append(shifted["drdc"].ravel())
        masks.append(own_masks.ravel())
        scores.append(image_scores["drdc"])
        labels.append(about.label)
    rows = pooled.metric_rows()
    assert {(row["category"], row["method"]) for row in rows} == {(ALL, "drdc")}
    found = {row["metric"]: row["value"] for row in rows}
    both = np.concatenate(labels), np.concatenate(scores)
    assert found["pooled_image_auroc"] == pytest.approx(roc_auc_score(*both))
    assert found["pooled_image_ap"] == pytest.approx(average_precision_score(*both))
    pixels = np.concatenate(masks), np.concatenate(maps)
    assert found["pooled_pixel_auroc"] == pytest.approx(roc_auc_score(*pixels))
    assert found["pooled_pixel_ap"] == pytest.approx(average_precision_score(*pixels))
    assert found["pooled_pixel_auroc"] < 0.9


def test_pixels_are_not_pooled_where_a_category_has_no_masks() -> None:
    pooled = PooledCurves(["drdc"])
    for masked in (True, False):
        evaluation = CategoryEvaluation("nut", METHODS, has_masks=masked, compared=())
        evaluation.update(*batch())
        pooled.add(evaluation)
    found = {row["metric"]: row for row in pooled.metric_rows()}
    assert found["pooled_pixel_ap"]["note"] == "not defined: no masks"
    assert 0.5 < found["pooled_image_ap"]["value"] <= 1
