"""The fusion of stored maps and the image score (Sec. 4.4, Eq. 14-17) in NumPy: what scoring needs.

Importing torch takes longer than scoring a category; `drdc.equations.fusion` has the same equations for
networks, on any device and with gradients, and the tests compare both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Maps = NDArray[np.float32]
ArrayOrTensor = TypeVar("ArrayOrTensor", NDArray[Any], "Tensor")


def upsample_base(heatmap: Maps, size: int) -> Maps:
    """A_base (B, h, h) at image size (B, H, W): bilinear with aligned corners, as UniAD."""
    return resized(heatmap, size, aligned=True)


def spatio_temporal_map(scale_maps: Mapping[int, Maps], size: int) -> Maps:
    """Eq. 14 and 15: A_st, the mean over scales of the maps brought to full size.

    Args:
        scale_maps: for each scale the mean over timesteps and grid sizes, (B, H / scale, W / scale). The
            upsampling U is linear, so the mean may be taken before it.
        size: H = W.

    Returns:
        (B, H, W).
    """
    return mean_of(maps if maps.shape[-1] == size else resized(maps, size) for maps in scale_maps.values())


def mean_of(maps: Iterable[Maps]) -> Maps:
    """The mean of maps of one shape."""
    first, *others = maps
    total = first.copy()
    for other in others:
        total += other
    total /= 1 + len(others)
    return total


def mean_filter(heatmap: Maps, filter_size: int) -> Maps:
    """Eq. 16: Ã = A * f, the mean over `filter_size`² pixels (odd; fewer at the border), (B, H, W)."""
    size, reach = heatmap.shape[-1], filter_size // 2
    place = np.arange(size)
    inside = np.minimum(place + reach, size - 1) - np.maximum(place - reach, 0) + 1  # pixels of a window
    more = (filter_size / inside).astype(np.float32)
    means = _window_means(_window_means(heatmap, filter_size, 1), filter_size, 2)
    means *= more[:, None]
    means *= more
    return means


def image_score(heatmap: Maps, pool_size: int) -> Maps:
    """Score of an image: maximum of the average-pooled map (stride 1), (B, H, W) -> (B,) (Sec. 4.4)."""
    whole = slice(pool_size // 2, heatmap.shape[-1] - (pool_size - 1) // 2)
    columns = np.ascontiguousarray(_window_means(heatmap, pool_size, 1)[:, whole])
    return np.asarray(_window_means(columns, pool_size, 2)[:, :, whole].max(axis=(1, 2)))


def _window_means(maps: Maps, size: int, axis: int) -> Maps:
    """Means of `size` values in a row, with zeros outside the map; running sums, in double precision."""
    if size == 1:
        return maps
    from scipy.ndimage import uniform_filter1d  # half a second, which most tables and figures do not need

    return np.asarray(uniform_filter1d(maps, size, axis, mode="constant"))


def normalise(heatmap: ArrayOrTensor, statistics: tuple[float, float], normalisation: str) -> ArrayOrTensor:
    """Bring a map to a common scale before Eq. 17 (the paper does not say how).

    Args:
        heatmap: (B, H, W), array or tensor.
        statistics: mean and standard deviation of this kind of map over held-out normal images.
        normalisation: `mean` divides by the mean, `mean_std` standardises, `none` leaves the map alone.
    """
    mean, std = statistics
    if normalisation == "mean":
        return heatmap / max(mean, 1e-12)
    if normalisation == "mean_std":
        return (heatmap - mean) / max(std, 1e-12)
    return heatmap


def centred(diffusion: Maps) -> Maps:
    """Maps (B, H, W) without the median of each (of two in the middle the lower): ours, not the paper's.

    Images differ in how hard they are to inpaint, defect or not, and a defect covers less than half of one.
    """
    values = diffusion.reshape(len(diffusion), -1)
    middle = (values.shape[1] - 1) // 2
    return diffusion - np.partition(values, middle)[:, middle, None, None]


def weighted_sum(diffusion: ArrayOrTensor, base: ArrayOrTensor, weight: float) -> ArrayOrTensor:
    """Eq. 17: A = λ Ã_st + (1 − λ) A_base, of arrays or tensors."""
    return weight * diffusion + (1 - weight) * base


def map_scales(batches: Iterable[Sequence[Maps]]) -> list[tuple[float, float]]:
    """Mean and standard deviation of all pixels of heatmaps, of each kind by itself.

    Args:
        batches: of some images each, (B, H, W) for each kind.
    """
    count, totals, squares = 0, np.zeros(()), np.zeros(())
    for kinds in batches:
        values = [maps.astype(np.float64).ravel() for maps in kinds]
        count += len(values[0])
        totals = totals + [own.sum() for own in values]
        squares = squares + [np.square(own).sum() for own in values]
    means = totals / count
    deviations = np.sqrt(np.maximum(squares / count - means**2, 0))
    return list(zip(means.tolist(), deviations.tolist(), strict=True))


def resized(maps: Maps, size: int, *, aligned: bool = False) -> Maps:
    """Square maps (B, h, h) at another size (B, size, size), bilinear, without anti-aliasing.

    Args:
        maps: float32.
        size: of the result.
        aligned: corners are kept in their place; else the borders of the corner pixels are.
    """
    columns = _resized_down(maps.swapaxes(1, 2), size, aligned)
    return _resized_down(columns.swapaxes(1, 2), size, aligned)


def _resized_down(maps: Maps, size: int, aligned: bool) -> Maps:
    """Maps (B, h, w) as (B, size, w)."""
    above, below, weight = _neighbours(maps.shape[1], size, aligned)
    maps = np.ascontiguousarray(maps)
    result, other = maps[:, above], maps[:, below]
    other -= result
    other *= weight[:, None]
    result += other
    return result


@cache
def _neighbours(rows: int, size: int, aligned: bool) -> tuple[NDArray[np.intp], NDArray[np.intp], Maps]:
    """Of each of `size` rows the two among `rows` that it lies between, and how near it is to the second."""
    place = np.arange(size)
    exact = place * ((rows - 1) / max(size - 1, 1)) if aligned else (place + 0.5) * (rows / size) - 0.5
    exact = np.clip(exact, 0, rows - 1)
    above = exact.astype(np.intp)
    return above, np.minimum(above + 1, rows - 1), (exact - above).astype(np.float32)
