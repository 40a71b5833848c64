"""The images of each batch: a function of seed and step alone, so that a run can stop anywhere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class BatchSampler:
    """Shuffled passes over the training images.

    Args:
        rows: row numbers of the training images, (N,).
        categories: their categories, (N,).
        batch_size: images in a batch; batches continue over the end of a pass.
        seed: seed of the shuffling.
        balanced: repeat the images of small categories, so that a pass has all categories equally often.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        categories: NDArray[np.str_],
        batch_size: int,
        seed: int,
        balanced: bool,
    ) -> None:
        self.batch_size, self.seed = batch_size, seed
        names, counts = np.unique(categories, return_counts=True)
        repeated = [np.resize(rows[categories == name], counts.max()) for name in names]
        self.pool = np.concatenate(repeated) if balanced else rows
        self._pass = -1
        self._order = self.pool

    def batch(self, step: int) -> NDArray[np.int64]:
        """Row numbers of batch number `step` (from 0), (batch_size,)."""
        places = step * self.batch_size + np.arange(self.batch_size)
        return np.array([self._row(int(place)) for place in places])

    def _row(self, place: int) -> int:
        number, offset = divmod(place, len(self.pool))
        if number != self._pass:
            self._pass = number
            self._order = np.random.default_rng([self.seed, number]).permutation(self.pool)
        return int(self._order[offset])
