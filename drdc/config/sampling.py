"""`sampling`: the reverse chain."""

from __future__ import annotations

from typing import Annotated, Literal

from drdc.config.section import DISTINCT, MOST_IMAGES, MOST_TIMESTEPS, Section, setting


class Sampling(Section):
    """The reverse chain (Sec. 4.2-4.3, Eq. 7, 8, 11-13)."""

    steps: int = setting(
        10, "paper", "Number |T| of equally spaced timesteps (Fig. 2a).", ge=1, le=MOST_TIMESTEPS
    )
    initial_index: int = setting(
        250, "paper", "First timestep; the best range is 200-250 (Fig. 2b).", ge=1, le=MOST_TIMESTEPS
    )
    disjoint_sets: int = setting(2, "paper", "Disjoint sets n of a partition (Fig. 2c).", ge=2, le=1024)
    grid_sizes: Annotated[list[int], DISTINCT] = setting(
        [2, 4, 8, 16],
        "inferred",
        "Cell sides k in pixels; each must divide the image size.",
        min_length=1,
        max_length=32,
    )
    hole_init: Literal["qsample", "noise"] = setting(
        "qsample", "ours", "Initial sample: the diffused image, or the diffused image with noise in the hole."
    )
    test_time_conditioning: bool = setting(True, "paper", "Replace the known pixels at each step (Eq. 13).")
    known_noise: Literal["fresh", "fixed"] = setting(
        "fresh", "ours", "Noise of the known pixels (Eq. 11): new at each step or fixed per image."
    )
    clip: bool = setting(True, "inferred", "Clip the predicted clean image to [-1, 1].")
    batch_size: int = setting(
        4, "ours", "Images denoised together (× sets × grid sizes).", ge=1, le=MOST_IMAGES
    )


def single_grid_size(sampling: Sampling) -> int:
    """The one k of variants without spatio-temporal fusion (Table 5): the middle one, of two the smaller."""
    return sorted(sampling.grid_sizes)[(len(sampling.grid_sizes) - 1) // 2]
