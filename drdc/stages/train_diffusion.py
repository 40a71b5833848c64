"""images -> diffusion model: noise prediction on grid-masked images (Eq. 10)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from drdc.config import Diffusion
from drdc.data.manifest import read_manifest
from drdc.devices import torch_device
from drdc.diffusion import linear_schedule, predict_noise, q_sample, to_unit_range
from drdc.files import load_array
from drdc.inpainting import masked_condition, partition
from drdc.layout import Layout
from drdc.models.denoiser import Denoiser
from drdc.predictions import chunks
from drdc.training.finish import finish, split_rows
from drdc.training.loop import Task, step_seed, train
from drdc.training.sampler import BatchSampler


def train_diffusion(layout: Layout, seed: int, model: str = "diffusion", *, diffusion: Diffusion) -> None:
    """Write `seed<k>/<model>.safetensors` and its loss curve; goes on where an earlier call was stopped.

    `model` is `diffusion`, or `unconditional` for the same without model conditioning (Table 5).
    """
    if model == "unconditional":
        diffusion = diffusion.model_copy(update={"model_conditioning": False})
    table = read_manifest(layout.manifest)
    stored = load_array(layout.images, len(table), "prepare")
    device = torch_device()
    torch.manual_seed(seed)
    denoiser = Denoiser(diffusion).to(device)
    alpha_bar = linear_schedule(diffusion.timesteps, diffusion.beta_start, diffusion.beta_end).to(device)
    train_rows, held_out = split_rows(table, "train"), split_rows(table, "val")

    def loss(rows: NDArray[np.int64], network: nn.Module = denoiser) -> Tensor:
        images = to_unit_range(stored[rows]).to(device)
        return noise_loss(network, images, alpha_bar, diffusion)

    def held_out_loss(network: nn.Module) -> float:
        torch.manual_seed(step_seed(seed, -1))  # the same noise and holes at each validation
        losses = [len(rows) * loss(rows, network).item() for rows in chunks(held_out)]
        return sum(losses) / len(held_out)

    task = Task(
        model=denoiser,
        sampler=BatchSampler(
            train_rows, table.category.to_numpy()[train_rows], diffusion.batch_size, seed, diffusion.balanced
        ),
        loss=loss,
        held_out_loss=held_out_loss,
        images=diffusion.images,
        identity={
            "diffusion": diffusion.model_dump(),
            "seed": seed,
            "images": table.sha256.tolist(),
            "shape": stored.shape,
        },
        ema_decay=diffusion.ema_decay,
    )
    trained, history = train(task, diffusion, seed=seed, state=layout.state(seed, model))
    metadata = {"diffusion": diffusion.model_dump(), "image_size": stored.shape[1]}
    finish(layout, seed, model, trained, history, metadata)


def noise_loss(network: nn.Module, images: Tensor, alpha_bar: Tensor, settings: Diffusion) -> Tensor:
    """Eq. 10 for a batch of clean images x₀ in [-1, 1], (B, 3, H, W): mean ‖ε − ε_θ(x_t, c, t)‖².

    Timestep, cell side k and partition are drawn anew for each image; one set of each partition is the hole.
    """
    batch, size = len(images), images.shape[-1]
    t = torch.randint(1, settings.max_timestep + 1, (batch,)).to(images.device)
    mask = torch.stack([_random_hole(size, settings) for _ in range(batch)]).to(images.device)
    condition = masked_condition(images, mask, torch.randn_like(images))
    start = images if settings.hole_input == "qsample" else condition
    level = alpha_bar[t].view(-1, 1, 1, 1)
    x_t = q_sample(start, level, torch.randn_like(images))
    target = predict_noise(x_t, level, images)  # where x_t was diffused from x₀, the noise that was added
    error = (target - network(x_t, condition, t)).square().mean(1, keepdim=True)
    if settings.loss_region == "hole":
        return (error * (1 - mask)).sum() / (1 - mask).sum()
    return error.mean()


def _random_hole(size: int, settings: Diffusion) -> Tensor:
    """Mask of one set of one partition, (1, H, W), with k drawn uniformly from the grid sizes."""
    k = settings.grid_sizes[int(torch.randint(len(settings.grid_sizes), ()))]
    masks = partition(size, k, settings.disjoint_sets)
    return masks[int(torch.randint(settings.disjoint_sets, ()))]
