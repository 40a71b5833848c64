"""features -> base model: feature reconstruction (Eq. 1)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from drdc.config import Base
from drdc.data.manifest import read_manifest
from drdc.devices import torch_device
from drdc.files import load_array
from drdc.layout import Layout
from drdc.models.reconstructor import Reconstructor
from drdc.predictions import chunks
from drdc.training.finish import finish, split_rows
from drdc.training.loop import Task, train
from drdc.training.sampler import BatchSampler


def train_base(layout: Layout, seed: int, *, base: Base) -> None:
    """Write `seed<k>/base.safetensors` and its loss curve; goes on where an earlier call was stopped."""
    table = read_manifest(layout.manifest)
    stored = load_array(layout.features, len(table), "features")
    device = torch_device()
    torch.manual_seed(seed)
    model = Reconstructor(base, stored.shape[1], stored.shape[2]).to(device)
    train_rows, held_out = split_rows(table, "train"), split_rows(table, "val")

    def load(rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(stored[rows]).to(device).float()

    def loss(rows: NDArray[np.int64]) -> Tensor:
        target = load(rows)
        return F.mse_loss(model(target), target)  # Eq. 1, the target without jitter

    def held_out_loss(network: nn.Module) -> float:
        batches = [load(rows) for rows in chunks(held_out)]
        errors = [F.mse_loss(network(batch), batch, reduction="sum").item() for batch in batches]
        return sum(errors) / (len(held_out) * batches[0][0].numel())

    task = Task(
        model=model,
        sampler=BatchSampler(
            train_rows, table.category.to_numpy()[train_rows], base.batch_size, seed, base.balanced
        ),
        loss=loss,
        held_out_loss=held_out_loss,
        images=round(base.epochs * len(train_rows)),
        identity={
            "base": base.model_dump(),
            "seed": seed,
            "images": table.sha256.tolist(),
            "shape": stored.shape,
        },
    )
    trained, history = train(task, base, seed=seed, state=layout.state(seed, "base"))
    metadata = {"base": base.model_dump(), "channels": stored.shape[1], "feature_size": stored.shape[2]}
    finish(layout, seed, "base", trained, history, metadata)
