"""Grid partitions and masked conditions (Sec. 4.2): which pixels are hidden, and what is shown instead."""

from __future__ import annotations

import torch
from torch import Tensor


def partition(
    image_size: int, grid_size: int, disjoint_sets: int, generator: torch.Generator | None = None
) -> Tensor:
    """Split an image at random into disjoint sets of square cells.

    The (H/k)·(W/k) cells of k×k pixels are shuffled and cut into n sets of (nearly) equal size.

    Args:
        image_size: H = W in pixels.
        grid_size: k, the side of a cell in pixels; divides `image_size`.
        disjoint_sets: n, at most the number of cells.
        generator: source of randomness; its device is the device of the result.

    Returns:
        Masks M_i, float (n, 1, H, W): **0 inside the set S_i, 1 elsewhere**.

    Raises:
        ValueError: k does not divide the size, or there are fewer cells than sets.
    """
    if image_size % grid_size:
        raise ValueError(f"grid size {grid_size} does not divide the image size {image_size}")
    side = image_size // grid_size
    if not 2 <= disjoint_sets <= side * side:
        raise ValueError(f"{side * side} cells cannot be split into {disjoint_sets} sets")
    device = generator.device if generator is not None else None
    order = torch.randperm(side * side, generator=generator, device=device)
    members = torch.empty_like(order)
    members[order] = torch.arange(side * side, device=device) * disjoint_sets // (side * side)
    index = torch.arange(disjoint_sets, device=device)[:, None]
    masks = (members[None] != index).float().view(disjoint_sets, 1, side, side)
    return masks.repeat_interleave(grid_size, -2).repeat_interleave(grid_size, -1)


def masked_condition(image: Tensor, mask: Tensor, noise: Tensor) -> Tensor:
    """The condition c = M ⊙ x₀ + (1 − M) ⊙ η of Eq. 10: known pixels, Gaussian noise in the hole.

    Args:
        image: x₀ in [-1, 1], (B, 3, H, W).
        mask: M, 0 in the hole and 1 elsewhere, broadcastable to `image`.
        noise: η ~ N(0, 1), like `image`.
    """
    return mask * image + (1 - mask) * noise


def combine(predictions: Tensor, masks: Tensor) -> Tensor:
    """Eq. 8: x̂₀ = Σᵢ (1 − Mᵢ) ⊙ x̂₀⁽ⁱ⁾, each pixel from the prediction in which it was hidden.

    Args:
        predictions: (..., n, 3, H, W), one for each disjoint set.
        masks: (..., n, 1, H, W).

    Returns:
        (..., 3, H, W).
    """
    return ((1 - masks) * predictions).sum(-4)
