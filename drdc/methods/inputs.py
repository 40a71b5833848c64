"""Images and features of an experiment as the compared methods see them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drdc.equations.diffusion import to_unit_range
from drdc.methods.interface import Shapes
from drdc.results.layout import Layout
from drdc.runtime.batching import chunks
from drdc.runtime.devices import torch_device
from drdc.runtime.files import load_array
from drdc.training.job import Images

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Inputs:
    """Pixels and backbone features of all images of the manifest, memory-mapped.

    Attributes:
        images: what the manifest says, and the pixels (N, H, W, 3) uint8 as `images.stored`.
        features: (N, C, h, w) float16.
    """

    images: Images
    features: NDArray[np.float16]

    @classmethod
    def read(cls, layout: Layout) -> Inputs:
        """Raises UserError where an earlier stage has left nothing, or nothing usable."""
        images = Images.read(layout, layout.images, "prepare")
        return cls(images, load_array(layout.features, len(images.stored), "features"))

    @property
    def shapes(self) -> Shapes:
        return Shapes(self.images.stored.shape[1], *self.features.shape[1:3])

    def batch(self, rows: NDArray[np.int64]) -> Batch:
        """Images (B, 3, H, W) in [-1, 1] and features (B, C, h, w), both float32 on the device."""
        device = torch_device()
        features = torch.from_numpy(self.features[rows]).to(device).float()
        return to_unit_range(self.images.stored[rows]).to(device), features

    def batches(self, rows: NDArray[np.int64], size: int) -> Iterator[Batch]:
        """Those rows, `size` at a time."""
        return map(self.batch, chunks(rows, size))

    def digest(self, rows: NDArray[np.int64]) -> str:
        """SHA-256 of pixels and features of those rows."""
        digest = hashlib.sha256(str((self.images.stored.shape[1:], self.features.shape[1:])).encode())
        for part in chunks(rows):
            digest.update(self.images.stored[part].tobytes() + self.features[part].tobytes())
        return digest.hexdigest()
