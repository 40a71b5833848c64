"""AUPIMO, SegF1 and the metrics over all categories together, against literal definitions and other code."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import f1_score

from drdc.evaluation.evaluator import CategoryEvaluator
from drdc.evaluation.image_overlaps import KEPT, RATES, ImageOverlaps
from drdc.evaluation.metrics import METRICS, POOLED, aupimo
from drdc.evaluation.pixel_decisions import PixelDecisions

Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]


def drawn(normal: int, anomalous: int, size: int, seed: int = 0) -> tuple[Maps, Masks, NDArray[np.bool_]]:
    """Smooth random maps, raised on blobs of the anomalous images; these come first."""
    rng = np.random.default_rng(seed)
    maps = ndimage.gaussian_filter(rng.normal(size=(normal + anomalous, size, size)), (0, 2, 2))
    labels = np.arange(normal + anomalous) < anomalous
    masks = np.zeros(maps.shape, dtype=bool)
    for index in range(anomalous):
        y, x = rng.integers(0, size // 2, 2)
        masks[index, y : y + size // 4, x : x + size // 4] = True
    maps += masks * rng.uniform(0.2, 1.2, (normal + anomalous, 1, 1)) * maps.std() * 4
    return maps.astype(np.float32), masks, labels


def overlaps_of(maps: Maps, masks: Masks, labels: NDArray[np.bool_], batch: int = 3) -> ImageOverlaps:
    found = ImageOverlaps()
    for first in range(0, len(maps), batch):
        part = slice(first, first + batch)
        found.update(maps[part], masks[part], labels[part])
    return found


def literal_aupimo(maps: Maps, masks: Masks, labels: NDArray[np.bool_], points: int = 20_000) -> float:
    """The mean recall at rates that are evenly spread over the logarithm, each from its threshold."""
    normal = np.sort(maps[~labels].ravel())[::-1]
    low, high = np.log(RATES)
    rates = np.exp(low + (np.arange(points) + 0.5) / points * (high - low))
    thresholds = normal[np.floor(rates * len(normal)).astype(int)]
    images = zip(maps[labels], masks[labels], strict=True)
    return float(np.mean([np.mean([(own[mask] > t).mean() for t in thresholds]) for own, mask in images]))


@pytest.mark.parametrize("levels", [7, None])
@pytest.mark.parametrize("size", [24, 96])
def test_aupimo_is_its_literal_definition(size: int, levels: int | None) -> None:
    """With ties too, and where not even one pixel of the normal images may be above the threshold."""
    maps, masks, labels = drawn(4, 3, size)
    if levels:
        maps = np.round(maps / maps.std() * levels / 4).astype(np.float32)
    assert aupimo(overlaps_of(maps, masks, labels)).value == pytest.approx(
        literal_aupimo(maps, masks, labels), abs=2e-4
    )


def test_aupimo_equals_anomalibs() -> None:
    from anomalib.metrics.pimo.functional import aupimo_scores

    maps, masks, labels = drawn(16, 4, 192)
    logging.disable(logging.WARNING)  # that a rate is not met to a hundredth
    found = aupimo_scores(torch.from_numpy(maps), torch.from_numpy(masks), 100_000)
    logging.disable(logging.NOTSET)
    theirs = found[4][: labels.sum()].numpy()
    ours = overlaps_of(maps, masks, labels).each()
    assert ours.min() < 0.7, "not all is found"
    np.testing.assert_allclose(ours, theirs, atol=0.01)


def test_aupimo_of_more_pixels_than_are_kept_is_not_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drdc.evaluation.image_overlaps.KEPT", 1)
    maps, masks, labels = np.zeros((2, 120, 120)), np.zeros((2, 120, 120), bool), np.array([False, True])
    masks[1, 0, 0] = True
    assert "more than 1e+04 pixels of normal images" in overlaps_of(maps, masks, labels).undefined()


def test_aupimo_does_not_depend_on_order_or_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, masks, labels = drawn(6, 4, 32)
    whole = overlaps_of(maps, masks, labels, batch=10).each()
    np.testing.assert_array_equal(overlaps_of(maps, masks, labels, batch=1).each(), whole)
    turned = overlaps_of(maps[::-1], masks[::-1], labels[::-1]).each()
    np.testing.assert_array_equal(turned[::-1], whole)
    monkeypatch.setattr("drdc.evaluation.image_overlaps.KEPT", 100)
    np.testing.assert_array_equal(overlaps_of(maps, masks, labels).each(), whole)
    assert RATES[1] * 10_000 * 1024**2 < KEPT + 1, "as documented"


def test_aupimo_needs_normal_images_and_defects() -> None:
    maps, masks, labels = drawn(2, 2, 16)
    assert overlaps_of(maps[:2], masks[:2], labels[:2]).undefined() == "not defined: no normal images"
    assert overlaps_of(maps[2:], masks[2:], labels[2:]).undefined() == "not defined: no anomalous pixels"
    vanished = overlaps_of(maps, np.zeros_like(masks), labels)
    assert vanished.undefined() == "not defined: no anomalous pixels"


def test_no_metric_leaves_the_unit_interval_by_rounding() -> None:
    """Of the ground truth itself, as `oracle_mask@1`, whose area is a sum of very many parts."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        masks = rng.random((6, 24, 24)) < rng.uniform(0.01, 0.5)
        masks[:2] = False
        evaluator = CategoryEvaluator(True)
        maps, half = masks.astype(np.float32), np.full(len(masks), 0.5)
        evaluator.update(maps, masks, masks.max((1, 2)), masks.any((1, 2)), pixel_thresholds=half)
        for name, metric in evaluator.results().items():
            assert 0 <= metric.value <= 1, name


def test_segf1_is_the_f1_of_the_pixels_above_the_threshold_of_their_image() -> None:
    maps, masks, labels = drawn(5, 5, 32)
    limits = np.quantile(maps, np.linspace(0.8, 0.95, len(maps)))
    known = np.arange(len(maps)) != 7
    evaluator = CategoryEvaluator(True)
    for part in (slice(0, 4), slice(4, 10)):
        evaluator.update(
            maps[part], masks[part], maps[part].max((1, 2)), labels[part], known[part], limits[part]
        )
    above = maps > limits[:, None, None]
    expected = f1_score(masks[known].ravel(), above[known].ravel())
    assert evaluator.results()["pixel_segf1"].value == pytest.approx(expected)


def test_segf1_says_why_it_is_not_defined() -> None:
    maps, masks, _ = drawn(2, 2, 16)
    without = PixelDecisions()
    without.update(maps, masks)
    assert without.undefined() == "not defined: fewer than 19 held-out normal images"
    clean = PixelDecisions()
    clean.update(maps, np.zeros_like(masks), np.zeros(len(maps)))
    assert clean.undefined() == "not defined: no anomalous pixels"


def test_what_is_pooled_are_the_metrics_of_both_levels() -> None:
    assert list(POOLED) == [
        f"pooled_{level}_{name}" for level in ("image", "pixel") for name in ("auroc", "ap", "f1max")
    ]
    assert not set(POOLED) & set(METRICS)
