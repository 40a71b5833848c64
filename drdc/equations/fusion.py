"""Heatmaps, their fusion over time and scale, and the image score (Sec. 3.1 and 4.4, Eq. 2, 9, 14-17).

Of tensors, on any device and with gradients; `drdc.equations.stored_maps` has what scoring needs, in NumPy,
and Eq. 17 for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def feature_error(features: Tensor, reconstruction: Tensor, scale: int = 1) -> Tensor:
    """Eq. 2: A_base = ‖f_org − f_rec‖₂ over channels; with a scale ‖D_s(f_org) − D_s(f_rec)‖₂ (Table 5).

    Args:
        features, reconstruction: (B, C, h, w).
        scale: reduction; D_s is average pooling of `scale`×`scale` tokens, of fewer at the border.

    Returns:
        (B, ⌈h / scale⌉, ⌈w / scale⌉).
    """
    difference = features - reconstruction  # D_s is linear, so it may act on the difference
    return torch.linalg.vector_norm(F.avg_pool2d(difference, scale, ceil_mode=True), dim=1)


def upsample_base(heatmap: Tensor, size: int) -> Tensor:
    """A_base (B, h, w) at image size (B, H, W): bilinear with aligned corners, as UniAD."""
    return F.interpolate(heatmap[:, None], (size, size), mode="bilinear", align_corners=True)[:, 0]


def scale_error(image: Tensor, reconstruction: Tensor, scale: int) -> Tensor:
    """The inner part of Eq. 14, ‖D_s(x) − D_s(x̂₀)‖₂ over RGB; with scale 1 it is Eq. 9.

    Args:
        image, reconstruction: (..., 3, H, W), in [-1, 1].
        scale: reduction; D_s is average pooling of `scale`×`scale` pixels (it divides H and W).

    Returns:
        (..., H / scale, W / scale), at most 2·√3.
    """
    difference = image - reconstruction  # D_s is linear, so it may act on the difference
    flat = difference.reshape(-1, *difference.shape[-3:])
    error = torch.linalg.vector_norm(F.avg_pool2d(flat, scale), dim=1)
    return error.reshape(*difference.shape[:-3], *error.shape[-2:])


def spatio_temporal_map(scale_maps: Mapping[int, Tensor], size: int) -> Tensor:
    """Eq. 14 and 15: A_st, the mean over scales of the maps brought to full size.

    Args:
        scale_maps: for each scale the mean over timesteps and grid sizes, (B, H / scale, W / scale). The
            upsampling U is linear, so the mean may be taken before it.
        size: H = W.

    Returns:
        (B, H, W).
    """
    return mean_of(
        maps
        if maps.shape[-1] == size
        else F.interpolate(maps[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
        for maps in scale_maps.values()
    )


def mean_of(maps: Iterable[Tensor]) -> Tensor:
    """The mean of maps of one shape, summed one by one: faster than the mean of a stack of them."""
    first, *others = maps
    total = first.clone()
    for other in others:
        total += other
    return total / (1 + len(others))


def mean_filter(heatmap: Tensor, filter_size: int) -> Tensor:
    """Eq. 16: Ã = A * f, the mean over `filter_size`² pixels (odd; fewer at the border), (B, H, W)."""
    return _box_means(heatmap, filter_size, filter_size // 2)


def centred(diffusion: Tensor) -> Tensor:
    """Maps (B, H, W) without the median of each (of two in the middle the lower): ours, not the paper's.

    By the largest of the lower half, which an ONNX file can compute.
    """
    values = diffusion.flatten(1)
    lower = values.topk((values.shape[1] + 1) // 2, largest=False).values
    return diffusion - lower.amax(1)[:, None, None]


def channel_scale(batches: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over all values of (B, C, H, W), each (C,) float64."""
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        values = batch.double().transpose(0, 1).flatten(1).cpu()
        count += values.shape[1]
        total, squares = total + values.sum(1), squares + values.square().sum(1)
    mean = total / count
    return mean, (squares / count - mean**2).clamp(min=0).sqrt()


def map_scale(maps: Iterable[Tensor]) -> tuple[float, float]:
    """Mean and standard deviation of all pixels of some heatmaps (B, H, W)."""
    mean, deviation = channel_scale(batch[:, None] for batch in maps)
    return mean.item(), deviation.item()


def image_score(heatmap: Tensor, pool_size: int) -> Tensor:
    """Score of an image: maximum of the average-pooled map (stride 1), (B, H, W) -> (B,) (Sec. 4.4)."""
    return _box_means(heatmap, pool_size, 0).amax((1, 2))


def _box_means(heatmap: Tensor, size: int, padding: int) -> Tensor:
    """Means over `size`² pixels at stride 1, down the columns and then along the rows: many times faster."""
    columns = _column_means(heatmap, size, padding)
    return _column_means(columns.transpose(1, 2).contiguous(), size, padding).transpose(1, 2).contiguous()


def _column_means(heatmap: Tensor, size: int, padding: int) -> Tensor:
    """Means of `size` pixels of a column; columns are taken as channels, over which torch vectorises."""
    channels = heatmap[:, :, None].permute(0, 3, 1, 2)  # (B, W, H, 1), channels last in memory
    pooled = F.avg_pool2d(channels, (size, 1), 1, (padding, 0), count_include_pad=False)
    return pooled.permute(0, 2, 3, 1)[:, :, 0]
