"""Patch SVDD: the score of a patch is the distance of its code to the nearest code of a training patch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import ValidationInfo, field_validator
from torch import Tensor, nn

from drdc.config.optimisation import OPTIMIZER, Optimizer
from drdc.config.section import MOST_CHANNELS, MOST_EPOCHS, MOST_IMAGES, MOST_PIXELS, setting
from drdc.methods.interface import History, Method, Shapes, TrainedSettings
from drdc.methods.trainer import Trainer
from drdc.runtime.errors import UserError

#: The positions around a patch: (rows down, columns right).
DIRECTIONS = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
#: Codes that are compared with the memory at once.
CHUNK = 256


class PatchSVDD(Method):
    """Patches are encoded, and compared with all normal ones.

    A small encoder gives each small patch a code; a large patch has that of its four quarters, encoded once
    more. Both sizes are trained alike, by two tasks: the codes of a patch and of one a few pixels away should
    be near, and a classifier should tell from the codes of two neighbours which of eight positions the second
    has. A patch's score is the distance of its code to the nearest code of a training patch; a pixel's the
    mean over the patches that contain it; and the maps of both sizes are multiplied. The image score is the
    maximum.

    Bounded: the memory holds `memory` codes of each size, as many of each training image, drawn once; the
    paper keeps all, which are 12 million small patches for MVTec AD as a whole.

    Differs: the mean image of a category is not subtracted, as the categories share the model; one weight for
    all categories; neighbours are drawn inside of the image, where the authors' code moves those beyond its
    border. The encoder is run over whole images, which gives the codes of single patches, as it pads nothing.
    """

    class Settings(TrainedSettings):
        """Patch SVDD (Yi and Yoon, ACCV 2020)."""

        patch: int = setting(
            32,
            "inferred",
            "Side of small patches in pixels; large ones have twice it.",
            ge=4,
            le=MOST_PIXELS,
            multiple_of=4,
        )
        widths: list[int] = setting(
            [32, 64, 128, 128, 64, 32, 32],
            "inferred",
            "Channels of the small encoder's hidden layers; there are `patch` / 4 − 1 of them.",
            validate_default=True,
        )
        code: int = setting(64, "inferred", "Dimension D of a patch's code.", ge=1, le=MOST_CHANNELS)
        small_stride: int = setting(
            4,
            "inferred",
            "Pixels between small patches that are compared; even.",
            **{"ge": 2, "multiple_of": 2, "validate_default": True},
        )
        large_stride: int = setting(
            16,
            "inferred",
            "Pixels between large patches that are compared; even.",
            **{"ge": 2, "multiple_of": 2, "validate_default": True},
        )
        svdd_weight: float = setting(
            0.1, "ours", "Weight λ of the distance of neighbours; the paper has 1e-3 to 1, by category.", ge=0
        )
        colour_shift: float = setting(
            0.04,
            "inferred",
            "Standard deviation of the shift of each colour of a patch (range: -1 to 1) before classifying.",
            ge=0,
        )
        noise: float = setting(
            0.04, "inferred", "Standard deviation of the noise that is added to each value there.", ge=0
        )
        input_size: int | None = setting(
            None,
            "ours",
            "Height and width of the images; null: `dataset.image_size` (the paper: 256).",
            ge=16,
            le=MOST_PIXELS,
        )
        pairs: int = setting(
            8, "ours", "Pairs of patches of each image, size and task in a step.", ge=1, le=16_384
        )
        memory: int = setting(
            100_000,
            "ours",
            "Codes of each size that are kept, at least one of each training image.",
            ge=1,
            le=100_000_000,
        )
        pool_size: int = setting(
            1, "inferred", "Side of the average pool (image score); 1 for none.", ge=1, le=MOST_PIXELS
        )
        batch_size: int = setting(
            8, "inferred", "Images per step (the paper: 64 pairs).", ge=1, le=MOST_IMAGES
        )
        optimizer: Optimizer = setting("adam", "inferred", OPTIMIZER)
        learning_rate: float = setting(1e-4, "inferred", "Learning rate.", gt=0)
        weight_decay: float = setting(0.0, "inferred", "Weight decay.", ge=0)
        epochs: float = setting(300, "inferred", "Passes over the training images.", gt=0, le=MOST_EPOCHS)

        @field_validator("widths")
        @classmethod
        def _ends_with_one_place(cls, value: list[int], info: ValidationInfo) -> list[int]:
            wanted = info.data.get("patch", 4 * (len(value) + 1)) // 4 - 1
            if len(value) != wanted:
                raise ValueError(f"must be {wanted} numbers, `patch` / 4 − 1")
            return value

        @field_validator("small_stride", "large_stride")
        @classmethod
        def _leaves_no_gap(cls, value: int, info: ValidationInfo) -> int:
            side = info.data.get("patch", value) * (1 if info.field_name == "small_stride" else 2)
            if value > side:
                raise ValueError(f"leaves gaps between patches of {side} pixels; use at most {side}")
            return value

    paper_name = "PSVDD"
    uses_features = False
    citation = "Yi and Yoon, Patch SVDD: Patch-level SVDD for Anomaly Detection and Segmentation, ACCV 2020"

    small_memory: Tensor
    large_memory: Tensor

    @classmethod
    def cited(cls, settings: Mapping[str, Any], backbone: str) -> str:
        return f"{super().cited(settings, backbone)}; at most {settings['memory']:,} codes of each size kept"

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        side = 2 * settings.patch
        if shapes.image_size < 2 * side - 1:
            raise UserError(
                "patch",
                f"large patches of {side} pixels have no neighbours in images of {shapes.image_size}",
                f"use at most {(shapes.image_size + 1) // 16 * 4}",
            )
        self.encoder = Encoder(settings.patch, settings.widths, settings.code)
        self.small_classifier, self.large_classifier = (classifier(settings.code) for _ in range(2))
        for name in ("small_memory", "large_memory"):
            self.register_buffer(name, torch.zeros(1, settings.code))

    def loss(self, images: Tensor, features: Tensor) -> Tensor:
        """L = L_SSL + λ · L_SVDD', summed over both sizes."""
        tasks = (
            (self.encoder.small, self.small_classifier, self.settings.patch),
            (self.encoder.large, self.large_classifier, 2 * self.settings.patch),
        )
        loss = images.new_zeros(())
        for encode, judge, side in tasks:
            loss = loss + self._place_loss(images, encode, judge, side)
            loss = loss + self.settings.svdd_weight * self._near_loss(images, encode, side)
        return loss

    def fit(self, trainer: Trainer) -> History:
        history = super().fit(trainer)
        self.eval()
        each = max(1, self.settings.memory // len(trainer.inputs.images.train))
        # its own, as an interrupted fitting has another state of the global one
        generator = torch.Generator().manual_seed(trainer.job.seed)

        def some(codes: Tensor) -> Tensor:
            places = torch.rand(codes.shape[:2], generator=generator).argsort(1)[:, :each]
            return codes.take_along_dim(places[..., None].to(codes.device), 1).flatten(0, 1)

        with torch.no_grad():
            kept = [tuple(map(some, self._codes(images))) for images, _ in trainer.batches()]
        self.small_memory, self.large_memory = (torch.cat(codes) for codes in zip(*kept, strict=True))
        return history

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        small, large = self._codes(images)
        s, size = self.settings, self.shapes.image_size
        fine = pixel_means(distances(small, self.small_memory), s.patch, s.small_stride, size)
        return fine * pixel_means(distances(large, self.large_memory), 2 * s.patch, s.large_stride, size)

    def _codes(self, images: Tensor) -> Iterator[Tensor]:
        """Codes of the small and the large patches that are compared, (B, positions, D), row by row."""
        small = self.encoder.small(images)
        s = self.settings
        for codes, stride in ((small, s.small_stride), (self.encoder.join(small), s.large_stride)):
            yield codes[:, :, :: stride // 2, :: stride // 2].flatten(2).transpose(1, 2)

    def _place_loss(self, images: Tensor, encode: Encode, judge: nn.Module, side: int) -> Tensor:
        """Cross-entropy of the position of a neighbour, given both codes."""
        place, offsets = neighbours(len(images) * self.settings.pairs, side, images.device)
        patches = pairs(images, offsets, side)
        shift = self.settings.colour_shift * torch.randn(len(patches), 3, 1, 1, device=images.device)
        patches = patches + shift + self.settings.noise * torch.randn_like(patches)
        first, second = encode(patches).flatten(1).chunk(2)
        return F.cross_entropy(judge(first - second), place)

    def _near_loss(self, images: Tensor, encode: Encode, side: int) -> Tensor:
        """L_SVDD': mean of ‖f(p) − f(p')‖₂ over patches p and p' a few pixels apart."""
        offsets = jitter(len(images) * self.settings.pairs, max(1, side // 32), images.device)
        first, second = encode(pairs(images, offsets, side)).flatten(1).chunk(2)
        return torch.linalg.vector_norm(first - second, dim=1).mean()


Encode = Callable[[Tensor], Tensor]


class Encoder(nn.Module):
    """Codes of the patches at every second pixel of images (B, 3, H, W), with values in (-1, 1).

    Args:
        patch: side of small patches.
        widths: of the hidden layers; the first halves the size, each of the others removes a border of 1.
        code: D.
    """

    def __init__(self, patch: int, widths: list[int], code: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([3, *widths, code]):
            layers += [nn.Conv2d(inputs, outputs, 3, 1 if layers else 2), nn.LeakyReLU(0.1)]
        self.of_small = nn.Sequential(*layers[:-1], nn.Tanh())
        self.of_four = nn.Sequential(
            nn.Conv2d(code, 128, 2, dilation=patch // 2),  # quarters lie `patch` pixels apart
            nn.LeakyReLU(0.1),
            nn.Conv2d(128, code, 1),
            nn.Tanh(),
        )

    def small(self, images: Tensor) -> Tensor:
        """(B, D, (H − patch) / 2 + 1, …); of single patches (B, D, 1, 1)."""
        codes: Tensor = self.of_small(images)
        return codes

    def large(self, images: Tensor) -> Tensor:
        """(B, D, (H − 2 patch) / 2 + 1, …)."""
        return self.join(self.small(images))

    def join(self, small: Tensor) -> Tensor:
        """Codes of large patches, given those of the small ones."""
        codes: Tensor = self.of_four(small)
        return codes


def classifier(code: int) -> nn.Sequential:
    """Difference of two codes (B, D) -> (B, 8), which of `DIRECTIONS`.

    The last weights stay as they were drawn, each column of length 1, as in the authors' code.
    """
    last = nn.Linear(128, len(DIRECTIONS))
    last.weight.requires_grad_(False).div_(last.weight.norm(dim=0))
    return nn.Sequential(
        nn.Linear(code, 128), nn.LeakyReLU(0.1), nn.Linear(128, 128), nn.LeakyReLU(0.1), last
    )


def neighbours(count: int, side: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Drawn positions of neighbours: which of `DIRECTIONS`, (count,), and pixels down and right, (count, 2).

    In a direction they are three quarters of a side away, and up to a quarter less a pixel more.
    """
    place = torch.randint(len(DIRECTIONS), (count,), device=device)
    away = side * 3 // 4 + torch.randint(side // 4, (count, 2), device=device)
    return place, torch.tensor(DIRECTIONS, device=device)[place] * away


def jitter(count: int, most: int, device: torch.device) -> Tensor:
    """Pixels down and right, (count, 2), each −most to most, never both 0."""
    row = 2 * most + 1
    number = torch.randint(row * row - 1, (count,), device=device)
    number = number + (number >= row * row // 2)  # the middle is left out
    return torch.stack([number // row, number % row], 1) - most


def pairs(images: Tensor, offsets: Tensor, side: int) -> Tensor:
    """Patches anywhere in the images and those at `offsets` from them, (2 n, 3, side, side); first all first.

    The n = k · B offsets go around the images, so that each has k pairs.
    """
    which = torch.arange(len(offsets), device=images.device) % len(images)
    free = images.shape[-1] - side - offsets.abs()  # largest corner, when the neighbour is to stay inside
    first = (torch.rand(offsets.shape, device=images.device) * (free + 1)).long().clamp(max=free)
    first = first - offsets.clamp(max=0)
    corners = torch.cat([first, first + offsets])
    span = torch.arange(side, device=images.device)
    rows, columns = (corners[:, axis, None] + span for axis in (0, 1))
    patches = images[which.repeat(2)[:, None, None], :, rows[:, :, None], columns[:, None]]
    return patches.permute(0, 3, 1, 2)


def distances(codes: Tensor, memory: Tensor) -> Tensor:
    """Distance of each code (B, places, D) to its nearest of the memory (N, D), (B, places)."""
    flat = codes.flatten(0, 1)
    nearest = torch.cat([torch.cdist(part, memory).argmin(1) for part in flat.split(CHUNK)])
    # computed anew: `cdist` multiplies matrices, which leaves few digits of a small distance
    return torch.linalg.vector_norm(flat - memory[nearest], dim=1).view(codes.shape[:2])


def pixel_means(scores: Tensor, side: int, stride: int, size: int) -> Tensor:
    """Mean score of the patches that contain a pixel, (B, size, size).

    Scores (B, places) are those of patches `stride` pixels apart, row by row. Pixels beyond the last patch
    have the value of the last pixel that a patch contains.
    """
    places = (size - side) // stride + 1
    grid = scores.view(-1, 1, places, places)
    ones = grid.new_ones(1, 1, side, side)
    total, count = (F.conv_transpose2d(x, ones, stride=stride) for x in (grid, torch.ones_like(grid[:1])))
    means = total / count
    rest = size - means.shape[-1]
    return F.pad(means, (0, rest, 0, rest), mode="replicate")[:, 0]
