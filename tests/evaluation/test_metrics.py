"""Metrics against scikit-learn, against a literal AUPRO, and under what must not change them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from drdc.evaluation.evaluator import CategoryEvaluator, region_areas
from drdc.evaluation.metrics import METRICS, aupro, auroc, average_precision, f1_max
from drdc.evaluation.ranking_curve import RankingCurve
from drdc.evaluation.score_counts import bit_length, keys_of, scores_of, widened

Scores = NDArray[np.floating]
Labels = NDArray[np.bool_]

DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], Scores]] = {
    "gaussian": lambda rng, n: rng.normal(size=n),
    "lognormal sigma 1": lambda rng, n: rng.lognormal(0, 1, n),
    "lognormal sigma 3": lambda rng, n: rng.lognormal(0, 3, n).astype(np.float32),
    "narrow": lambda rng, n: 1 + 1e-4 * rng.random(n),
    "narrow float32": lambda rng, n: (1 + 1e-4 * rng.random(n)).astype(np.float32),
    "tied": lambda rng, n: rng.integers(-3, 4, n) / 4,
    "half precision": lambda rng, n: rng.normal(size=n).astype(np.float16),
    "all equal": lambda rng, n: np.full(n, 0.3),
    "zeros of both signs": lambda rng, n: rng.choice([-0.0, 0.0, 1.0], n),
}


ORDERS = [[0, 1, 2, 3, 4, 5], [5, 3, 1, 4, 2, 0], [2, 0, 5, 4, 1, 3]]


def drawn(name: str, size: int = 20_000, share: float = 0.1) -> tuple[Scores, Labels]:
    """Scores of a distribution, anomalous ones drawn from its upper half more often than not."""
    rng = np.random.default_rng(sum(map(ord, name)))
    scores = DISTRIBUTIONS[name](rng, size)
    odds = np.where(scores >= np.median(scores), 1.6, 0.4)
    return scores, rng.random(size) < share * odds


def filled(scores: Scores, labels: Labels, *, batches: int = 7, capacity: int | None = None) -> RankingCurve:
    """A curve of all scores; with a `capacity`, every batch becomes rows of a table at once."""
    curve = RankingCurve() if capacity is None else RankingCurve(capacity)
    for part, part_labels in zip(
        np.array_split(scores, batches), np.array_split(labels, batches), strict=True
    ):
        curve.update(part, part_labels)
        if capacity is not None:
            assert rows(curve) <= capacity
    return curve


def rows(curve: RankingCurve) -> int:
    """Rows of the table when nothing waits in front of it."""
    return len(curve._reduced().key)


def values(curve: RankingCurve) -> tuple[float, float, float]:
    area, precision, f1 = (curve.measure(metric).value for metric in (auroc, average_precision, f1_max))
    return area, precision, f1


def reference(scores: Scores, labels: Labels) -> tuple[float, float, float]:
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    return roc_auc_score(labels, scores), average_precision_score(labels, scores), f1.max()


def literal_aupro(maps: Scores, masks: Labels, limit: float) -> float:
    """Threshold by threshold, region by region, then trapezoids cut at the limit."""
    regions = []
    for index, mask in enumerate(masks):
        named, count = ndimage.label(mask, structure=np.ones((3, 3)))
        regions += [(index, named == number) for number in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in np.unique(maps)[::-1]:
        called = maps >= threshold
        overlap = np.mean([called[index][region].mean() for index, region in regions])
        points.append((called[~masks].mean(), overlap))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            area += (end - x0) * (y0 + y0 + (y1 - y0) * (end - x0) / (x1 - x0)) / 2
    return area / limit


def small_maps(levels: int, seed: int = 0) -> tuple[Scores, Labels]:
    """Six 12 x 12 maps with touching, diagonal, large and one-pixel regions, and two maps without any."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((6, 12, 12), dtype=bool)
    masks[0, 1:4, 1:4] = masks[0, 4, 4] = True
    masks[1, 2, 2] = masks[1, 8:11, 3:9] = True
    masks[2, :, :5] = True
    masks[3, 0, 0] = masks[3, 11, 11] = masks[3, 5, 5:9] = True
    return np.round((rng.random(masks.shape) + 0.4 * masks) * levels) / levels, masks


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_equals_scikit_learn(name: str) -> None:
    scores, labels = drawn(name)
    curve = filled(scores, labels)
    assert values(curve) == pytest.approx(reference(scores, labels), abs=1e-9)
    assert curve.ranks().auroc_error_bound() == 0.0


