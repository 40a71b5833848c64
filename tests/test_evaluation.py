"""What is measured on a category: metrics, image scores, curves and defect types."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, roc_auc_score

from drdc.evaluation import COMPARED, CategoryEvaluation
from drdc.metrics import RankingCurve

SIZE = 8


def batch(seed: int = 0) -> tuple[pd.DataFrame, np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Six test images: two good ones, two bent, two with holes; maps that find some of it."""
    rng = np.random.default_rng(seed)
    defects = ["good", "good", "bent", "bent", "hole", "hole"]
    about = pd.DataFrame(
        {
            "path": [f"{i}.png" for i in range(6)],
            "category": "nut",
            "split": "test",
            "defect_type": defects,
            "label": [int(d != "good") for d in defects],
        },
        index=pd.Index(range(10, 16)),
    )
    masks = np.zeros((6, SIZE, SIZE), dtype=bool)
    masks[2:, 2:5, 2:5] = True
    maps = {
        m: (rng.random(masks.shape) + 0.7 * masks).astype(np.float32) for m in ("base", "diffusion", "drdc")
    }
    return about, masks, maps, {m: maps[m].max((1, 2)) for m in maps}


@pytest.fixture
def evaluation() -> CategoryEvaluation:
    found = CategoryEvaluation("nut", has_masks=True, thorough=True)
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
    assert len(found) == 3 * 7


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
    assert frame["row"].tolist() == list(range(10, 16))
    assert np.allclose(frame["drdc"], scores["drdc"])
    assert frame["path"].tolist() == about["path"].tolist()


def test_curves_begin_at_nothing_and_end_at_everything(evaluation: CategoryEvaluation) -> None:
    frame = pd.DataFrame(evaluation.curve_rows())
    for _, curve in frame.groupby(["method", "level"]):
        assert curve["recall"].is_monotonic_increasing
        assert curve["fpr"].is_monotonic_increasing
        assert (curve["recall"].iloc[0], curve["fpr"].iloc[0], curve["precision"].iloc[0]) == (0, 0, 1)
        assert (curve["recall"].iloc[-1], curve["fpr"].iloc[-1]) == (1, 1)


def test_without_masks_pixels_say_why() -> None:
    found = CategoryEvaluation("nut", has_masks=False, thorough=True)
    about, masks, maps, scores = batch()
    found.update(about, np.zeros_like(masks), maps, scores)
    pixel = [r for r in found.metric_rows() + found.defect_rows() if r["metric"].startswith("pixel")]
    assert all(np.isnan(r["value"]) and "no masks" in r["note"] for r in pixel)
    assert {r["level"] for r in found.curve_rows()} == {"image"}


def test_a_variant_leaves_its_metrics_alone() -> None:
    found = CategoryEvaluation("nut", has_masks=True, thorough=False)
    about, masks, maps, scores = batch()
    found.update(about, masks, {"drdc": maps["drdc"]}, {"drdc": scores["drdc"]})
    assert found.image_rows == []
    assert {r["method"] for r in found.metric_rows()} == {"drdc"}


def test_thinned_points_keep_the_area() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(20000) < 0.03
    curve = RankingCurve()
    curve.update(rng.normal(size=20000) + labels, labels)
    points = curve.points(200)
    assert len(points["fpr"]) <= 200
    assert auc(points["fpr"], points["recall"]) == pytest.approx(curve.auroc().value, abs=2e-3)
    precision = np.average(points["precision"][1:], weights=np.diff(points["recall"]))
    assert precision == pytest.approx(curve.average_precision().value, abs=5e-3)


def test_points_of_one_class_are_none() -> None:
    curve = RankingCurve()
    curve.update(np.arange(3.0), np.zeros(3))
    assert all(len(values) == 0 for values in curve.points().values())
