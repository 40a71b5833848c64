"""The smallest method: how far is each pixel from what normal images have at its place?"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from drdc.config.section import setting
from drdc.methods.interface import History, Method, MethodSettings, Shapes
from drdc.methods.trainer import Trainer


class PixelGaussian(Method):
    """Mean and deviation of each pixel over all normal images; a heatmap counts deviations from the mean."""

    class Settings(MethodSettings):
        """Settings of the toy."""

        floor: float = setting(0.05, "ours", "Smallest deviation of a pixel.", gt=0)

    paper_name = "PaDiM"  # so that a number of the paper stands beside it
    citation = "A toy, 2026"

    def __init__(self, settings: Any, shapes: Shapes, weights: Any = None) -> None:
        super().__init__(settings, shapes, weights)
        size = (3, shapes.image_size, shapes.image_size)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))

    def fit(self, trainer: Trainer) -> History:
        images = torch.cat([images for images, _ in trainer.batches()])
        self.mean = images.mean(0)
        self.deviation = images.std(0).clamp(min=self.settings.floor)
        return []

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        return ((images - self.mean) / self.deviation).abs().amax(1)
