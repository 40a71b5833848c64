"""AST: a normalizing flow as teacher, a convolutional network as student of its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import pi
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.config.optimisation import OPTIMIZER, Optimizer
from drdc.config.section import MOST_CHANNELS, MOST_EPOCHS, MOST_IMAGES, MOST_PIXELS, setting
from drdc.methods.features import FeatureMethod, FeatureSettings
from drdc.methods.interface import History, Method, Shapes, blurred
from drdc.methods.trainer import Trainer


class Asymmetric(FeatureMethod):
    """Where the student's output differs from the teacher's, nothing similar was seen in training.

    The teacher, a flow of coupling blocks, learns to map features to a normal distribution by maximum
    likelihood; being invertible, its outputs for unseen features are arbitrary. The student, a residual
    network of another kind, learns the teacher's outputs on normal images. Both get the position by a
    sinusoidal encoding. The heatmap is the mean squared difference of both outputs at each position. The
    image score is the mean of these positions (the paper's choice for RGB images), or the maximum of the
    heatmap.

    By default it works on the experiment's features, each channel standardised over the training images, so
    that the flow begins near its target for any backbone. The paper takes 304 channels of EfficientNet-B5 at
    24×24 of images of 768 pixels; timm gives the 512 of the stage after them at that size.
    """

    class Settings(FeatureSettings):
        """AST (Rudolph et al., WACV 2023)."""

        couplings: int = setting(
            4, "inferred", "Coupling blocks of the teacher; the last has 5×5 kernels.", ge=1, le=100
        )
        teacher_width: int = setting(
            64, "inferred", "Hidden channels of the teacher's subnetworks.", ge=1, le=MOST_CHANNELS
        )
        clamp: float = setting(1.9, "inferred", "Maximum logarithm of a coupling's scale factors.", gt=0)
        position_channels: int = setting(
            32,
            "inferred",
            "Channels of the positional encoding; a multiple of 4.",
            ge=4,
            le=MOST_CHANNELS,
            multiple_of=4,
        )
        student_width: int = setting(
            1024, "inferred", "Hidden channels of the student.", ge=1, le=MOST_CHANNELS
        )
        student_blocks: int = setting(4, "inferred", "Residual blocks of the student.", ge=1, le=100)
        score: Literal["mean", "max"] = setting(
            "mean", "inferred", "Image score: mean of the positions, or maximum of the pooled heatmap."
        )
        blur: float = setting(
            0.0,
            "ours",
            "Standard deviation of the Gaussian filter on the heatmap in pixels; 0 for none.",
            ge=0,
        )
        pool_size: int = setting(
            1, "inferred", "Side of the average pool (`score: max`); 1 for none.", ge=1, le=MOST_PIXELS
        )
        batch_size: int = setting(8, "inferred", "Images per step.", ge=1, le=MOST_IMAGES)
        optimizer: Optimizer = setting("adam", "inferred", OPTIMIZER)
        learning_rate: float = setting(2e-4, "inferred", "Learning rate, of both networks.", gt=0)
        weight_decay: float = setting(1e-5, "inferred", "Weight decay.", ge=0)
        epochs: float = setting(
            72,
            "inferred",
            "Passes over the training images, of the teacher and again of the student.",
            gt=0,
            le=MOST_EPOCHS,
        )

    paper_name = "AST"
    citation = (
        "Rudolph et al., Asymmetric Student-Teacher Networks for Industrial Anomaly Detection, WACV 2023"
    )
    paper_backbone = "tf_efficientnet_b5"

    position: Tensor

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        s, channels = settings, self.channels
        kernels = [3] * (s.couplings - 1) + [5]
        self.teacher = nn.ModuleList(
            Coupling(channels, s.position_channels, s.teacher_width, kernel, s.clamp) for kernel in kernels
        )
        self.student = student(channels, s.position_channels, s.student_width, s.student_blocks)
        encoding = position_encoding(s.position_channels, self.side)
        self.register_buffer("position", encoding, persistent=False)

    def descend(self, trainer: Trainer) -> History:
        def teach(teacher: nn.ModuleList, images: Tensor, features: Tensor) -> Tensor:
            given = self.standard(images, features)
            return self._likelihood_loss(*flow(teacher, given, self._place(given)))

        def learn(learner: nn.Module, images: Tensor, features: Tensor) -> Tensor:
            given = self.standard(images, features)
            with torch.no_grad():
                target = self._taught(given)
            return F.mse_loss(self._learned(given), target)

        history = trainer.descend(self.teacher, teach, "teacher")
        return history + trainer.descend(self.student, learn, "student")

    def heatmaps_and_scores(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        given = self.standard(images, features)
        difference = (self._taught(given) - self._learned(given)).square().mean(1, keepdim=True)
        size = (self.shapes.image_size,) * 2
        heatmaps = blurred(F.interpolate(difference, size, mode="bicubic")[:, 0], self.settings.blur)
        if self.settings.score == "mean":
            return heatmaps, difference.mean((1, 2, 3))
        return heatmaps, Method.image_scores(self, heatmaps, images, features)

    def _taught(self, given: Tensor) -> Tensor:
        return flow(self.teacher, given, self._place(given))[0]

    def _learned(self, given: Tensor) -> Tensor:
        return self.student(torch.cat([self._place(given), given], 1))

    def _place(self, given: Tensor) -> Tensor:
        return self.position.expand(len(given), -1, -1, -1)

    @staticmethod
    def _likelihood_loss(output: Tensor, log_determinant: Tensor) -> Tensor:
        """−log p(features) up to a constant, per number: ‖z‖² / 2 − log |det ∂z/∂x|."""
        return 0.5 * output.square().mean() - log_determinant.mean() / output[0].numel()


class Coupling(nn.Module):
    """A block of Real-NVP: half of the channels is scaled and shifted by a network's outputs for the others.

    First one half, then the other. (B, C, h, w) and the position (B, P, h, w) -> (B, C, h, w) and the
    logarithm of the determinant (B,). Before it the channels are permuted in an order drawn once.
    """

    order: Tensor

    def __init__(self, channels: int, position_channels: int, hidden: int, kernel: int, clamp: float) -> None:
        super().__init__()
        self.clamp, first = clamp, channels // 2
        self.sizes = (first, channels - first)
        self.register_buffer("order", torch.randperm(channels))
        self.of_first = Subnetwork(self.sizes[1] + position_channels, hidden, 2 * self.sizes[0], kernel)
        self.of_second = Subnetwork(self.sizes[0] + position_channels, hidden, 2 * self.sizes[1], kernel)

    def forward(self, x: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x[:, self.order].split(self.sizes, 1)
        first, log_first = self._changed(first, self.of_first(torch.cat([second, place], 1)))
        second, log_second = self._changed(second, self.of_second(torch.cat([first, place], 1)))
        return torch.cat([first, second], 1), log_first + log_second

    def _changed(self, half: Tensor, scale_and_shift: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = scale_and_shift.chunk(2, 1)
        scale = self.clamp * 2 / pi * torch.atan(scale / self.clamp)
        return half * scale.exp() + shift, scale.sum((1, 2, 3))


def flow(blocks: Iterable[nn.Module], features: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs z (B, C, h, w) of all blocks, and log |det ∂z/∂x|, (B,)."""
    output, log_determinant = features, features.new_zeros(len(features))
    for block in blocks:
        output, change = block(output, place)
        log_determinant = log_determinant + change
    return output, log_determinant


class Subnetwork(nn.Module):
    """One hidden layer, times a number that begins with zero: at first the coupling changes nothing."""

    def __init__(self, inputs: int, hidden: int, outputs: int, kernel: int) -> None:
        super().__init__()
        around: dict[str, Any] = {"padding": kernel // 2, "padding_mode": "replicate"}
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, hidden, kernel, **around),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, kernel, **around),
        )
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.layers(x)


class Residual(nn.Module):
    """Two 3×3 convolutions, each with batch norm and leaky ReLU, and the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.LeakyReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def student(channels: int, position_channels: int, width: int, blocks: int) -> nn.Sequential:
    """(B, P + C, h, w) -> (B, C, h, w)."""
    return nn.Sequential(
        nn.Conv2d(position_channels + channels, width, 3, padding=1),
        nn.LeakyReLU(),
        *(Residual(width) for _ in range(blocks)),
        nn.Conv2d(width, channels, 3, padding=1),
    )


def position_encoding(channels: int, side: int) -> Tensor:
    """Sines and cosines of column and row at channels / 4 wavelengths, (1, channels, side, side)."""
    quarter = channels // 4
    wavelengths = torch.logspace(0, 4, quarter + 1, base=10.0)[:quarter]
    angles = torch.arange(side)[:, None] / wavelengths  # (side, quarter)
    waves = torch.cat([angles.sin(), angles.cos()], 1).T  # (channels / 2, side)
    columns = waves[:, None].expand(-1, side, -1)
    rows = waves[:, :, None].expand(-1, -1, side)
    return torch.cat([columns, rows])[None].contiguous()
