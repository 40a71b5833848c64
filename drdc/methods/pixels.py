"""Images in the range that a backbone reads."""

from __future__ import annotations

from torch import Tensor


def backbone_pixels(images: Tensor) -> Tensor:
    """[-1, 1] -> 0-255, any shape."""
    return (images + 1) * 127.5
