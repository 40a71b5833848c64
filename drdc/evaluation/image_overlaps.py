"""How much of each anomalous image's defect is found at very low rates of false alarms: what AUPIMO needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Between these false positive rates of the pixels of normal images the recall is averaged.
RATES = (1e-5, 1e-4)
#: Scores of normal pixels that are kept, the highest: enough for RATES[1] of 10,000 images of 1024 x 1024.
KEPT = 2**20
Floats = NDArray[np.floating]


class ImageOverlaps:
    """The highest scores of normal images' pixels, and of each anomalous image those of its defect.

    Filled batch by batch in any order; 4 bytes of memory for each defect pixel.
    """

    def __init__(self) -> None:
        self._highest: list[Floats] = []
        self._least = -np.inf
        self._normal = 0
        self._defects: list[Floats] = []

    def update(self, maps: Floats, masks: NDArray[np.bool_], labels: NDArray[np.bool_]) -> None:
        """Add a batch of B images.

        Args:
            maps: (B, H, W) finite anomaly scores.
            masks: (B, H, W), true on defects.
            labels: (B,) true for anomalous. An anomalous image without a defect pixel does not count.
        """
        normal = maps[~labels].ravel()
        self._normal += normal.size
        self._highest.append(normal if np.isneginf(self._least) else normal[normal > self._least])
        if sum(map(len, self._highest)) > 2 * KEPT:  # so rarely that a pixel costs no more for many images
            self._highest = [_highest(self._highest, KEPT)]
            self._least = self._highest[0].min()
        self._defects += [
            own[mask] for own, mask in zip(maps[labels], masks[labels], strict=True) if mask.any()
        ]

    def undefined(self) -> str:
        """Why there is nothing to measure; "" where there is."""
        numbers = {"normal images": self._normal, "anomalous pixels": len(self._defects)}
        lacking = [kind for kind, number in numbers.items() if not number]
        if not lacking and RATES[1] * self._normal >= KEPT:
            return f"not defined: more than {KEPT / RATES[1]:.2g} pixels of normal images"
        return f"not defined: no {' and no '.join(lacking)}" if lacking else ""

    def each(self) -> NDArray[np.float64]:
        """Of each anomalous image the recall, averaged over the logarithm of the false positive rate.

        At a rate F the threshold lies just above the (⌊F N⌋ + 1)-th highest score of the N normal pixels. So
        the recall is a step function of F with steps at m / N, and its mean is a sum without any error.
        """
        low, high = RATES
        steps = np.arange(int(high * self._normal) + 1)
        edges = np.clip(np.append(steps, len(steps)) / self._normal, low, high)
        weights = np.diff(np.log(edges)) / np.log(high / low)
        # A pixel is found at all rates whose threshold lies below it: the sum of weights from a step on.
        found = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
        thresholds = np.sort(_highest(self._highest, len(steps)))
        above = (len(thresholds) - np.searchsorted(thresholds, scores, "left") for scores in self._defects)
        return np.array([found[own].mean() for own in above])


def _highest(parts: list[Floats], number: int) -> Floats:
    """The `number` highest values of some arrays, in any order; all of them if there are fewer."""
    values = np.concatenate(parts)
    if len(values) > number:
        values.partition(-number)
    return values[-number:]
