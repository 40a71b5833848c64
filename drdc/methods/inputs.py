"""Images and features of an experiment as the methods see them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from drdc.data.manifest import read_manifest
from drdc.equations.diffusion import to_unit_range
from drdc.results.layout import Layout
from drdc.runtime.batching import chunks
from drdc.runtime.devices import to_device
from drdc.runtime.files import load_array
from drdc.training.job import Images


@dataclass(frozen=True)
class Shapes:
    """Sizes of the inputs of a method: images (B, 3, image_size, image_size), features (B, C, h, h).

    Attributes:
        image_size: height and width of its images and heatmaps in pixels.
        channels, feature_size: C and h of the experiment's backbone; 0 and 1 where it uses no features.
    """

    image_size: int
    channels: int
    feature_size: int


@dataclass(frozen=True)
class Batch:
    """What a method sees of B images.

    Attributes:
        images: (B, 3, H, W) float32 in [-1, 1], at the method's input size.
        features: (B, C, h, w) float32 of the experiment's backbone; (B, 0) where the method uses none.
        keys: SHA-256 of each image's pixels, from which its noise is derived.
    """

    images: Tensor
    features: Tensor
    keys: Sequence[str]

    @classmethod
    def of(cls, pixels: NDArray[np.uint8], features: Tensor | None, keys: Sequence[str]) -> Batch:
        """From pixels (B, H, W, 3), on the device."""
        images = to_unit_range(to_device(pixels))
        return cls(images, images.new_zeros(len(images), 0) if features is None else features, keys)


@dataclass(frozen=True)
class Inputs:
    """Pixels and backbone features of all images of the manifest, memory-mapped.

    Attributes:
        images: the facts in the manifest, and the pixels (N, H, W, 3) uint8 as `images.stored`.
        features: (N, C, h, w) float16; None where the method uses none.
        keys: SHA-256 of each image's pixels, (N,).
    """

    images: Images
    features: NDArray[np.float16] | None
    keys: NDArray[np.str_]

    @classmethod
    def read(cls, layout: Layout, size: int, uses_features: bool) -> Inputs:
        """Images of that size; raises UserError where the file of an earlier stage is missing or damaged."""
        table = read_manifest(layout.manifest)
        images = Images.read(layout, layout.images(size), f"images {size}")
        features = load_array(layout.features, len(table), "features") if uses_features else None
        return cls(images, features, table.pixels_sha256.to_numpy())

    @property
    def shapes(self) -> Shapes:
        channels, side = (0, 1) if self.features is None else self.features.shape[1:3]
        return Shapes(self.images.stored.shape[1], channels, side)

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        features = None
        if self.features is not None:
            features = to_device(self.features[rows]).float()
        return Batch.of(self.images.stored[rows], features, self.keys[rows].tolist())

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[Batch]:
        """Those rows, `size` at a time."""
        return map(self.batch, chunks(rows, size))

    def digest(self, rows: NDArray[np.int64]) -> str:
        """SHA-256 of pixels and features of those rows."""
        arrays = [self.images.stored, *([] if self.features is None else [self.features])]
        digest = hashlib.sha256(str([array.shape[1:] for array in arrays]).encode())
        for part in chunks(rows):
            for array in arrays:
                digest.update(array[part].tobytes())
        return digest.hexdigest()
