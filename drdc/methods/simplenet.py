"""SimpleNet: features, a linear adaptor, and a discriminator against Gaussian noise in feature space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.config.optimisation import OPTIMIZER, Optimizer
from drdc.config.section import MOST_CHANNELS, MOST_EPOCHS, MOST_IMAGES, MOST_PIXELS, setting
from drdc.methods.features import FeatureMethod, FeatureSettings
from drdc.methods.interface import History, Method, Shapes, blurred
from drdc.methods.trainer import Trainer


class SimpleNet(FeatureMethod):
    """A discriminator learns to separate adapted normal features from the same with noise added.

    Features are averaged over 3×3 neighbours, zeros beyond the border; a linear adaptor maps them to the
    image domain; Gaussian noise turns them into false ones; the discriminator (linear, batch norm, leaky
    ReLU, linear) scores each position, and the truncated L1 loss asks for a margin on both sides. The heatmap
    is minus the score of each position, the largest of which is the image score.

    By default it works on the experiment's features, each channel standardised over the training images, so
    that the noise means the same for any backbone: 0.015, the paper's for features as they are, is too
    little then (measured, results/published/README.md). With 1,536 channels it has the authors' 3,937,792
    parameters. Differs: the stages are concatenated, where the authors' code averages the channels of each
    to 1,536 and then those of both; Adam for both parts, where the adaptor has AdamW there.
    """

    class Settings(FeatureSettings):
        """SimpleNet (Liu et al., CVPR 2023)."""

        width: int = setting(1024, "inferred", "Hidden width of the discriminator.", ge=1, le=MOST_CHANNELS)
        noise: float = setting(
            0.1,
            "ours",
            "Standard deviation of the noise, where that of the features is 1 (the paper's, for features as "
            "they are: 0.015).",
            gt=0,
        )
        margin: float = setting(0.5, "inferred", "Margin of the score on either side of zero.", gt=0)
        patch: Literal[1, 3, 5, 7] = setting(3, "inferred", "Side of the averaged neighbourhood.")
        adaptor_rate: float = setting(
            0.5, "inferred", "Learning rate of the adaptor as a share of the discriminator's.", gt=0
        )
        blur: float = setting(
            4.0,
            "inferred",
            "Standard deviation of the Gaussian filter on the heatmap in pixels; 0 for none.",
            ge=0,
        )
        score: Literal["position", "pool"] = setting(
            "position",
            "inferred",
            "Image score: the largest of the positions, or the maximum of the average-pooled heatmap.",
        )
        pool_size: int = setting(
            1, "ours", "Side of the average pool (`score: pool`); 1 for none.", ge=1, le=MOST_PIXELS
        )
        batch_size: int = setting(8, "inferred", "Images per step.", ge=1, le=MOST_IMAGES)
        optimizer: Optimizer = setting("adam", "inferred", OPTIMIZER)
        learning_rate: float = setting(2e-4, "inferred", "Learning rate of the discriminator.", gt=0)
        weight_decay: float = setting(1e-5, "inferred", "Weight decay.", ge=0)
        epochs: float = setting(160, "inferred", "Passes over the training images.", gt=0, le=MOST_EPOCHS)

    paper_name = "SimpleNet"
    citation = (
        "Liu et al., SimpleNet: A Simple Network for Image Anomaly Detection and Localization, CVPR 2023"
    )
    paper_backbone = "wide_resnet50_2"

    @classmethod
    def cited(cls, settings: Mapping[str, Any], backbone: str) -> str:
        features = "standardised features" if settings["standardise"] else "features"
        noise = f"noise of {settings['noise']:g} on {features} (the paper: 0.015 on features as they are)"
        return f"{super().cited(settings, backbone)}; {noise}"

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        self.adaptor = nn.Linear(self.channels, self.channels)
        self.discriminator = nn.Sequential(
            nn.Linear(self.channels, settings.width),
            nn.BatchNorm1d(settings.width),
            nn.LeakyReLU(0.2),
            nn.Linear(settings.width, 1, bias=False),
        )
        for part in (self.adaptor, *self.discriminator):
            if isinstance(part, nn.Linear):
                nn.init.xavier_normal_(part.weight)

    def descend(self, trainer: Trainer) -> History:
        return trainer.descend(self, type(self).loss, rates={"adaptor": self.settings.adaptor_rate})

    def loss(self, images: Tensor, features: Tensor) -> Tensor:
        true = self._adapted(images, features)
        false = true + self.settings.noise * torch.randn_like(true)
        scores = self.discriminator(torch.cat([true, false]))  # one batch: both share the batch norm
        good, bad = scores.chunk(2)
        margin = self.settings.margin
        return (margin - good).clamp(min=0).mean() + (margin + bad).clamp(min=0).mean()

    def heatmaps_and_scores(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        scores = -self.discriminator(self._adapted(images, features)).view(-1, 1, self.side, self.side)
        size = (self.shapes.image_size,) * 2
        heatmaps = blurred(F.interpolate(scores, size, mode="bilinear")[:, 0], self.settings.blur)
        if self.settings.score == "position":
            return heatmaps, scores.amax((1, 2, 3))
        return heatmaps, Method.image_scores(self, heatmaps, images, features)

    def _adapted(self, images: Tensor, features: Tensor) -> Tensor:
        """(B · h · h, C), each position for itself."""
        side = self.settings.patch
        local = F.avg_pool2d(self.standard(images, features), side, 1, side // 2)
        return self.adaptor(local.permute(0, 2, 3, 1).flatten(0, 2))