def test_many_anomalous_scores_equal_scikit_learn() -> None:
    """So many that they are sought among all scores in several pieces."""
    scores, labels = drawn("narrow float32", 40_000, share=0.5)
    assert labels.sum() > 3 * 2048
    assert values(filled(scores, labels)) == pytest.approx(reference(scores, labels), abs=1e-9)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_scores_that_wait_and_scores_in_the_table_give_the_same(name: str) -> None:
    scores, labels = drawn(name)
    waiting, table = (filled(scores, labels) for _ in range(2))
    assert rows(table) == len(np.unique(scores))
    for curve in (waiting, table):
        curve.update(scores[:99], labels[:99], np.full(labels[:99].sum(), 10))
    both = [(*values(curve), curve.measure(aupro).value) for curve in (waiting, table)]
    assert both[0] == pytest.approx(both[1], abs=1e-12)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("capacity", [64, 1024, 4096])
def test_compressed_auroc_stays_within_its_own_bound(name: str, capacity: int) -> None:
    scores, labels = drawn(name)
    curve = filled(scores, labels, batches=23, capacity=capacity)
    area, precision, f1 = values(curve)
    true_auroc, true_precision, true_f1 = reference(scores, labels)
    assert abs(area - true_auroc) <= curve.ranks().auroc_error_bound() + 1e-12
    assert curve.ranks().auroc_error_bound() <= (0 if len(np.unique(scores)) <= capacity else 4 / capacity)
    assert (precision, f1) == pytest.approx((true_precision, true_f1), abs=8 / capacity)


def assert_rows_are_disjoint_cells(curve: RankingCurve) -> None:
    """The premise of the error bound: no score of one row lies between scores of another."""
    key, low_bits = curve._table.key, (np.uint64(1) << curve._table.level.astype(np.uint64)) - np.uint64(1)
    assert not np.any(key & low_bits)
    assert np.all(key[1:] > (key | low_bits)[:-1])


@given(st.lists(st.integers(0, 64).flatmap(lambda bits: st.integers(max(0, 2**bits - 2), 2**bits - 1))))
@settings(max_examples=50, deadline=None)
def test_bit_length_is_not_rounded_up(numbers: list[int]) -> None:
    lengths = bit_length(np.array(numbers, dtype=np.uint64))
    assert lengths.tolist() == [number.bit_length() for number in numbers]


def test_many_scores_with_few_values_stay_exact() -> None:
    """However many there are, and in whatever batches."""
    rng = np.random.default_rng(6)
    scores = np.round(rng.normal(size=100_000), 1).astype(np.float32)
    labels = rng.random(scores.size) < 0.05
    curve = filled(scores, labels, batches=9, capacity=256)
    assert rows(curve) == len(np.unique(scores)) < 256
    assert values(curve) == pytest.approx(reference(scores, labels), abs=1e-12)
    assert curve.ranks().auroc_error_bound() == 0.0


def finite(kind: type[np.floating]) -> st.SearchStrategy[Scores]:
    """Arrays of any finite numbers of a type, subnormal ones and both zeros among them."""
    width = 32 if kind is np.float32 else 64
    return arrays(
        kind, st.integers(1, 40), elements=st.floats(allow_nan=False, allow_infinity=False, width=width)
    )


@given(st.sampled_from([np.float32, np.float64]).flatmap(finite))
def test_keys_have_the_order_of_the_scores(scores: Scores) -> None:
    keys = keys_of(scores)
    assert keys.itemsize == scores.itemsize
    np.testing.assert_array_equal(scores_of(keys), scores)
    np.testing.assert_array_equal(keys[:, None] < keys, scores[:, None] < scores)
    np.testing.assert_array_equal(widened(keys), keys_of(scores.astype(np.float64)))


