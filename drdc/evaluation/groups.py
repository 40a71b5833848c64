"""Which known category an image is most like: a function of training images alone.

Thresholds are calibrated within these groups (group-conditional, or Mondrian, conformal prediction: Vovk,
Gammerman and Shafer, "Algorithmic Learning in a Random World", Springer 2005, Sec. 4.5). Neither the user nor
the image's folder says what is seen, and yet the rate of false alarms holds in each group: a held-out normal
image and a new one in the same group are exchangeable, because no held-out image decides about the groups.
Where small groups join (`drdc.evaluation.calibration.members`), it holds for them together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sklearn.neighbors import NearestNeighbors

#: Nearest training images that vote.
NEIGHBOURS = 5
#: An image that is so many times as far from all training images as the farthest normal one is unlike them.
FAR = 1.5
Floats = NDArray[np.floating]


def embedding(features: Floats) -> NDArray[np.float32]:
    """The mean of a backbone's features over positions, (B, C, h, w) -> (B, C)."""
    return np.asarray(features, dtype=np.float32).mean((2, 3))


@dataclass(frozen=True, eq=False)
class Groups:
    """The training images' embeddings, each channel with standard deviation 1.

    Attributes:
        embeddings: (n, C).
        categories: of each, (n,) texts.
        scale: what embeddings are divided by, (C,).
    """

    embeddings: NDArray[np.float32]
    categories: NDArray[np.str_]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, embeddings: Floats, categories: NDArray[np.str_]) -> Groups:
        """From those of the training images, (n, C), as `embedding` gives them."""
        scale = np.maximum(embeddings.std(0), 1e-6).astype(np.float32)
        return cls((embeddings / scale).astype(np.float32), categories, scale)

    def nearest(self, embeddings: Floats) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
        """The category of most of the nearest training images, and the distance of the nearest, each (B,)."""
        distances, places = self._neighbours.kneighbors(embeddings / self.scale)
        voted = [Counter(self.categories[own].tolist()).most_common(1)[0][0] for own in places]
        return np.array(voted, dtype=str), distances[:, 0]

    def spread(self) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
        """Of each training image whose nearest other one is of its category: this, and the distance."""
        if len(self.embeddings) < 2:
            return self.categories[:0], np.empty(0)
        distances, places = self._neighbours.kneighbors(n_neighbors=1)  # without the image itself
        alike = self.categories[places[:, 0]] == self.categories
        return self.categories[alike], distances[alike, 0]

    @cached_property
    def _neighbours(self) -> NearestNeighbors:
        from sklearn.neighbors import NearestNeighbors

        return NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(self.embeddings))).fit(self.embeddings)


@dataclass(frozen=True, eq=False)
class Familiar:
    """How far normal images are from the training images, or from all others of these, group by group.

    Attributes:
        usual: median distance of a group's images.
        limit: the largest distance of any image as a multiple of its group's `usual`.
    """

    usual: Mapping[str, float]
    limit: float

    @classmethod
    def of(cls, training: Groups, held_out: NDArray[np.str_], distances: Floats) -> Familiar:
        """From the training images, and the held-out ones by their groups and distances, each (n,).

        A few held-out images alone tell little about how far normal ones can be.
        """
        groups, apart = training.spread()
        groups, distances = np.concatenate([held_out, groups]), np.concatenate([distances, apart])
        usual = {str(name): float(np.median(distances[groups == name])) for name in set(groups.tolist())}
        relative = distances / [max(usual[name], 1e-12) for name in groups.tolist()]
        return cls(usual, float(relative.max(initial=1.0)))

    def strange(self, group: str, distance: float) -> bool:
        """Whether an image is more than `FAR` times as far from the training images as any normal one."""
        return group in self.usual and distance > FAR * self.limit * self.usual[group]
