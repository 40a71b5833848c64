"""What is stored between predict and score, and the heatmaps computed from it.

The smallest set from which every fusion can be computed: for each image the base map at feature size, and for
each scale the mean over timesteps of the diffusion's error at that scale's own size (the rest of Eq. 14-16 is
linear). Detailed predictions keep the grid sizes apart, the last timestep and the reconstruction: 0.79 MB an
image at 224 pixels and four grid sizes; all others keep the mean over grid sizes alone, 0.14 MB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.fusion import BASE_SCALES, STORED_SCALES, Fusion
from drdc.config.variants import predicted_parts
from drdc.equations.stored_maps import (
    Maps,
    centred,
    map_scales,
    mean_filter,
    mean_of,
    normalise,
    spatio_temporal_map,
    upsample_base,
    weighted_sum,
)
from drdc.results.layout import Layout
from drdc.runtime.batching import chunks, in_order, job_threads
from drdc.runtime.digests import is_current
from drdc.runtime.errors import UserError
from drdc.runtime.files import open_array

if TYPE_CHECKING:
    from torch import Tensor

#: How the fields of each kind of base map begin, by the value of `fusion.base`.
BASE_FIELDS = {"transformer": "base", "memory": "memory"}
#: (mean, standard deviation) of a kind of map over held-out normal images.
Statistics = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Errors:
    """What a reverse chain gives for a batch of images.

    Attributes:
        scales: for each stored scale the mean over timesteps of ‖D_s(x) − D_s(x̂₀)‖₂ (inner part of Eq. 14),
            grid sizes apart, (B, K, H / s, W / s).
        last: ‖x − x̂₀‖₂ of the last timestep and `single_grid_size` (Eq. 9), (B, H, W).
        reconstruction: mean over grid sizes of the last x̂₀, (B, 3, H, W) in [-1, 1].
    """

    scales: dict[int, Tensor]
    last: Tensor
    reconstruction: Tensor


def record_type(
    image_size: int,
    feature_size: int,
    grid_sizes: Sequence[int] | None,
    base_maps: Sequence[str] = ("transformer",),
) -> np.dtype[np.void]:
    """One image's prediction.

    Fields: `row` in the manifest; of the `base_maps`, values of `fusion.base`, `base1` … `base8` and
    `memory1` … `memory8`; for each grid size k `k<k>.scale1` … `k<k>.scale16`, then `last` and
    `reconstruction`; or, where `grid_sizes` is None, `scale1` … `scale16` alone.
    """
    heads = [""] if grid_sizes is None else [f"k{k}." for k in grid_sizes]
    sides = {s: -(-feature_size // s) for s in BASE_SCALES}
    base = [(f"{BASE_FIELDS[one]}{s}", "f4", (side, side)) for one in base_maps for s, side in sides.items()]
    scales = [(f"{head}scale{s}", "f2", (image_size // s,) * 2) for head in heads for s in STORED_SCALES]
    details = [("last", "f2", (image_size,) * 2), ("reconstruction", "u1", (image_size, image_size, 3))]
    return np.dtype([("row", "i8"), *base, *scales, *([] if grid_sizes is None else details)])


def store_base(
    records: np.ndarray, batch: NDArray[np.int64], base_map: str, errors: Mapping[int, Tensor]
) -> None:
    """Write base maps (Eq. 2) of a batch into its records: for each scale (B, ⌈h / s⌉, ⌈w / s⌉).

    `base_map`: a value of `fusion.base`.
    """
    for scale, maps in errors.items():
        records[f"{BASE_FIELDS[base_map]}{scale}"][batch] = maps.cpu().numpy()


def store_errors(
    records: np.ndarray, batch: NDArray[np.int64], errors: Errors, grid_sizes: list[int] | None
) -> None:
    """Write the errors of a batch into its records (`drdc.results.predictions.record_type`), as float16."""
    for scale, maps in errors.scales.items():
        if grid_sizes is None:
            records[f"scale{scale}"][batch] = maps.mean(1).cpu().numpy()
            continue
        for place, k in enumerate(grid_sizes):
            records[f"k{k}.scale{scale}"][batch] = maps[:, place].cpu().numpy()
    if grid_sizes is not None:
        records["last"][batch] = errors.last.cpu().numpy()
        records["reconstruction"][batch] = _to_bytes(errors.reconstruction)


def _to_bytes(images: Tensor) -> np.ndarray:
    """[-1, 1] (B, 3, H, W) -> uint8 (B, H, W, 3)."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def read_parts(
    layout: Layout, seed: int, name: str, table: pd.DataFrame, partial: bool = False
) -> list[NDArray[np.void]]:
    """All predictions of one run: a part for each category, or one for all, see `predicted_parts`.

    `partial`: leave out parts that do not exist or are of other models, as long as there is another.
    """
    parts = predicted_parts(name, sorted(set(table.category)))
    paths = {part: layout.predictions(seed, name, part) for part in parts}
    existing = [part for part, path in paths.items() if is_current(path)]
    chosen = existing if partial and existing else parts
    read = []
    opened = in_order(lambda part: open_array(paths[part], "predict"), chosen, job_threads())
    for part, records in zip(chosen, opened, strict=True):
        of_part = ((table.category == part) | (part == "all")) & (table.split != "train")
        read.append(_of_rows(records, of_part.to_numpy(), paths[part]))
    return read


