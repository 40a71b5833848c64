"""What thresholds say of the pixels, against the ground truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drdc.evaluation.calibration import RATE, needed


class PixelDecisions:
    """Numbers of pixels above their image's threshold and not, filled batch by batch.

    Attributes:
        true_positives, false_positives, false_negatives: numbers of pixels.
    """

    def __init__(self) -> None:
        self.true_positives = self.false_positives = self.false_negatives = 0
        self._without_threshold = False

    def update(
        self,
        maps: NDArray[np.floating],
        masks: NDArray[np.bool_],
        thresholds: NDArray[np.floating] | None = None,
    ) -> None:
        """Add maps (B, H, W) and masks of the same shape, true on defects.

        `thresholds`, (B,): a larger score is called a defect; None where there are none.
        """
        self._without_threshold |= thresholds is None
        above = maps > (np.inf if thresholds is None else thresholds[:, None, None])
        called, right, wanted = (int(np.count_nonzero(own)) for own in (above, above & masks, masks))
        self.true_positives += right
        self.false_positives += called - right
        self.false_negatives += wanted - right

    def undefined(self) -> str:
        """Why there is nothing to measure; "" where there is."""
        if not self.true_positives + self.false_negatives:
            return "not defined: no anomalous pixels"
        few = f"not defined: fewer than {needed(RATE)} held-out normal images"
        return few if self._without_threshold else ""
