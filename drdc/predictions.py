"""What is stored between predict and score, and the heatmaps that come out of it.

The smallest set from which every fusion can be computed: for each image the base map at feature size, and for
each scale the mean over timesteps and grid sizes of the diffusion's error at that scale's own size (the rest
of Eq. 14-16 is linear). At 224 pixels that is 0.28 MB an image, the reconstruction for the gallery included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drdc.config import STORED_SCALES, Fusion
from drdc.errors import UserError
from drdc.fusion import mean_filter, normalise, spatio_temporal_map, upsample_base, weighted_sum

#: (mean, standard deviation) of a kind of map over held-out normal images.
Statistics = dict[str, tuple[float, float]]


def record_type(image_size: int, feature_size: int) -> np.dtype[np.void]:
    """One image's prediction: `row` in the manifest, `base`, `scale1` … `scale16`, `reconstruction`."""
    scales = [(f"scale{s}", "f2", (image_size // s, image_size // s)) for s in STORED_SCALES]
    return np.dtype(
        [
            ("row", "i8"),
            ("base", "f4", (feature_size, feature_size)),
            *scales,
            ("reconstruction", "u1", (image_size, image_size, 3)),
        ]
    )


def read(path: Path) -> NDArray[np.void]:
    """The predictions of one category, memory-mapped; UserError where the file is missing or damaged."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: holds no predictions ({error}); run `drdc predict` again") from None


@dataclass(frozen=True)
class Heatmaps:
    """Full-size maps of some images, each (B, H, W) float32; `base` and `diffusion` on their common scale."""

    base: Tensor
    diffusion: Tensor
    drdc: Tensor


def raw_maps(records: NDArray[np.void], fusion: Fusion) -> tuple[Tensor, Tensor]:
    """A_base (Eq. 2) and Ã_st (Eq. 14-16) of some images, each (B, H, W), before normalisation."""
    size = records["scale1"].shape[-1]
    base = upsample_base(torch.from_numpy(np.ascontiguousarray(records["base"])), size)
    scales: dict[int, Tensor] = {
        s: torch.from_numpy(records[f"scale{s}"].astype(np.float32)) for s in fusion.scales
    }
    return base, mean_filter(spatio_temporal_map(scales, size), fusion.filter_size)


def fuse(records: NDArray[np.void], fusion: Fusion, statistics: Statistics) -> Heatmaps:
    """Eq. 17 on maps brought to one scale."""
    base, diffusion = raw_maps(records, fusion)
    base = normalise(base, statistics["base"], fusion.normalisation)
    diffusion = normalise(diffusion, statistics["diffusion"], fusion.normalisation)
    return Heatmaps(base, diffusion, weighted_sum(diffusion, base, fusion.weight))


def statistics(files: Iterable[Path], held_out: NDArray[np.bool_], fusion: Fusion) -> Statistics:
    """Mean and deviation of both kinds of map over all pixels of the held-out normal images.

    Args:
        files: predictions of all categories.
        held_out: (N,) for each row of the manifest, whether it is a held-out normal training image.
    """
    sums = np.zeros((2, 3))
    for path in files:
        records = read(path)
        for batch in chunks(np.flatnonzero(held_out[records["row"]])):
            for total, maps in zip(sums, raw_maps(records[batch], fusion), strict=True):
                values = maps.double()
                total += [values.numel(), values.sum().item(), values.square().sum().item()]
    count, total, squares = sums.T
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return {kind: (float(mean[i]), float(deviation[i])) for i, kind in enumerate(("base", "diffusion"))}


def chunks(rows: Sequence[int] | NDArray[np.int64], size: int = 32) -> Iterator[NDArray[np.int64]]:
    """Rows in pieces of at most `size`, so that memory does not grow with the number of images."""
    for start in range(0, len(rows), size):
        yield np.asarray(rows[start : start + size])
