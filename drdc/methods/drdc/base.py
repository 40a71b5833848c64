"""features -> base model: feature reconstruction (Eq. 1)."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from drdc.config.backbone import Backbone
from drdc.config.base import Base
from drdc.models.backbone import channels_of
from drdc.models.reconstructor import Reconstructor, draw_jitter
from drdc.results.layout import Layout
from drdc.runtime.batching import chunks
from drdc.runtime.devices import compiles, to_device, torch_device
from drdc.runtime.identity import entropy_of
from drdc.training.distributed import Group
from drdc.training.job import Images, Job, carry_out, finish
from drdc.training.loop import Task, train

log = logging.getLogger(__name__)

BARELY_TRAINED = (
    "the held-out loss, %.5g, is not below %.5g, that of each category's mean features: the model is far "
    "from trained; raise base.epochs, or lower base.batch_size for more steps"
)


def train_base(layout: Layout, seed: int, *, backbone: Backbone, base: Base, processes: int = 1) -> None:
    """Write `seed<k>/base.safetensors` and its loss curve; resumes from where an earlier call was stopped.

    Several `processes` share each batch, one on each GPU where there are any. `backbone`: of the features.
    """
    images = Images.read(layout, layout.features, "features")
    carry_out(Job.of(layout, seed, "base", base, images), processes, partial(_train, backbone))


def _train(backbone: Backbone, job: Job, group: Group) -> None:
    base: Base = job.settings
    images = Images.read(job.layout, job.layout.features, "features")
    _, channels, side, _ = images.stored.shape
    device = torch_device()
    torch.manual_seed(job.seed)
    model = Reconstructor(base, channels, side).to(device)

    def load(rows: NDArray) -> Tensor:
        return to_device(images.stored[rows]).float()

    def draw(batch: int) -> Tensor | None:
        return draw_jitter((batch, side * side, channels), base.jitter_probability, device)

    def loss(network: nn.Module, rows: NDArray, noise: Tensor | None, part: slice) -> Tensor:
        target = load(rows[part])
        reconstructed = network(target, None if noise is None else noise[part])
        return F.mse_loss(reconstructed, target)  # Eq. 1, the target without jitter

    def held_out_loss(network: nn.Module) -> float:
        total = 0.0
        for rows in chunks(images.held_out):
            batch = load(rows)
            total += F.mse_loss(network(batch), batch, reduction="sum").item()
        return total / (len(images.held_out) * batch[0].numel())

    task = Task(
        model=model,
        sampler=images.sampler(base, job.seed),
        paths=images.paths,
        draw=draw,
        loss=loss,
        held_out_loss=held_out_loss,
        images=base.images_seen(len(images.train)),
        compiled=compiles(base.compile),
    )
    trained, history = train(task, job, group)
    if group.rank == 0:
        untrained, reached = means_loss(images), history[-1]["val_loss"]
        history = [row | {"means_loss": untrained} for row in history]
        if reached >= untrained:
            log.warning(BARELY_TRAINED, reached, untrained)
        if base.memory:
            remember(trained, images, backbone, base, job.seed)
        finish(job, trained, history, {"channels": channels, "feature_size": side})


def means_loss(images: Images) -> float:
    """Eq. 1 on the held-out images for an answer that looks at none of them: their category's mean features.

    Those of its training images, or of all where it has none. `images.stored`: the features, (N, C, h, w).
    """
    total = 0.0
    for category in np.unique(images.categories[images.held_out]):
        own, held_out = (
            rows[images.categories[rows] == category] for rows in (images.train, images.held_out)
        )
        train = own if len(own) else images.train
        mean = sum(images.stored[rows].sum(0, dtype=np.float64) for rows in chunks(train)) / len(train)
        total += sum(float(((images.stored[rows] - mean) ** 2).sum()) for rows in chunks(held_out))
    return total / (len(images.held_out) * images.stored[0].size)


def remember(model: nn.Module, images: Images, backbone: Backbone, base: Base, seed: int) -> None:
    """Give a `Reconstructor` the memory bank that `base` asks for, of its stages of the backbone."""
    bank, chosen = memory_bank(images, base.memory, seed), None
    if base.memory_stages is not None:
        chosen = torch.tensor(channels_of(backbone, base.memory_stages), device=bank.device)
        bank = bank[:, chosen]
    model.register_buffer("memory", bank)
    model.register_buffer("remembered", chosen)


def memory_bank(images: Images, size: int, seed: int) -> Tensor:
    """Random features of the training images, (`size` or as many as there are, C) float16.

    `images.stored`: the features of all images, (N, C, h, w) float16.
    """
    tokens = images.stored.shape[2] * images.stored.shape[3]
    every = len(images.train) * tokens
    rng = np.random.default_rng(entropy_of(seed, "memory"))
    drawn = np.sort(rng.choice(every, min(size, every), replace=False))
    image, place = np.divmod(drawn, tokens)
    parts = [
        images.stored[row].reshape(-1, tokens).T[place[image == number]]
        for number, row in enumerate(images.train)
    ]
    return to_device(np.concatenate(parts))
