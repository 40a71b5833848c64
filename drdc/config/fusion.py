"""`fusion`: from stored maps to one heatmap and an image score."""

from __future__ import annotations

from typing import Annotated, Literal

from drdc.config.section import DISTINCT, MOST_PIXELS, Section, setting

#: Scales at which predictions are stored, so that any `fusion.scales` can be scored without predicting again.
STORED_SCALES = (1, 2, 4, 8, 16)
#: The same of the base map, for the ablation with a multi-scale base heatmap (Table 5).
BASE_SCALES = (1, 2, 4, 8)


class Fusion(Section):
    """Spatio-temporal fusion and image score (Sec. 4.4, Eq. 14-17)."""

    scales: Annotated[list[Literal[1, 2, 4, 8, 16]], DISTINCT] = setting(
        [1, 2, 4, 8],
        "inferred",
        "Downscaling factors of the compared images.",
        min_length=1,
        max_length=len(STORED_SCALES),
    )
    filter_size: int = setting(
        21, "inferred", "Side of the mean filter in pixels (odd).", ge=1, le=MOST_PIXELS
    )
    weight: float = setting(
        0.9, "paper", "Weight λ of the diffusion map; 1 − λ is that of the base map.", ge=0, le=1
    )
    normalisation: Literal["mean", "mean_std", "none"] = setting(
        "mean",
        "ours",
        "First divide maps by their mean over held-out normal images, standardise them, or neither.",
    )
    pool_size: int = setting(
        16,
        "inferred",
        "Side of the average pool before the maximum (image score) in pixels.",
        ge=1,
        le=MOST_PIXELS,
    )
    grid_sizes: Annotated[list[int], DISTINCT] | None = setting(
        None, "paper", "Grid sizes whose maps are averaged (Eq. 15); null: all of `sampling.grid_sizes`."
    )
    timesteps: Literal["all", "last"] = setting(
        "all",
        "paper",
        "Average over all timesteps (Eq. 15), or the last one only: one grid size, scale 1 (Table 5).",
    )
    base_scales: Annotated[list[Literal[1, 2, 4, 8]], DISTINCT] = setting(
        [1],
        "paper",
        "Downscaling factors of the base model's features; more of them were worse (Table 5).",
        min_length=1,
    )
    base: Literal["transformer", "memory"] = setting(
        "transformer",
        "ours",
        "The base heatmap (Eq. 2): distance to the features that the transformer reconstructs, as in the "
        "paper, or to the nearest ones of normal images in the memory bank (`base.memory`).",
    )
    centred: bool = setting(
        False,
        "ours",
        "Subtract from each image's diffusion map its own median: images differ in how hard they are to "
        "inpaint, defect or not.",
    )
