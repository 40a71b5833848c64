"""A training step of the base model at the paper's size next to UniAD in plain torch (`benchmarks.uniad`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import partial
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F

from drdc.config.backbone import Backbone
from drdc.config.base import Base
from drdc.methods.drdc import base as training
from drdc.results.layout import Layout
from drdc.runtime.devices import torch_device

from ..handed import steps_of
from ..harness import Contestant, Race, Size
from ..plain import in_bf16, plain
from ..stored import write_array, write_manifest
from ..uniad import UniAD

CHANNELS, SIDE, STEPS, IMAGES = 272, 14, 2, 64


def races(size: Size) -> Iterator[Race]:
    side = 4 if size.tiny else SIDE
    base = Base(validations=1, encoder_layers=1, decoder_layers=1) if size.tiny else Base(validations=1)
    features = np.random.default_rng(0).standard_normal((IMAGES + 1, CHANNELS, side, side)).astype(np.float16)
    with TemporaryDirectory() as folder, chdir(folder):
        layout = Layout("benchmark")
        write_manifest(layout, ["one"], size=16 * side, train=IMAGES, val=1)
        write_array(layout, layout.features, features)
        start = partial(training.train_base, layout, backbone=Backbone())
        undropped = base.model_copy(update={"attention_dropout": 0.0})
        yield Race(
            what=f"{base.batch_size} feature maps of {CHANNELS} × {side} × {side}",
            unit="step",
            contestants=[
                Contestant(
                    "drdc",
                    steps_of(training, partial(start, 0, base=base), STEPS),
                    note=in_bf16(base.precision),
                ),
                Contestant(
                    "drdc, attention's weights without dropout",
                    steps_of(training, partial(start, 1, base=undropped), STEPS),
                    note="not the paper's",
                ),
                Contestant("UniAD in plain torch", plain(uniad_steps(base, side)), wanted="ratio ≥ 1.5"),
            ],
            units=STEPS,
        )


def uniad_steps(settings: Base, side: int) -> Callable[[], None]:
    """`STEPS` steps of UniAD's recipe: AdamW, mean squared error, gradients clipped to 0.1."""
    device = torch_device()
    torch.manual_seed(0)
    model = UniAD(CHANNELS, side, layers=settings.encoder_layers).to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    features = torch.randn(IMAGES, CHANNELS, side, side, device=device)

    def run() -> None:
        for _ in range(STEPS):
            batch = features[torch.randperm(IMAGES)[: settings.batch_size]]
            loss = F.mse_loss(model(batch), batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()

    return run
