"""Images in the size and range that a backbone reads."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def backbone_pixels(images: Tensor, side: int) -> Tensor:
    """Images (B, 3, H, W) in [-1, 1] -> (B, 3, side, side) in 0-255, bilinear with anti-aliasing."""
    pixels = (images + 1) * 127.5
    if pixels.shape[-1] == side:
        return pixels
    return F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