@pytest.mark.parametrize("capacity", [256, None])
def test_scores_of_both_precisions_are_ranked_together(capacity: int | None) -> None:
    """No float64 of the second half has an equal float32, and those of the first half lie between them."""
    scores, labels = drawn("narrow")
    half = scores.size // 2
    single = scores[:half].astype(np.float32)
    curve = filled(single, labels[:half], capacity=capacity)
    for part in (slice(half, -99), slice(-99, None)):
        curve.update(scores[part], labels[part])
    mixed = np.concatenate([single, scores[half:]])
    bound = curve.ranks().auroc_error_bound()
    assert bound == 0 if capacity is None else 0 < bound < 4 / capacity
    assert abs(curve.measure(auroc).value - roc_auc_score(labels, mixed)) <= bound + 1e-12


def test_the_order_of_the_images_changes_no_bit() -> None:
    maps, masks = small_maps(50)
    found = [evaluated(maps.astype(np.float32)[order], masks[order], batch=2) for order in ORDERS]
    assert found[0] == found[1] == found[2]


def test_bound_holds_for_scores_that_drift_into_merged_rows() -> None:
    rng = np.random.default_rng(1)
    scores = np.concatenate([rng.normal(size=20_000), 0.5 + 1e-3 * rng.normal(size=20_000)])
    labels = np.arange(scores.size) % 5 == 0
    scores[labels] += 2e-4
    curve = filled(scores, labels, batches=40, capacity=512)
    assert (
        abs(curve.measure(auroc).value - roc_auc_score(labels, scores))
        <= curve.ranks().auroc_error_bound()
        < 0.5
    )
    for metric in (auroc, average_precision, f1_max):
        assert curve.measure(metric).note.startswith(
            "approximate: too many scores; the AUROC is accurate to "
        )
    assert_rows_are_disjoint_cells(curve)


def test_a_range_that_fills_late_is_ranked_as_finely_as_one_that_fills_early() -> None:
    """A few scores are there first; later most of the anomalous ones lie between them."""
    rng = np.random.default_rng(7)
    early = np.concatenate([rng.uniform(0, 1, 60_000), rng.uniform(2, 4, 12)])
    late, bad = rng.uniform(2, 3, 7_000), rng.uniform(2.8, 3.99, 600)
    parts = [(early, np.zeros(len(early), bool)), (np.append(late, bad), np.arange(len(late) + 600) >= 7_000)]
    expected = reference(*map(np.concatenate, zip(*parts, strict=True)))
    for order in (parts, parts[::-1]):
        curve = RankingCurve(4096)
        for scores, labels in order:
            curve.merge(filled(scores, labels, capacity=4096))
        assert rows(curve) < 4096
        assert values(curve) == pytest.approx(expected, abs=2e-4)


def test_default_quantile_cell_keeps_the_promised_bound() -> None:
    rng = np.random.default_rng(2)
    scores = np.exp(3 * rng.standard_normal(5 * 2**19, dtype=np.float32))
    labels = rng.random(scores.size) < 0.05
    curve = filled(scores, labels, batches=1, capacity=2**21)
    assert rows(curve) < len(np.unique(scores))
    assert curve.ranks().auroc_error_bound() < 2.0**-21
    assert values(curve)[0] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)
    assert curve.measure(auroc).note == ""


def test_table_stays_within_capacity_over_many_batches() -> None:
    rng = np.random.default_rng(3)
    curve = RankingCurve(capacity=1000)
    reduced = 0
    for step in range(200):
        curve.update(rng.normal(step / 10, 1, 500), rng.random(500) < 0.2)
        reduced += not curve._batches
        assert len(curve._table.key) <= 1000
        assert sum(part.nbytes for batch in curve._batches for part in batch) < 96_000
    assert reduced > 5
    assert 100 < rows(curve) <= 1000


@given(
    scores=st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=60),
    seed=st.integers(0, 2**16),
    capacity=st.integers(16, 24),
)
@settings(max_examples=60, deadline=None)
def test_any_scores_any_split_any_order(scores: list[float], seed: int, capacity: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(len(scores)) % 3 == 0)
    order = rng.permutation(len(scores))
    array = np.array(scores)
    exact = filled(array, labels, batches=1)
    shuffled = filled(array[order], labels[order], batches=int(rng.integers(1, 9)))
    assert values(shuffled) == values(exact) == pytest.approx(reference(array, labels), abs=1e-9)
    rough = filled(array[order], labels[order], batches=4, capacity=capacity)
    assert rows(rough) <= capacity
    assert (
        abs(rough.measure(auroc).value - exact.measure(auroc).value)
        <= rough.ranks().auroc_error_bound() + 1e-12
    )


