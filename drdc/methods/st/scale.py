"""Teacher and students of one receptive field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.equations.fusion import channel_scale

#: Convolutions (kernel, channels as a multiple of the width; 0 for those of the descriptor), and pools
#: between them, that reduce a patch of that side to one position.
POOL = (2, -1)
LAYERS: dict[int, list[tuple[int, int]]] = {
    17: [(6, 1), (5, 2), (5, 2), (4, 0)],
    33: [(5, 1), POOL, (5, 2), POOL, (2, 2), (4, 0)],
    65: [(5, 1), POOL, (5, 1), POOL, (5, 1), POOL, (4, 2), (1, 0)],
}
#: Slope of the leaky ReLU between the convolutions.
SLOPE = 0.005


class Scale(nn.Module):
    """Teacher and students of one receptive field, and the scales of their outputs.

    Attributes:
        field: side of the receptive field in pixels.
        targets: mean and standard deviation of the teacher's descriptors, (2, D, 1, 1).
        usual: those of `measures` over held-out normal images, (2, 2, 1, 1).
    """

    targets: Tensor
    usual: Tensor

    def __init__(self, field: int, settings: Any) -> None:
        super().__init__()
        self.field = field
        shape = (field, settings.width, settings.descriptor)
        self.teacher = Descriptor(*shape)
        self.students = nn.ModuleList(Descriptor(*shape) for _ in range(settings.students))
        self.register_buffer("targets", _standard(settings.descriptor))
        self.register_buffer("usual", _standard(2))

    def padded(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) with a border, mirrored, of half the receptive field."""
        return F.pad(images, [self.field // 2] * 4, mode="reflect")

    def window(self, images: Tensor, crop: int | None) -> Tensor:
        """`padded` images, or the surroundings of `crop`×`crop` of their pixels, drawn at random."""
        padded = self.padded(images)
        if crop is None:
            return padded
        top, left = torch.randint(images.shape[-1] - crop + 1, (2,)).tolist()
        reach = crop + self.field - 1
        return padded[:, :, top : top + reach, left : left + reach]

    def seen(self, network: nn.Module, window: Tensor) -> Tensor:
        """Outputs of teacher or student for all pixels except the border, (B, D, H, W)."""
        height, width = (side - self.field + 1 for side in window.shape[2:])
        return network(window, dense=True)[:, :, :height, :width]

    def describe(self, window: Tensor) -> Tensor:
        """The teacher's descriptors of all pixels except the border."""
        return self.seen(self.teacher, window)

    @torch.no_grad()
    def target(self, window: Tensor) -> Tensor:
        """The same standardised."""
        return (self.describe(window) - self.targets[0]) / self.targets[1]

    def measures(self, images: Tensor) -> Tensor:
        """Error and variance, (B, 2, H, W).

        e = ‖mean_i S_i − y‖² and v = mean_i ‖S_i‖² − ‖mean_i S_i‖², of M students S_i.
        """
        window = self.padded(images)
        given = torch.stack([self.seen(student, window) for student in self.students])
        mean = given.mean(0)
        error = (mean - self.target(window)).square().sum(1)
        variance = (given - mean).square().sum(2).mean(0)  # the same as above, and never below zero
        return torch.stack([error, variance], 1)

    def standard_measures(self, images: Tensor) -> Tensor:
        """`measures`, standardised by those of held-out normal images, (B, 2, H, W)."""
        return (self.measures(images) - self.usual[0]) / self.usual[1]

    def set_targets(self, descriptors: Iterator[Tensor]) -> None:
        """Standardise the teacher by its descriptors (B, D, H, W) of training images."""
        _fill(self.targets, descriptors)

    def set_measures(self, measures: Iterator[Tensor]) -> None:
        """Standardise the score by `measures` of held-out normal images."""
        _fill(self.usual, measures)


class Descriptor(nn.Module):
    """(B, 3, H, W) in [-1, 1] -> descriptors of patches of `field`×`field` pixels, (B, D, h, w).

    A single patch gives h = w = 1. With `dense`, an image gives one for each pixel that has a whole patch
    around it, and at the right and lower end as many more as the pools leave out of a patch.
    """

    def __init__(self, field: int, width: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for kernel, multiple in LAYERS[field]:
            if (kernel, multiple) == POOL:
                layers.append(nn.MaxPool2d(kernel))
                continue
            outputs = multiple * width or channels
            layers += [nn.Conv2d(inputs, outputs, kernel), nn.LeakyReLU(SLOPE)]
            inputs = outputs
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, images: Tensor, dense: bool = False) -> Tensor:
        if not dense:
            return self.layers(images)
        dilation, values = 1, images
        for layer in self.layers:
            if isinstance(layer, nn.MaxPool2d):
                values = F.max_pool2d(values, layer.kernel_size, stride=1, dilation=dilation)
                dilation *= 2
            elif isinstance(layer, nn.Conv2d):
                values = F.conv2d(values, layer.weight, layer.bias, dilation=dilation)
            else:
                values = layer(values)
        return values


def _standard(channels: int) -> Tensor:
    """No shift and no scale, (2, channels, 1, 1)."""
    return torch.stack([torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1)])


def _fill(scale: Tensor, batches: Iterator[Tensor]) -> None:
    """Put mean and standard deviation of the channels of some (B, C, H, W) into `scale`."""
    mean, deviation = channel_scale(batches)
    scale.copy_(torch.stack([mean, deviation.clamp(min=1e-6)]).view_as(scale))
