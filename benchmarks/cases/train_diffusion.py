"""A training step of the diffusion model next to the training loop of diffusers' manual.

Both have the demo's network and batches of eight, AdamW, gradient clipping and a moving average of the
weights. Ours also draws holes, and reads the images from the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import partial
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import EMAModel

from drdc.config.diffusion import Diffusion
from drdc.methods.drdc import diffusion as training
from drdc.models.denoiser import Denoiser
from drdc.results.layout import Layout
from drdc.runtime.devices import torch_device

from ..handed import steps_of
from ..harness import Contestant, Race, Size
from ..plain import in_bf16, plain
from ..stored import demo_settings, write_images, write_manifest

STEPS, IMAGES = 3, 64


def races(size: Size) -> Iterator[Race]:
    settings = demo_settings()
    side = 16 if size.tiny else settings["dataset"]["image_size"]
    changes = {"multipliers": [1], "attention_levels": [], "grid_sizes": [4]} if size.tiny else {}
    diffusion = Diffusion(**settings["diffusion"] | changes | {"validations": 1})
    with TemporaryDirectory() as folder, chdir(folder):
        layout = Layout("benchmark")
        write_manifest(layout, ["one"], size=side, train=IMAGES, val=1)
        write_images(layout, side)
        start = partial(training.train_diffusion, layout, 0, image_size=side, diffusion=diffusion)
        yield Race(
            what=f"{diffusion.batch_size} images of {side} px",
            unit="step",
            contestants=[
                Contestant(
                    "drdc",
                    steps_of(training, start, STEPS),
                    wanted="≤ 420 ms",
                    note=in_bf16(diffusion.precision),
                ),
                Contestant("diffusers", plain(diffusers_steps(diffusion, side))),
            ],
            units=STEPS,
        )


def diffusers_steps(settings: Diffusion, side: int) -> Callable[[], None]:
    """`STEPS` steps of the loop of diffusers' manual, with the condition as further channels."""
    device = torch_device()
    torch.manual_seed(0)
    model = UNet2DModel.from_config(Denoiser(settings).unet.config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    ema = EMAModel(model.parameters(), decay=settings.ema_decay)
    scheduler = DDPMScheduler(num_train_timesteps=settings.timesteps)
    images = torch.rand(IMAGES, 3, side, side, device=device) * 2 - 1

    def run() -> None:
        for _ in range(STEPS):
            clean = images[torch.randperm(IMAGES)[: settings.batch_size]]
            noise = torch.randn_like(clean)
            timesteps = torch.randint(0, settings.timesteps, (len(clean),), device=device)
            noisy = scheduler.add_noise(clean, noise, timesteps)
            predicted = model(torch.cat([noisy, clean], 1), timesteps).sample
            F.mse_loss(predicted, noise).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            ema.step(model.parameters())

    return run