@pytest.mark.parametrize("transform", [np.exp, np.cbrt, lambda x: 5 * x - 700, np.arctan])
def test_monotone_maps_change_nothing(transform: Callable[[Scores], Scores]) -> None:
    scores, labels = drawn("gaussian")
    scores = np.round(scores, 3)
    assert values(filled(transform(scores), labels)) == values(filled(scores, labels))


def test_auroc_is_never_flipped() -> None:
    scores, labels = drawn("gaussian")
    curve, negated = filled(scores, labels), filled(-scores, labels)
    assert curve.measure(auroc).value > 0.6
    assert negated.measure(auroc).value == pytest.approx(1 - curve.measure(auroc).value, abs=1e-12)


@pytest.mark.parametrize("capacity", [512, None])
def test_merge_equals_one_curve(capacity: int | None) -> None:
    scores, labels = drawn("lognormal sigma 1")
    half = scores.size // 3
    left = filled(scores[:half], labels[:half], capacity=capacity)
    right = filled(scores[half:], labels[half:], capacity=capacity)
    before = values(right)
    left.merge(right)
    assert values(right) == before
    assert_rows_are_disjoint_cells(left)
    bound = left.ranks().auroc_error_bound()
    assert abs(left.measure(auroc).value - roc_auc_score(labels, scores)) <= bound + 1e-12
    assert bound <= (4 / capacity if capacity else 0)


@pytest.mark.parametrize(
    ("labels", "missing"),
    [([0, 0], "no anomalous"), ([1, 1], "no normal"), ([], "no anomalous and no normal")],
)
def test_one_class_is_not_defined_and_says_why(labels: list[int], missing: str) -> None:
    curve = RankingCurve(unit="pixels")
    curve.update(np.arange(len(labels)), labels, np.ones(sum(labels)))
    for metric in map(curve.measure, (auroc, average_precision, f1_max, aupro)):
        assert np.isnan(metric.value)
        assert metric.note == f"not defined: {missing} pixels"


def test_aupro_without_regions_is_not_defined() -> None:
    metric = filled(*drawn("gaussian")).measure(aupro)
    assert np.isnan(metric.value)
    assert "regions" in metric.note


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("levels", [3, 20, 10**6])
def test_aupro_equals_literal_definition(levels: int, limit: float) -> None:
    maps, masks = small_maps(levels)
    curve = RankingCurve()
    for scores, mask in zip(maps, masks, strict=True):
        curve.update(scores, mask, region_areas(mask))
    assert curve.measure(partial(aupro, fpr_limit=limit)).value == pytest.approx(
        literal_aupro(maps, masks, limit), abs=1e-6
    )


def test_aupro_survives_compression() -> None:
    rng = np.random.default_rng(4)
    masks = ndimage.gaussian_filter(rng.normal(size=(8, 64, 64)), (0, 4, 4)) > 0.05
    maps = rng.normal(size=masks.shape) + masks
    exact, rough = RankingCurve(), RankingCurve(1024)
    for scores, mask in zip(maps, masks, strict=True):
        for curve in (exact, rough):
            curve.update(scores, mask, region_areas(mask))
    assert rough.ranks().auroc_error_bound() > 0
    assert rough.measure(aupro).value == pytest.approx(exact.measure(aupro).value, abs=2e-3)


def test_regions_join_diagonals_and_count_their_pixels() -> None:
    mask = np.array([[0, 1, 0, 0, 0], [0, 0, 1, 0, 1], [0, 0, 0, 0, 1], [1, 0, 0, 0, 1]], dtype=bool)
    areas = region_areas(mask)
    assert areas.dtype == np.uint32
    assert areas.tolist() == [2, 2, 3, 3, 1, 3]
    assert region_areas(np.zeros((2, 2), dtype=bool)).tolist() == []