def _of_rows(records: NDArray[np.void], chosen: NDArray[np.bool_], path: Path) -> NDArray[np.void]:
    """The records themselves, where they are those of the chosen rows of the manifest, (N,)."""
    if "row" in (records.dtype.names or ()) and np.array_equal(records["row"], np.flatnonzero(chosen)):
        return records
    raise UserError(
        path,
        "has the predictions of other images",
        "remove it and run `drdc predict` or the same `snakemake` command again",
    )


def batches(parts: Iterable[NDArray[np.void]], chosen: NDArray[np.bool_]) -> Iterator[NDArray[np.void]]:
    """The records of the chosen rows of the manifest, a few at a time; `chosen`: (N,) for each row."""
    for records in parts:
        for batch in chunks(np.flatnonzero(chosen[records["row"]])):
            yield records[batch]


@dataclass(frozen=True)
class Fused:
    """Full-size maps of some images, each (B, H, W) float32; `base` and `diffusion` on their common scale."""

    base: Maps
    diffusion: Maps
    drdc: Maps


def raw_maps(records: NDArray[np.void], fusion: Fusion) -> tuple[Maps, Maps]:
    """A_base (Eq. 2) and Ã_st (Eq. 14-16) of some images, each (B, H, W), before normalisation."""
    names = records.dtype.names or ()
    size = records["last" if "last" in names else "scale1"].shape[-1]
    field = BASE_FIELDS[fusion.base]
    base = [upsample_base(_field(records, f"{field}{s}"), size) for s in fusion.base_scales]
    if fusion.timesteps == "last":
        return mean_of(base), mean_filter(_field(records, "last"), fusion.filter_size)
    scales: dict[int, Maps] = {s: _over_grid_sizes(records, s, fusion) for s in fusion.scales}
    return mean_of(base), mean_filter(spatio_temporal_map(scales, size), fusion.filter_size)


def _over_grid_sizes(records: NDArray[np.void], scale: int, fusion: Fusion) -> Maps:
    """The mean over grid sizes (Eq. 15) at one scale, (B, H / scale, W / scale)."""
    wanted = [f"k{k}.scale{scale}" for k in fusion.grid_sizes or []]
    every = [name for name in records.dtype.names or () if name.endswith(f"scale{scale}")]
    return mean_of(_field(records, name) for name in wanted or every)


def _field(records: NDArray[np.void], name: str) -> Maps:
    return np.asarray(records[name], dtype=np.float32)


def fuse(records: NDArray[np.void], fusion: Fusion, statistics: Statistics) -> Fused:
    """Eq. 17 on maps brought to one scale."""
    base, diffusion = raw_maps(records, fusion)
    base = normalise(base, statistics["base"], fusion.normalisation)
    diffusion = normalise(diffusion, statistics["diffusion"], fusion.normalisation)
    if fusion.centred:
        diffusion = centred(diffusion)
    return Fused(base, diffusion, weighted_sum(diffusion, base, fusion.weight))


def statistics(parts: Iterable[NDArray[np.void]], held_out: NDArray[np.bool_], fusion: Fusion) -> Statistics:
    """Mean and standard deviation of both kinds of map over all pixels of the held-out normal images.

    Args:
        parts: predictions of all categories.
        held_out: (N,) for each row of the manifest, whether it is a held-out normal training image.
    """
    scales = map_scales(raw_maps(records, fusion) for records in batches(parts, held_out))
    if not all(isfinite(value) for scale in scales for value in scale):
        raise UserError(
            "",
            "the maps of held-out images are NaN or infinite",
            "remove the predictions and run the same command again",
        )
    return dict(zip(("base", "diffusion"), scales, strict=True))
