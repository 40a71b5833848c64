"""FCDD: a fully convolutional network whose output is the heatmap, trained against synthetic confetti."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import field_validator
from torch import Tensor, nn

from drdc.config.backbone import Network, Stages
from drdc.config.optimisation import OPTIMIZER, SCHEDULE, Optimizer, Schedule
from drdc.config.section import MOST_CHANNELS, MOST_EPOCHS, MOST_IMAGES, MOST_PIXELS, setting
from drdc.methods.interface import History, Method, Shapes, TrainedSettings, blurred
from drdc.methods.pixels import backbone_pixels
from drdc.methods.trainer import Trainer
from drdc.models.backbone import FeatureExtractor
from drdc.runtime.errors import UserError
from drdc.runtime.files import below

#: Keeps the loss of an anomalous image finite where its map is zero.
SMALLEST = 1e-6
#: Confetti that change an image less than this on average (range: -1 to 1) are taken from it, not added.
LITTLE = 0.05


class FrozenLayers(Network):
    """The frozen, pre-trained first layers; by default those of VGG-11 up to its third pooling."""

    name: str = setting("vgg11_bn.tv_in1k", "inferred", "timm model.")
    feature_size: int = setting(
        56,
        "inferred",
        "Height and width to which the stages are resized; the trained layers halve it.",
        ge=4,
        le=MOST_PIXELS,
    )
    stages: Stages = setting(
        [2], "inferred", "Stages that are read (VGG: stride 4), as timm's `out_indices`."
    )


class FCDD(Method):
    """The network's output at each position is the distance of that part of the image from the normal ones.

    Convolutions alone, the first of them pre-trained and frozen, give one number φ for each position. Its
    pseudo-Huber norm is small for normal images, and large on average for the same images with confetti:
    blurred white and coloured squares of random size and angle, added to every second image. Before that,
    each image is brought to its own contrast. The norms are the heatmap; each is spread over its receptive
    field by a fixed Gaussian. The image score is the mean (the paper's choice) or maximum of the heatmap. The
    DRDC paper lists its pixel values only.

    Differs: batches of 16 without summing the gradients of eight; plain momentum, not Nesterov's; no crops,
    noise or changes of colour; the trained layers are initialised at random; the range of the contrasts is
    that of all categories together. The Gaussians are weighted so that a constant map stays constant, up to
    the border. The paper's variant that learns from labelled anomalies is left out.
    """

    class Settings(TrainedSettings):
        """FCDD (Liznerski et al., ICLR 2021)."""

        backbone: FrozenLayers = setting(FrozenLayers(), "inferred", "The frozen first layers.")
        width: int = setting(
            512, "inferred", "Channels of the two trained 3×3 convolutions.", ge=1, le=MOST_CHANNELS
        )
        contrast: bool = setting(
            True,
            "inferred",
            "Local contrast normalisation; false: images are normalised as the frozen layers were trained.",
        )
        confetti: int = setting(
            2,
            "ours",
            "Most pieces of confetti of a kind in an image, white or coloured; 1 to that many are drawn.",
            ge=1,
            le=100,
        )
        confetti_sides: tuple[float, float] = setting(
            (0.035, 0.24), "inferred", "Shortest and longest side of a piece, where the image's side is 1."
        )
        confetti_blur: float = setting(
            0.022,
            "inferred",
            "Standard deviation of the Gaussian filter on confetti, where the image's side is 1.",
            ge=0,
            le=1,
        )
        deviation: float = setting(
            12.0,
            "inferred",
            "Standard deviation in pixels of the Gaussian that spreads a value of the map.",
            gt=0,
        )
        receptive_field: int = setting(
            62,
            "inferred",
            "Side of a map value's receptive field in pixels; there the Gaussian ends.",
            ge=1,
            le=16_384,
        )
        score: Literal["mean", "max"] = setting(
            "mean", "inferred", "Image score: mean of the heatmap, or its maximum after the average pool."
        )
        pool_size: int = setting(
            1, "ours", "Side of the average pool (`score: max`); 1 for none.", ge=1, le=MOST_PIXELS
        )
        batch_size: int = setting(16, "ours", "Images per step.", ge=1, le=MOST_IMAGES)
        optimizer: Optimizer = setting("sgd", "inferred", OPTIMIZER)
        learning_rate: float = setting(1e-3, "inferred", "Learning rate.", gt=0)
        weight_decay: float = setting(1e-4, "inferred", "Weight decay.", ge=0)
        schedule: Schedule = setting("exponential", "inferred", SCHEDULE)
        decay: float = setting(
            0.0487,
            "inferred",
            "Factor of `step` and `exponential`; × 0.985 in each of 200 epochs.",
            gt=0,
            le=1,
        )
        epochs: float = setting(200, "inferred", "Passes over the training images.", gt=0, le=MOST_EPOCHS)

        @field_validator("confetti_sides")
        @classmethod
        def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
            if not 0 < value[0] <= value[1] <= 1:
                raise ValueError("must be two numbers above 0 and at most 1, the smaller one first")
            return value

    paper_name = "FCDD"
    uses_features = False
    citation = "Liznerski et al., Explainable Deep One-Class Classification, ICLR 2021"

    spread: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        self.backbone = FeatureExtractor(settings.backbone, weights and below(weights, "backbone"))
        self.head = trained_layers(self.backbone.channels, settings.width)
        side = settings.backbone.feature_size // 2
        if settings.receptive_field * side < shapes.image_size:
            raise UserError(
                "receptive_field",
                f"{settings.receptive_field} pixels leave gaps between {side} values across "
                f"{shapes.image_size} pixels",
                f"use at least {math.ceil(shapes.image_size / side)}",
            )
        spread = gaussians(shapes.image_size, side, settings.deviation, settings.receptive_field)
        self.register_buffer("spread", spread, persistent=False)
        self.register_buffer("low", torch.zeros(3, 1, 1))
        self.register_buffer("high", torch.ones(3, 1, 1))

    def fit(self, trainer: Trainer) -> History:
        if self.settings.contrast:
            channels = (contrasted(images).transpose(0, 1).flatten(1) for images, _ in trainer.batches())
            low, high = zip(*(values.aminmax(dim=1) for values in channels), strict=True)
            self.low.copy_(torch.stack(low).amin(0).view_as(self.low))
            self.high.copy_(torch.stack(high).amax(0).view_as(self.high))
        return super().fit(trainer)

    def loss(self, images: Tensor, features: Tensor) -> Tensor:
        altered = torch.rand(len(images), device=images.device) < 0.5
        seen = torch.where(altered[:, None, None, None], self._with_confetti(images), images)
        return classifier_loss(self.distances(seen).mean((1, 2)), altered)

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        return self.spread @ self.distances(images) @ self.spread.T

    def image_scores(self, heatmaps: Tensor, images: Tensor, features: Tensor) -> Tensor:
        if self.settings.score == "mean":
            return heatmaps.mean((1, 2))
        return super().image_scores(heatmaps, images, features)

    def distances(self, images: Tensor) -> Tensor:
        """(B, h, h), the pseudo-Huber norm at each position: A = √(φ(x)² + 1) − 1."""
        if self.settings.contrast:
            seen = (contrasted(images) - self.low) / (self.high - self.low)
            pixels = seen * self.backbone.std + self.backbone.mean  # as the layers see them, without another
        else:
            pixels = backbone_pixels(images)
        return (self.head(self.backbone(pixels))[:, 0].square() + 1).sqrt() - 1

    def _with_confetti(self, images: Tensor) -> Tensor:
        s = self.settings
        return with_confetti(images, s.confetti, s.confetti_sides, s.confetti_blur)


def classifier_loss(distance: Tensor, anomalous: Tensor) -> Tensor:
    """The hypersphere classifier: mean of a for normal images, of −log(1 − exp(−a)) for anomalous ones.

    Args:
        distance: a, the mean of the map of each image, (B,).
        anomalous: (B,) bool.
    """
    return torch.where(anomalous, -torch.log(-torch.expm1(-distance - SMALLEST)), distance).mean()


def trained_layers(channels: int, width: int) -> nn.Sequential:
    """The layers after the frozen ones: (B, C, h, h) -> (B, 1, h / 2, h / 2)."""
    return nn.Sequential(
        nn.MaxPool2d(2),
        nn.Conv2d(channels, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 1, 1),
    )


def gaussians(size: int, side: int, deviation: float, reach: int) -> Tensor:
    """(size, side): the weights of `side` values for each of `size` pixels in a row; rows sum to 1.

    A transposed convolution with a Gaussian of `reach` pixels, its standard deviation in pixels as well.
    """
    centres = (torch.arange(side) + 0.5) * size / side - 0.5
    distances = torch.arange(size)[:, None] - centres
    weights = torch.exp(-0.5 * (distances / deviation) ** 2) * (distances.abs() <= reach / 2)
    return weights / weights.sum(1, keepdim=True)


def contrasted(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) less their means, in units of the mean absolute value of what is left."""
    centred = images - images.mean((1, 2, 3), keepdim=True)
    return centred / centred.abs().mean((1, 2, 3), keepdim=True).clamp(min=SMALLEST)


def with_confetti(images: Tensor, most: int, sides: tuple[float, float], blur: float) -> Tensor:
    """Images (B, 3, H, W) in [-1, 1] with 1 to `most` white and as many coloured pieces, clipped to [-1, 1].

    A piece is a square at any position and angle; `sides` bounds its side, `blur` is the standard deviation
    of a Gaussian filter, where the side of the image is 1. The pieces are added to an image, and taken from
    it where adding them changes little (bright images) and that more.
    """
    colours = torch.rand(len(images), most, 3, device=images.device)
    pieces = torch.einsum("bnhw,bnc->bchw", _squares(images, most, sides), colours)
    pieces = pieces + _squares(images, most, sides).sum(1, keepdim=True)
    pieces = 2 * blurred(pieces, blur * images.shape[-1])
    added, taken = ((images + sign * pieces).clamp(-1, 1) for sign in (1, -1))
    changes, others = ((one - images).abs().mean((1, 2, 3)) for one in (added, taken))
    return torch.where(((changes < LITTLE) & (others > changes))[:, None, None, None], taken, added)


def _squares(images: Tensor, most: int, sides: tuple[float, float]) -> Tensor:
    """1 to `most` squares for each image, (B, most, H, W): 1 within and 0 elsewhere."""
    count, size, device = len(images), images.shape[-1], images.device
    shown = torch.arange(most, device=device) < torch.randint(1, most + 1, (count, 1), device=device)
    angle = math.pi / 2 * torch.rand(count, most, 1, 1, device=device)
    x, y = torch.rand(2, count, most, 1, 1, device=device)
    side = sides[0] + (sides[1] - sides[0]) * torch.rand(count, most, 1, 1, device=device)
    places = (torch.arange(size, device=device) + 0.5) / size
    right, down = places - x, places[:, None] - y  # (B, most, 1, W) and (B, most, H, 1)
    along, across = right * angle.cos() + down * angle.sin(), down * angle.cos() - right * angle.sin()
    return (torch.maximum(along.abs(), across.abs()) <= side / 2).float() * shown[:, :, None, None]
