"""SimpleNet: features, a linear adaptor, and a discriminator against Gaussian noise in feature space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.config.section import MOST_CHANNELS, MOST_EPOCHS, MOST_IMAGES, MOST_PIXELS, setting
from drdc.equations.fusion import channel_scale, upsample_base
from drdc.methods.interface import History, Method, Shapes, TrainedSettings, blurred
from drdc.methods.trainer import Trainer


class SimpleNet(Method):
    """A discriminator learns to separate adapted normal features from the same with noise added.

    Features are averaged over 3×3 neighbours; a linear adaptor without bias maps them to the image domain;
    Gaussian noise turns them into false ones; the discriminator (linear, batch norm, leaky ReLU, linear)
    scores each position, and the truncated L1 loss asks for a margin on both sides. The heatmap is minus the
    score of each position, its maximum the image score.

    Simplified: it works on the experiment's backbone features, at their size, where the paper takes 1,536
    channels of WideResNet-50 at 36×36. Each channel is standardised over the training images, so that the
    noise means the same for any backbone; 0.015, the paper's for features that are not standardised, is too
    little to learn from (measured, results/published/README.md). Both parts have one learning rate, where the
    paper has 1e-4 for the adaptor and 2e-4 for the discriminator, and AdamW instead of Adam. With 1,536
    channels it has the paper's 3.94 M parameters.
    """

    class Settings(TrainedSettings):
        """SimpleNet (Liu et al., CVPR 2023)."""

        width: int = setting(1024, "inferred", "Hidden width of the discriminator.", ge=1, le=MOST_CHANNELS)
        noise: float = setting(
            0.1,
            "ours",
            "Standard deviation of the noise, where that of the features is 1 (the paper's: 0.015).",
            gt=0,
        )
        margin: float = setting(0.5, "inferred", "Score asked for on either side of zero.", gt=0)
        patch: Literal[1, 3, 5, 7] = setting(3, "inferred", "Side of the averaged neighbourhood.")
        blur: float = setting(
            4.0,
            "inferred",
            "Standard deviation of the Gaussian filter on the heatmap in pixels; 0 for none.",
            ge=0,
        )
        pool_size: int = setting(
            1, "inferred", "Side of the average pool (image score); 1 for none.", ge=1, le=MOST_PIXELS
        )
        batch_size: int = setting(8, "inferred", "Images per step.", ge=1, le=MOST_IMAGES)
        learning_rate: float = setting(2e-4, "inferred", "Learning rate of AdamW.", gt=0)
        weight_decay: float = setting(1e-5, "inferred", "Weight decay of AdamW.", ge=0)
        epochs: float = setting(160, "inferred", "Passes over the training images.", gt=0, le=MOST_EPOCHS)

    paper_name = "SimpleNet"
    citation = (
        "Liu et al., SimpleNet: A Simple Network for Image Anomaly Detection and Localization, CVPR 2023"
    )
    paper_backbone = "wide_resnet50_2"

    mean: Tensor
    deviation: Tensor

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        self.adaptor = nn.Linear(shapes.channels, shapes.channels, bias=False)
        self.discriminator = nn.Sequential(
            nn.Linear(shapes.channels, settings.width),
            nn.BatchNorm1d(settings.width),
            nn.LeakyReLU(0.2),
            nn.Linear(settings.width, 1, bias=False),
        )
        self.register_buffer("mean", torch.zeros(shapes.channels, 1, 1))
        self.register_buffer("deviation", torch.ones(shapes.channels, 1, 1))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)

    def fit(self, trainer: Trainer) -> History:
        mean, deviation = channel_scale(features for _, features in trainer.batches())
        self.mean.copy_(mean.view_as(self.mean))
        self.deviation.copy_(deviation.clamp(min=1e-6).view_as(self.deviation))
        return super().fit(trainer)

    def loss(self, images: Tensor, features: Tensor) -> Tensor:
        true = self._adapted(features)
        false = true + self.settings.noise * torch.randn_like(true)
        scores = self.discriminator(torch.cat([true, false]))  # one batch: both share the batch norm
        good, bad = scores.chunk(2)
        margin = self.settings.margin
        return (margin - good).clamp(min=0).mean() + (margin + bad).clamp(min=0).mean()

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        places = (len(features), *features.shape[2:])
        scores = -self.discriminator(self._adapted(features)).view(places)
        return blurred(upsample_base(scores, self.shapes.image_size), self.settings.blur)

    def _adapted(self, features: Tensor) -> Tensor:
        """(B · h · w, C), each position for itself."""
        side = self.settings.patch
        standard = (features - self.mean) / self.deviation
        local = F.avg_pool2d(standard, side, 1, side // 2, count_include_pad=False)
        return self.adaptor(local.permute(0, 2, 3, 1).flatten(0, 2))
