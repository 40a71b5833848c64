"""images, features -> a trained model: one of DRDC's, or another method."""

from __future__ import annotations

from typing import Any

from drdc.methods.drdc.base import train_base
from drdc.methods.drdc.diffusion import train_diffusion
from drdc.methods.fitting import fit_method
from drdc.results.layout import Layout


def train(layout: Layout, seed: int, model: str, *, processes: int = 1, **settings: Any) -> None:
    """Write `seed<k>/<model>.safetensors` and its loss curve, or resume an earlier call's training.

    Args:
        model: base, diffusion, unconditional, or the name of another method.
        processes: that share each batch of a model of DRDC, one on each GPU where there are any.
    """
    if "method" in settings:
        fit_method(layout, seed, **settings)
    elif model == "base":
        train_base(layout, seed, processes=processes, **settings)
    else:
        train_diffusion(layout, seed, model, processes=processes, **settings)
