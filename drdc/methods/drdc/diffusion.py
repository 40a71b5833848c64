"""images -> diffusion model: noise prediction on grid-masked images (Eq. 10)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from drdc.config.diffusion import Diffusion
from drdc.equations.diffusion import linear_schedule, predict_noise, q_sample, to_unit_range
from drdc.equations.inpainting import masked_condition, partition
from drdc.models.denoiser import Denoiser
from drdc.results.layout import Layout
from drdc.runtime.batching import chunks
from drdc.runtime.devices import compiles, to_device, torch_device
from drdc.runtime.identity import seed_of
from drdc.training.distributed import Group
from drdc.training.job import Images, Job, carry_out, finish
from drdc.training.loop import Task, train


def train_diffusion(
    layout: Layout,
    seed: int,
    model: str = "diffusion",
    *,
    image_size: int,
    diffusion: Diffusion,
    processes: int = 1,
) -> None:
    """Write `seed<k>/<model>.safetensors` and its loss curve; resumes from where an earlier call was stopped.

    `model` is `diffusion`, or `unconditional` for the same without model conditioning (Table 5). Several
    `processes` share each batch, one on each GPU where there are any.
    """
    if model == "unconditional":
        diffusion = diffusion.model_copy(update={"model_conditioning": False})
    images = Images.read(layout, layout.images(image_size), f"images {image_size}")
    carry_out(Job.of(layout, seed, model, diffusion, images), processes, partial(_train, image_size))


def _train(size: int, job: Job, group: Group) -> None:
    settings: Diffusion = job.settings
    images = Images.read(job.layout, job.layout.images(size), f"images {size}")
    device = torch_device()
    torch.manual_seed(job.seed)
    denoiser = Denoiser(settings).to(device).to(memory_format=torch.channels_last)
    alpha_bar = linear_schedule(settings.timesteps, settings.beta_start, settings.beta_end).to(device)

    def draw(batch: int) -> Randomness:
        return draw_randomness(batch, size, settings, device)

    def loss(network: nn.Module, rows: NDArray, drawn: Randomness, part: slice) -> Tensor:
        x_0 = to_unit_range(to_device(images.stored[rows[part]]))
        return noise_loss(network, x_0, drawn, alpha_bar, settings, part)

    def held_out_loss(network: nn.Module) -> float:
        torch.manual_seed(seed_of(job.seed, -1))  # the same noise and holes at each validation
        total = 0.0
        for rows in chunks(images.held_out):
            drawn = draw(len(rows))
            most = -(-len(rows) // settings.accumulation)  # in memory at once, as in training
            for first in range(0, len(rows), most):
                part = slice(first, first + most)
                total += len(rows[part]) * loss(network, rows, drawn, part).item()
        return total / len(images.held_out)

    task = Task(
        model=denoiser,
        sampler=images.sampler(settings, job.seed),
        paths=images.paths,
        draw=draw,
        loss=loss,
        held_out_loss=held_out_loss,
        images=settings.images,
        ema_decay=settings.ema_decay,
        compiled=compiles(settings.compile),
    )
    trained, history = train(task, job, group)
    if group.rank == 0:
        finish(job, trained, history, {"image_size": size})


@dataclass(frozen=True)
class Randomness:
    """The random variables of Eq. 10 for a batch.

    Attributes:
        timestep: t, (B,), from 1 to `max_timestep`.
        mask: M, (B, 1, H, W), 0 in the hole and 1 elsewhere.
        fill: η of the condition, N(0, 1), (B, 3, H, W).
        noise: of x_t, N(0, 1), (B, 3, H, W).
    """

    timestep: Tensor
    mask: Tensor
    fill: Tensor
    noise: Tensor


def draw_randomness(batch: int, size: int, settings: Diffusion, device: str) -> Randomness:
    """New timestep, cell side k and partition for each image; one set of each partition is the hole."""
    timestep = to_device(torch.randint(1, settings.max_timestep + 1, (batch,)))
    mask = to_device(torch.stack([_random_hole(size, settings) for _ in range(batch)]))
    like = torch.empty(batch, size, size, 3, device=device).permute(0, 3, 1, 2)  # as decoded images
    return Randomness(timestep, mask, torch.randn_like(like), torch.randn_like(like))


def noise_loss(
    network: nn.Module,
    images: Tensor,
    drawn: Randomness,
    alpha_bar: Tensor,
    settings: Diffusion,
    part: slice = slice(None),
) -> Tensor:
    """Eq. 10 for clean images x₀ in [-1, 1], (B, 3, H, W): mean ‖ε − ε_θ(x_t, c, t)‖².

    `images` are a `part` of the batch that was `drawn`; the mean over equal parts is the loss of the batch.
    """
    t, mask = drawn.timestep[part], drawn.mask[part]
    condition = masked_condition(images, mask, drawn.fill[part])
    start = images if settings.hole_input == "qsample" else condition
    level = alpha_bar[t].view(-1, 1, 1, 1)
    x_t = q_sample(start, level, drawn.noise[part])
    target = predict_noise(x_t, level, images)  # where x_t was diffused from x₀, the noise that was added
    error = (target - network(x_t, condition, t)).square().mean(1, keepdim=True)
    if settings.loss_region == "hole":
        share = len(images) / len(drawn.mask)
        return (error * (1 - mask)).sum() / ((1 - drawn.mask).sum() * share)
    return error.mean()


def _random_hole(size: int, settings: Diffusion) -> Tensor:
    """Mask of one set of one partition, (1, H, W), with k drawn uniformly from the grid sizes."""
    k = settings.grid_sizes[int(torch.randint(len(settings.grid_sizes), ()))]
    masks = partition(size, k, settings.disjoint_sets)
    return masks[int(torch.randint(settings.disjoint_sets, ()))]
