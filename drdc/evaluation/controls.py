"""The controls: lower and (at a given resolution) upper bounds of every detector.

`random_map` must score about 0.5. `oracle_mask@1/s` is the ground truth reduced to 1/s and enlarged again,
the paper's Table 1: what a heatmap of that resolution loses even if it is right everywhere.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.variants import ORACLES, RANDOM
from drdc.equations.stored_maps import Maps, resized
from drdc.runtime.identity import entropy_of


def random_map(key: str, seed: int, size: int) -> Maps:
    """Uniform noise (size, size) in [0, 1) that follows from (seed, key) alone."""
    return np.random.default_rng(entropy_of("random_map", seed, key)).random((size, size), dtype=np.float32)


def oracle_mask(masks: NDArray[np.bool_], reduction: int) -> Maps:
    """Masks (B, H, H) reduced to 1/`reduction` and enlarged again, (B, H, H) in [0, 1].

    Bilinear both ways, without anti-aliasing (the paper does not specify it): thin defects can be lost.
    """
    whole, size = masks.astype(np.float32), masks.shape[-1]
    return whole if reduction == 1 else resized(resized(whole, size // reduction), size)


def controls(about: pd.DataFrame, masks: NDArray[np.bool_], seed: int) -> dict[str, Maps]:
    """The heatmaps (B, H, W) of all controls for some images.

    Args:
        about: their rows of the manifest.
        masks: (B, H, W), true on defects.
        seed: of the run.
    """
    noise = [random_map(key, seed, masks.shape[-1]) for key in about.pixels_sha256]
    oracles = {method: oracle_mask(masks, s) for s, method in ORACLES.items()}
    return {RANDOM: np.stack(noise)} | oracles
