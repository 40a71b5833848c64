"""MKD: a small cloner learns several stages of a pre-trained network; the loss's gradient is the map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import field_validator
from torch import Tensor, nn

from drdc.config.backbone import Network
from drdc.config.optimisation import OPTIMIZER, Optimizer
from drdc.config.section import MOST_CHANNELS, MOST_EPOCHS, MOST_IMAGES, MOST_PIXELS, setting
from drdc.equations.fusion import upsample_base
from drdc.methods.interface import History, JointMethod, Shapes, TrainedSettings, blurred
from drdc.methods.pixels import backbone_pixels
from drdc.methods.trainer import Trainer
from drdc.models.backbone import FeatureExtractor
from drdc.runtime.errors import UserError
from drdc.runtime.files import below


class Distillation(JointMethod):
    """Where a cloner of a pre-trained network disagrees with it, nothing similar was seen in training.

    The frozen source network and a narrower network of its depth see the same normal images; the cloner
    learns the values of the source after four pooled blocks (squared error) and their direction (cosine of
    all values of a stage). The image score is that loss without the first stage. The heatmap is the magnitude
    of its gradient with respect to the pixels, after a Gaussian filter and a morphological opening, which
    removes structures narrower than its window.

    Differs: the values of each stage are divided by their root mean square over the training images, so that
    stages of any network count alike (which does not change cosines); of the paper's three kinds of map,
    the plain gradient is used; the opening has a square window, and no map is rescaled by itself. The cloner
    has 16 channels inside of each block and the source's at its end; for another source than VGG-16 it has
    the same strides.
    """

    class Settings(TrainedSettings):
        """Multiresolution Knowledge Distillation (Salehi et al., CVPR 2021)."""

        backbone: Network = setting(
            Network(name="vgg16.tv_in1k", input_size=128, stages=[1, 2, 3, 4]),
            "inferred",
            "The source network and the compared stages; `feature_size` is not used.",
        )
        convolutions: list[int] = setting(
            [2, 3, 3, 3], "inferred", "Convolutions of the cloner's blocks, one block for each stage."
        )
        width: int = setting(
            16, "inferred", "Channels of the cloner, except at the end of its blocks.", ge=1, le=MOST_CHANNELS
        )
        value: float = setting(
            0.5, "inferred", "Weight λ of the squared error; that of the cosines is 1.", ge=0
        )
        pooled: bool = setting(
            True, "inferred", "Compare after a max pool of 2×2, as at the end of VGG's blocks."
        )
        scored: int = setting(
            3, "inferred", "Stages of score and heatmap, counted from the deepest.", ge=1, le=100
        )
        blur: float = setting(
            4.0,
            "inferred",
            "Standard deviation of the Gaussian filter on the gradient in pixels; 0 for none.",
            ge=0,
        )
        opening: int = setting(
            3, "ours", "Side of the opening's window in pixels (odd); 1 for none.", ge=1, le=MOST_PIXELS
        )
        batch_size: int = setting(64, "inferred", "Images per step.", ge=1, le=MOST_IMAGES)
        optimizer: Optimizer = setting("adam", "inferred", OPTIMIZER)
        learning_rate: float = setting(1e-3, "inferred", "Learning rate.", gt=0)
        weight_decay: float = setting(0.0, "inferred", "Weight decay.", ge=0)
        epochs: float = setting(600, "inferred", "Passes over the training images.", gt=0, le=MOST_EPOCHS)

        @field_validator("opening")
        @classmethod
        def _odd(cls, value: int) -> int:
            if value % 2 == 0:
                raise ValueError("must be odd")
            return value

    uses_features = False
    paper_name = "MKD"
    citation = "Salehi et al., Multiresolution Knowledge Distillation for Anomaly Detection, CVPR 2021"

    scale: Tensor

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        self.source = FeatureExtractor(settings.backbone, weights and below(weights, "source"))
        about = self.source.network.feature_info
        _check(settings, about.reduction())
        self.cloner = Cloner(about.channels(), about.reduction(), settings.convolutions, settings.width)
        self.cloner.rectified, self.cloner.pooled = self._is_rectified(), settings.pooled
        self.register_buffer("scale", torch.ones(len(settings.convolutions)))

    def fit(self, trainer: Trainer) -> History:
        with torch.no_grad():
            pixels = (self._pixels(images) for images, _ in trainer.batches())
            self.scale.copy_(root_mean_squares(map(self._source, pixels)))
        return super().fit(trainer)

    def loss(self, images: Tensor, features: Tensor) -> Tensor:
        return self._losses(self._pixels(images)).sum(0).mean()

    def heatmaps_and_scores(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        # Called in inference mode, whose tensors have no gradient.
        with torch.inference_mode(False), torch.enable_grad():
            pixels = self._pixels(images.clone()).requires_grad_()
            losses = self._losses(pixels)[-self.settings.scored :].sum(0)
            # not `autograd.grad`, with which the counter of operations (drdc.stages.costs) fails
            losses.sum().backward(inputs=[pixels])
            assert pixels.grad is not None
        heatmaps = opened(blurred(pixels.grad.abs().mean(1), self.settings.blur), self.settings.opening)
        return upsample_base(heatmaps, self.shapes.image_size), losses.detach()

    def _losses(self, pixels: Tensor) -> Tensor:
        """The loss of each stage and image, (stages, B), of pixels as the source sees them.

        λ mean (s − c)² + 1 − cos(s, c), s and c all values of a stage.
        """
        losses = []
        for source, clone, scale in zip(self._source(pixels), self.cloner(pixels), self.scale, strict=True):
            given, found = source.flatten(1) / scale, clone.flatten(1)
            value = (given - found).square().mean(1)
            losses.append(self.settings.value * value + 1 - F.cosine_similarity(given, found))
        return torch.stack(losses)

    def _source(self, pixels: Tensor) -> list[Tensor]:
        """The source's stages as they are compared."""
        stages = self.source.stages(pixels)
        return [F.max_pool2d(stage, 2) for stage in stages] if self.settings.pooled else stages

    def _pixels(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1], standardised and of the source's input size."""
        pixels = backbone_pixels(images)
        return (pixels - self.source.mean) / self.source.std

    @torch.no_grad()
    def _is_rectified(self) -> bool:
        """Whether no value of the source's stages is below zero, as after a ReLU."""
        side = self.settings.backbone.input_size
        noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        return all(stage.min() >= 0 for stage in self.source.stages(noise))


