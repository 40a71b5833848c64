"""All metrics of one category, from its maps, masks and image scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from drdc.evaluation.image_overlaps import ImageOverlaps
from drdc.evaluation.metrics import METRICS, Declaration, Metric
from drdc.evaluation.pixel_decisions import PixelDecisions
from drdc.evaluation.ranking_curve import RankingCurve

NO_MASKS = "not defined: no masks"
EVERY = slice(None)
NO_AREAS = np.empty(0, dtype=np.uint32)
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


class CategoryEvaluator:
    """All metrics of one category, filled batch by batch.

    Masks alone determine pixels and labels alone images: an anomalous image with an empty mask adds
    normal pixels. Without ground truth (`has_masks` false) masks are ignored and pixel metrics not defined.

    Args:
        has_masks: whether there are ground-truth masks.
    """

    def __init__(self, has_masks: bool) -> None:
        self.has_masks = has_masks
        self.images = RankingCurve(unit="images")
        self.pixels = RankingCurve(unit="pixels")
        self.overlaps = ImageOverlaps()
        self.decisions = PixelDecisions()

    def update(
        self,
        maps: ArrayLike,
        masks: ArrayLike,
        image_scores: ArrayLike,
        labels: ArrayLike,
        known: NDArray[np.bool_] | slice = EVERY,
        pixel_thresholds: NDArray[np.floating] | None = None,
    ) -> None:
        """Add a batch of B images.

        Args:
            maps: (B, H, W) finite anomaly scores of the pixels, any range.
            masks: (B, H, W) bool, true on defects.
            image_scores: (B,) finite anomaly scores of the images, any range.
            labels: (B,) bool or 0/1, 1 for anomalous.
            known: (B,) bool, whose masks are known; the pixels of the others do not count.
            pixel_thresholds: (B,) of the images, from held-out normal images; None where these are too few.

        Raises:
            ValueError: shapes do not agree, or some scores are NaN or infinite.
        """
        shape = np.shape(maps)
        if len(shape) != 3 or np.shape(image_scores) != shape[:1]:
            raise ValueError(f"maps {shape}, image scores {np.shape(image_scores)}: not (B, H, W) and (B,)")
        if self.has_masks:
            defects, whole = np.asarray(masks).astype(bool, copy=False)[known], np.asarray(maps)[known]
            areas = [region_areas(mask) for mask in defects[defects.any(axis=(1, 2))]]
            self.pixels.update(whole, defects, np.concatenate([NO_AREAS, *areas]))
            self.overlaps.update(whole, defects, np.asarray(labels).astype(bool)[known])
            limits = None if pixel_thresholds is None else np.asarray(pixel_thresholds)[known]
            self.decisions.update(whole, defects, limits)
        self.images.update(image_scores, labels)

    def results(self) -> dict[str, Metric]:
        """The value of each of `METRICS`."""
        return {name: self._measured(metric) for name, metric in METRICS.items()}

    def _measured(self, metric: Declaration) -> Metric:
        """Its value, or why there is none."""
        if metric.needs_masks and not self.has_masks:
            return Metric(np.nan, NO_MASKS)
        if curve := {"image": self.images, "pixel": self.pixels}.get(metric.source):
            return curve.measure(metric.compute)
        source = self.overlaps if metric.source == "overlaps" else self.decisions
        reason = source.undefined()
        return Metric(np.nan, reason) if reason else metric.compute(source)


def region_areas(mask: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """How many pixels each defect pixel's 8-connected ground-truth region has.

    Args:
        mask: (H, W) bool, true on defects.

    Returns:
        (M,) for its M defect pixels in order, row by row.
    """
    rows, columns = (_span(np.any(mask, axis=axis)) for axis in (1, 0))
    around = mask[rows, columns]
    regions, _ = ndimage.label(around, structure=EIGHT_NEIGHBOURS)
    own = regions[around]
    return np.bincount(own).astype(np.uint32)[own]


def _span(marked: NDArray[np.bool_]) -> slice:
    """From the first to the last that is marked."""
    found = np.flatnonzero(marked)
    return slice(found[0], found[-1] + 1) if len(found) else slice(0)
