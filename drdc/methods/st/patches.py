"""The data of the teachers' distillation: random patches, and a pre-trained network's outputs for them."""

from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from drdc.methods.pixels import backbone_pixels
from drdc.models.backbone import FeatureExtractor


def drawn_patches(images: Tensor, field: int, each: int, zoom: float, recolour: float) -> Tensor:
    """Random patches of images (B, 3, H, H) in [-1, 1], mirrored or not, (B · each, 3, field, field).

    Args:
        images: of the patches.
        field: their side.
        each: patches of an image.
        zoom: the largest factor by which they are enlarged or reduced; none shows more than its image.
        recolour: largest change of the gains of the colours from 1; half of it is the largest offset.
    """
    images = images.repeat_interleave(each, 0)
    count = len(images)

    def uniform(*shape: int) -> Tensor:
        return 2 * torch.rand(count, *shape, device=images.device) - 1

    factor = torch.exp(log(zoom) * uniform())
    part = (factor * field / images.shape[-1]).clamp(max=1)  # of the image's side
    theta = torch.zeros(count, 2, 3, device=images.device)
    theta[:, [0, 1], [0, 1]] = part[:, None] * uniform(2).sign()
    theta[:, :, 2] = (1 - part)[:, None] * uniform(2)  # the centre
    grid = F.affine_grid(theta, [count, 3, field, field], align_corners=False)
    patches = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    gain, offset = 1 + recolour * uniform(3, 1, 1), recolour / 2 * uniform(3, 1, 1)
    return (gain * patches + offset).clamp(-1, 1)


@torch.no_grad()
def pooled_features(source: FeatureExtractor, patches: Tensor, side: int) -> Tensor:
    """Outputs of the pre-trained network for whole patches, resized to that side, (B, C)."""
    whole = F.interpolate(backbone_pixels(patches), (side, side), mode="bilinear", antialias=True)
    stages = source.stages((whole - source.mean) / source.std)
    return torch.cat([stage.mean((2, 3)) for stage in stages], 1)


def correlation(descriptors: Tensor) -> Tensor:
    """Mean squared correlation of two different channels of (B, D), a scalar."""
    centred = descriptors - descriptors.mean(0)
    unit = centred / centred.square().sum(0).clamp(min=1e-12).sqrt()
    squares = (unit.T @ unit).square()
    channels = len(squares)
    return (squares.sum() - squares.diagonal().sum()) / (channels * (channels - 1))