def evaluated(maps: Scores, masks: Labels, *, has_masks: bool = True, batch: int = 4) -> dict[str, float]:
    evaluator = CategoryEvaluator(has_masks)
    limits = np.full(len(maps), 0.5)
    for first in range(0, len(maps), batch):
        part = slice(first, first + batch)
        labels, scores = masks[part].any(axis=(1, 2)), maps[part].max(axis=(1, 2))
        evaluator.update(maps[part], masks[part], scores, labels, pixel_thresholds=limits[part])
    return {name: metric.value for name, metric in evaluator.results().items()}


def test_oracle_masks_score_one() -> None:
    _, masks = small_maps(2)
    scores = evaluated(masks.astype(np.float32), masks)
    assert list(scores) == list(METRICS)
    assert list(scores.values()) == pytest.approx([1.0] * len(METRICS), abs=1e-12)


def test_image_metrics_come_first_and_each_has_its_heading() -> None:
    labels = [declared.label for declared in METRICS.values()]
    wanted = ["Image AUROC", "Image AP", "Image F1-max", "Pixel AUROC", "Pixel AP", "Pixel F1-max"]
    assert [label for label in labels if label in wanted] == wanted
    assert [declared.level for declared in METRICS.values()] == sorted(d.level for d in METRICS.values())
    assert METRICS["pixel_aupro"].label == "Pixel AUPRO"
    assert "image_aupro" not in METRICS


def test_evaluator_takes_pixels_from_masks_and_images_from_labels() -> None:
    maps, masks = small_maps(100)
    labels = np.array([1, 1, 1, 1, 1, 0])  # the fifth mask is empty
    evaluator = CategoryEvaluator(has_masks=True)
    evaluator.update(maps.astype(np.float32), masks, maps.mean(axis=(1, 2)), labels)
    results = evaluator.results()
    expected = reference(maps.astype(np.float32).ravel(), masks.ravel())
    assert [results[f"pixel_{name}"].value for name in ("auroc", "ap", "f1max")] == pytest.approx(expected)
    assert results["pixel_aupro"].value == pytest.approx(literal_aupro(maps, masks, 0.3), abs=1e-6)
    assert results["image_auroc"].value == roc_auc_score(labels, maps.mean(axis=(1, 2)))


def test_evaluator_does_not_depend_on_batches_or_later_changes_of_its_input() -> None:
    maps, masks = small_maps(50)
    whole = evaluated(maps, masks, batch=6)
    assert evaluated(maps[::-1].copy(), masks[::-1], batch=1) == pytest.approx(whole, abs=1e-12)
    evaluator, buffer, limits = CategoryEvaluator(True), np.empty_like(maps[:1]), np.array([0.5])
    for scores, mask in zip(maps, masks, strict=True):
        buffer[:] = scores
        scores = buffer.max(axis=(1, 2))
        evaluator.update(buffer, mask[None], scores, [mask.any()], pixel_thresholds=limits)
    assert {name: metric.value for name, metric in evaluator.results().items()} == pytest.approx(
        whole, abs=1e-12
    )


def test_dataset_without_masks_has_image_metrics_only() -> None:
    maps, masks = small_maps(100)
    evaluator = CategoryEvaluator(has_masks=False)
    evaluator.update(maps, np.zeros_like(masks), np.arange(6.0), [0, 0, 0, 1, 1, 1])
    results = evaluator.results()
    assert results["image_auroc"].value == 1.0
    pixel = [metric for name, metric in results.items() if name.startswith("pixel")]
    assert pixel
    assert all(np.isnan(metric.value) and "no masks" in metric.note for metric in pixel)


def test_non_finite_scores_are_counted() -> None:
    with pytest.raises(ValueError, match="3 of 5 scores are not finite"):
        RankingCurve().update([1.0, np.nan, np.inf, -np.inf, 0.0], [0, 1, 0, 1, 0])


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="capacity"):
        RankingCurve(capacity=3)
    with pytest.raises(ValueError, match="shapes differ"):
        RankingCurve().update(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="shapes differ"):
        RankingCurve().update(np.zeros(3), np.array([0, 1, 1]), np.ones(3))
    with pytest.raises(ValueError, match="fpr_limit"):
        filled(*drawn("tied")).measure(partial(aupro, fpr_limit=0.0))
    with pytest.raises(ValueError, match="image scores"):
        CategoryEvaluator(True).update(np.zeros((2, 4, 4)), np.zeros((2, 4, 4)), np.zeros(3), np.zeros(3))
