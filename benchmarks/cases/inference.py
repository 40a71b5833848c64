"""The diffusion model in use next to diffusers' own loop, `UNet2DModel` and `DDIMScheduler` as they come.

Both have the demo's network and a batch of eight: two images with two grid sizes and two disjoint sets. Ours
also replaces known pixels and compares at five scales.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from drdc.config.diffusion import Diffusion
from drdc.config.sampling import Sampling
from drdc.equations.diffusion import linear_schedule
from drdc.models.denoiser import Denoiser
from drdc.models.inpainter import Inpainter
from drdc.runtime.devices import torch_device

from ..harness import Contestant, Race, Size
from ..plain import in_bf16, plain
from ..stored import demo_settings

IMAGES = 2


def races(size: Size) -> Iterator[Race]:
    settings, device = demo_settings(), torch_device()
    side = 16 if size.tiny else settings["dataset"]["image_size"]
    changes = {"multipliers": [1], "attention_levels": []} if size.tiny else {}
    diffusion = Diffusion(**settings["diffusion"] | changes)
    sampling = Sampling(**settings["sampling"])
    torch.manual_seed(0)
    denoiser = Denoiser(diffusion).to(device)
    network = UNet2DModel.from_config(denoiser.unet.config).to(device).eval()
    alpha_bar = linear_schedule(diffusion.timesteps, diffusion.beta_start, diffusion.beta_end).to(device)
    inpainter = Inpainter(denoiser, alpha_bar, sampling)
    batch = IMAGES * sampling.disjoint_sets * len(sampling.grid_sizes)
    x_t, condition = torch.randn(2, batch, 3, side, side, device=device)
    timestep = torch.full((batch,), sampling.initial_index, device=device)

    @torch.no_grad()
    def call() -> Tensor:
        return inpainter.denoiser(x_t, condition, timestep)

    @torch.no_grad()
    def plain_call() -> Tensor:
        return network(torch.cat([x_t, condition], 1), timestep).sample

    yield Race(
        what=f"one U-Net call of {batch} images of {side} px",
        unit="image",
        contestants=[
            Contestant("drdc", call, note=in_bf16(diffusion.precision)),
            Contestant("diffusers", plain(plain_call)),
        ],
        units=batch,
        flops=_operations(plain_call) / batch,
        rounds=10 if not size.tiny else 1,
    )

    @torch.inference_mode()
    def reconstruct() -> Any:
        return inpainter.reconstruct(x_t[:IMAGES].clamp(-1, 1), ["0", "1"], 0)

    yield Race(
        what=f"{IMAGES} images of {side} px, {inpainter.calls} U-Net calls each",
        unit="image",
        contestants=[
            Contestant("drdc", reconstruct, wanted="≤ 55 ms", note="also replaces known pixels, compares"),
            Contestant("diffusers", plain(lambda: ddim(network, condition, sampling.steps))),
        ],
        units=IMAGES,
        flops=inpainter.calls * _operations(plain_call) / batch,
    )


@torch.no_grad()
def ddim(network: Any, condition: Tensor, steps: int) -> Tensor:
    """The loop of diffusers' manual, with the condition as further channels."""
    scheduler = DDIMScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(steps)
    x = torch.randn_like(condition)
    for t in scheduler.timesteps:
        noise = network(torch.cat([x, condition], 1), t).sample
        x = scheduler.step(noise, t, x).prev_sample
    return x


def _operations(run: Any) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()
