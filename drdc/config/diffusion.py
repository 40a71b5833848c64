"""`diffusion`: the diffusion model and its training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from drdc.config.optimisation import COMPILE, PRECISION, Compile, Optimisation, Precision
from drdc.config.section import DISTINCT, MOST_IMAGES, MOST_TIMESTEPS, setting


class Diffusion(Optimisation):
    """The diffusion model: ADM's U-Net as conditional denoiser (Sec. 4.2-4.3, Eq. 10)."""

    width: int = setting(128, "inferred", "Channels of the first level; a multiple of 32.", ge=32, le=1024)
    multipliers: list[Annotated[int, Field(ge=1, le=32)]] = setting(
        [1, 1, 2, 2, 4, 4],
        "inferred",
        "Channels of each level as multiples of `width`; each level halves the resolution.",
        min_length=1,
        max_length=10,
    )
    layers_per_block: int = setting(2, "inferred", "Residual blocks per level.", ge=1, le=32)
    attention_levels: list[int] = setting(
        [3, 4, 5], "inferred", "Levels with self-attention, counted from 0 (full resolution).", max_length=10
    )
    model_conditioning: bool = setting(
        True, "paper", "Feed the known pixels to the network (6 input channels); false: 3 channels (Table 5)."
    )
    timesteps: int = setting(
        1000, "paper", "Length of the diffusion process; index 0 is the image.", ge=1, le=MOST_TIMESTEPS
    )
    max_timestep: int = setting(
        500,
        "ours",
        "Largest timestep seen in training (the paper: 1000); sampling starts at `sampling.initial_index`.",
        ge=1,
        le=MOST_TIMESTEPS,
    )
    beta_start: float = setting(1e-4, "inferred", "Linear schedule: first beta.", gt=0, lt=1)
    beta_end: float = setting(0.02, "inferred", "Linear schedule: last beta.", gt=0, lt=1)
    grid_sizes: Annotated[list[int], DISTINCT] = setting(
        [2, 4, 8, 16],
        "inferred",
        "Cell sides k in pixels, one drawn per training sample.",
        min_length=1,
        max_length=32,
    )
    disjoint_sets: int = setting(
        2, "paper", "Disjoint sets n of a partition in training, one of which is masked.", ge=2, le=1024
    )
    hole_input: Literal["qsample", "noise"] = setting(
        "qsample", "ours", "What is diffused inside the hole in training; should match `sampling.hole_init`."
    )
    loss_region: Literal["image", "hole"] = setting(
        "image", "paper", "Eq. 10 over the whole image or the masked pixels only."
    )
    images: int = setting(1_600_000, "ours", "Training images seen.", ge=1, le=10**11)
    batch_size: int = setting(32, "ours", "Images per step.", ge=1, le=MOST_IMAGES)
    ema_decay: float = setting(
        0.9999,
        "inferred",
        "Decay of the exponential moving average of the weights, which is used for sampling.",
        ge=0,
        lt=1,
    )
    precision: Precision = setting("auto", "ours", PRECISION)
    compile: Compile = setting("auto", "ours", COMPILE)