class Cloner(nn.Module):
    """Blocks of 3×3 convolutions without bias, whose ends have sizes and channels of given stages.

    All but the last convolution of a block have a batch norm.

    Args:
        channels, reductions: of the source's stages, in their order.
        convolutions: of each block.
        width: channels of all but the last of a block.

    Attributes:
        rectified: whether the blocks end with a ReLU.
        pooled: whether their ends are compared after a max pool of 2×2.
    """

    rectified = True
    pooled = True

    def __init__(
        self, channels: list[int], reductions: list[int], convolutions: list[int], width: int
    ) -> None:
        super().__init__()
        # The part of the source before its first compared stage
        first = [*convolution(3, width), nn.ReLU(), convolution(width, width)[0], nn.ReLU()]
        blocks: list[nn.Module] = []
        before, inputs, layers = 1, width, first
        for outputs, reduction, count in zip(channels, reductions, convolutions, strict=True):
            layers.append(nn.MaxPool2d(reduction // before))
            for _ in range(count - 1):
                layers += [*convolution(inputs, width), nn.ReLU()]
                inputs = width
            layers.append(convolution(inputs, outputs)[0])
            blocks.append(nn.Sequential(*layers))
            before, inputs, layers = reduction, outputs, [nn.ReLU()]
        self.blocks = nn.ModuleList(blocks)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        stages, values = [], pixels
        for block in self.blocks:
            values = block(values)
            stages.append(values.relu() if self.rectified else values)
        return [F.max_pool2d(stage, 2) for stage in stages] if self.pooled else stages


def convolution(inputs: int, outputs: int) -> list[nn.Module]:
    """3×3, of the same size, with batch norm."""
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)]


def root_mean_squares(batches: Iterator[list[Tensor]]) -> Tensor:
    """Of all values of each stage, (stages,); for a stage of zeros 1."""
    total, count = torch.zeros(()), 0
    for stages in batches:
        total = total + torch.stack([len(stage) * stage.double().square().mean() for stage in stages]).cpu()
        count += len(stages[0])
    mean = total / count
    return torch.where(mean > 0, mean, 1).sqrt()


def opened(heatmaps: Tensor, side: int) -> Tensor:
    """Heatmaps (B, H, W) after a morphological opening: the minimum in a square, then the maximum."""

    def largest(values: Tensor) -> Tensor:
        return F.max_pool2d(values, side, 1, side // 2)

    return largest(-largest(-heatmaps[:, None]))[:, 0]


def _check(settings: Any, reductions: list[int]) -> None:
    """Raise UserError where the settings are inconsistent."""
    stages, blocks = settings.backbone.stages, settings.convolutions
    if len(stages) != len(blocks) or min(blocks) < 1:
        raise UserError(
            "convolutions",
            f"{blocks} do not match backbone.stages, {stages}",
            "give a number of at least 1 for each",
        )
    largest, size = max(reductions) * (2 if settings.pooled else 1), settings.backbone.input_size
    if size % largest:
        raise UserError("backbone.input_size", f"{size} is not a multiple of {largest}", "use one")
