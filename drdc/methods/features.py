"""What methods on features share: the experiment's features or those of a backbone of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from drdc.config.backbone import Backbone
from drdc.config.departures import shown
from drdc.config.section import setting
from drdc.equations.fusion import channel_scale
from drdc.methods.interface import History, JointMethod, Shapes, TrainedSettings
from drdc.methods.pixels import backbone_pixels
from drdc.methods.trainer import Trainer
from drdc.models.backbone import FeatureExtractor
from drdc.runtime.files import below


class FeatureSettings(TrainedSettings):
    """Settings of a method on features."""

    backbone: Backbone | None = setting(
        None,
        "ours",
        "A backbone of its own, run on the images of every batch; null: the features of the experiment's.",
    )
    standardise: bool = setting(
        True, "ours", "Standardise each channel over the training images, so that any backbone will do."
    )


class FeatureMethod(JointMethod):
    """A method on a feature map (B, C, h, h), with `channels` C and `side` h."""

    Settings = FeatureSettings

    mean: Tensor
    deviation: Tensor

    @classmethod
    def cited(cls, settings: Mapping[str, Any], backbone: str) -> str:
        own, told = settings.get("backbone"), super().cited(settings, backbone)
        if not own:
            return told
        size, stages = own["feature_size"], shown(own["stages"])
        return f"{told}; features {size} × {size} of stages {stages}"

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        self.channels, self.side, own = shapes.channels, shapes.feature_size, settings.backbone
        self.extractor: FeatureExtractor | None = None
        if own is not None:
            self.extractor = FeatureExtractor(own, weights and below(weights, "extractor"))
            self.channels, self.side = self.extractor.channels, own.feature_size
        self.register_buffer("mean", torch.zeros(self.channels, 1, 1))
        self.register_buffer("deviation", torch.ones(self.channels, 1, 1))

    def fit(self, trainer: Trainer) -> History:
        if self.settings.standardise:
            mean, deviation = channel_scale(self._features(*batch) for batch in trainer.batches())
            # channels that hardly vary here may vary by chance elsewhere, and would dominate all others
            deviation = deviation.clamp(min=max(deviation.mean().item() / 100, 1e-6))
            self.mean.copy_(mean.view_as(self.mean))
            self.deviation.copy_(deviation.view_as(self.deviation))
        return self.descend(trainer)

    def descend(self, trainer: Trainer) -> History:
        """The training itself, once the scale of the features is known; by default that of `Method`."""
        return super().fit(trainer)

    def standard(self, images: Tensor, features: Tensor) -> Tensor:
        """The features that the method works on, (B, C, h, h)."""
        return (self._features(images, features) - self.mean) / self.deviation

    @torch.no_grad()
    def _features(self, images: Tensor, features: Tensor) -> Tensor:
        return features if self.extractor is None else self.extractor(backbone_pixels(images))
