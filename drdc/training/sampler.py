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
        balanced: repeat the images of small categories, so that a pass has all categories equally often; the
            odd ones are others in each pass.
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
        self.groups = [rows[categories == name] for name in np.unique(categories)] if balanced else [rows]
        self.largest = max(map(len, self.groups))
        self._pass = -1
        self._order = rows

    def batch(self, step: int) -> NDArray[np.int64]:
        """Row numbers of batch number `step` (from 0), (batch_size,)."""
        places = step * self.batch_size + np.arange(self.batch_size)
        return np.array([self._row(int(place)) for place in places])

    def _row(self, place: int) -> int:
        number, offset = divmod(place, self.largest * len(self.groups))
        if number != self._pass:
            self._pass = number
            rng = np.random.default_rng([self.seed, number])
            whole = [self._repeated(own, rng) for own in self.groups]
            self._order = rng.permutation(np.concatenate(whole))
        return int(self._order[offset])

    def _repeated(self, rows: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """As many as the largest group has."""
        return rows if len(rows) == self.largest else np.resize(rng.permutation(rows), self.largest)
