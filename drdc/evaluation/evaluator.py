"""All metrics of one category, from its maps, masks and image scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from drdc.evaluation.metrics import METRICS, Metric
from drdc.evaluation.ranking_curve import RankingCurve

NO_MASKS = "not defined: no masks"
EVERY = slice(None)
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


class CategoryEvaluator:
    """All metrics of one category, filled batch by batch.

    Masks alone determine pixels and labels alone images: an anomalous image with an empty mask adds
    normal pixels. Without ground truth (`has_masks` false) masks are ignored and pixel metrics not defined.
    """

    def __init__(self, has_masks: bool) -> None:
        self.has_masks = has_masks
        self.images = RankingCurve(unit="images")
        self.pixels = RankingCurve(unit="pixels")

    def update(
        self,
        maps: ArrayLike,
        masks: ArrayLike,
        image_scores: ArrayLike,
        labels: ArrayLike,
        known: NDArray[np.bool_] | slice = EVERY,
    ) -> None:
        """Add a batch of B images.

        Args:
            maps: (B, H, W) finite anomaly scores of the pixels, any range.
            masks: (B, H, W) bool, true on defects.
            image_scores: (B,) finite anomaly scores of the images, any range.
            labels: (B,) bool or 0/1, 1 for anomalous.
            known: (B,) bool, whose masks are known; the pixels of the others do not count.

        Raises:
            ValueError: shapes do not agree, or some scores are NaN or infinite.
        """
        shape = np.shape(maps)
        if len(shape) != 3 or np.shape(image_scores) != shape[:1]:
            raise ValueError(f"maps {shape}, image scores {np.shape(image_scores)}: not (B, H, W) and (B,)")
        if self.has_masks:
            defects = np.asarray(masks).astype(bool)
            weight = np.zeros(defects.shape, dtype=np.float32)
            for index in np.flatnonzero(defects.any(axis=(1, 2))):
                weight[index], _ = pixel_regions(defects[index])
            self.pixels.update(np.asarray(maps)[known], defects[known], weight[known])
        self.images.update(image_scores, labels)

    def results(self) -> dict[str, Metric]:
        """The value of each of `METRICS`."""
        curves = {"image": self.images, "pixel": self.pixels}
        return {
            name: Metric(np.nan, NO_MASKS)
            if metric.needs_masks and not self.has_masks
            else curves[metric.level].measure(metric.compute)
            for name, metric in METRICS.items()
        }


def pixel_regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.float32], int]:
    """Weight every defect pixel so that each 8-connected ground-truth region sums to one.

    Args:
        mask: (H, W) bool, true on defects.

    Returns:
        (H, W) float32, 1 / area of its region at a defect pixel and 0 elsewhere; and the number of regions.
    """
    regions, count = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
    weight = np.zeros(count + 1, dtype=np.float32)
    weight[1:] = 1.0 / np.bincount(regions.ravel(), minlength=count + 1)[1:]
    return weight[regions], int(count)
