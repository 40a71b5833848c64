"""Time of a training image on this machine, by a few steps of the real networks on random data."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

from drdc.experiment.experiment import Experiment
from drdc.models.denoiser import Denoiser
from drdc.models.reconstructor import Reconstructor
from drdc.runtime.devices import torch_device

STEPS = 3


def base_seconds(experiment: Experiment) -> float:
    """Seconds for one training image of the experiment's base model, without computing the features."""
    backbone, base = experiment.backbone, experiment.base
    network: Any = timm.create_model(
        backbone.name, pretrained=False, features_only=True, out_indices=tuple(backbone.stages)
    )
    channels, side = sum(network.feature_info.channels()), backbone.feature_size
    model = Reconstructor(base, channels, side)
    return _seconds(model, base.batch_size, lambda batch: (torch.randn(batch, channels, side, side),))


def diffusion_seconds(experiment: Experiment) -> float:
    """Seconds for one training image of the experiment's diffusion model."""
    settings, size = experiment.diffusion, experiment.dataset.image_size

    def images(batch: int) -> tuple[Tensor, ...]:
        pixels = torch.randn(batch, 3, size, size)
        return pixels, pixels, torch.randint(1, settings.max_timestep + 1, (batch,))

    return _seconds(Denoiser(settings), settings.batch_size, images)


def _seconds(model: nn.Module, batch: int, inputs: Callable[[int], tuple[Tensor, ...]]) -> float:
    """The fastest of a few steps of AdamW per image; the first, which also allocates, does not count."""
    device = torch_device()
    model.to(device).train()
    given = [tensor.to(device) for tensor in inputs(batch)]
    optimizer = torch.optim.AdamW(model.parameters())
    times = []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(*given).square().mean().backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times[1:]) / batch
