"""Steps of the real networks of an experiment, measured on this machine on random data, or counted.

`drdc plan` and `drdc new-experiment` share them. A training is timed in the training loop itself.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.config.backbone import Backbone
from drdc.config.base import Base
from drdc.equations.diffusion import linear_schedule
from drdc.experiment.experiment import Experiment
from drdc.methods.drdc.diffusion import draw_randomness, noise_loss
from drdc.models.backbone import FeatureExtractor, channels_of
from drdc.models.denoiser import Denoiser
from drdc.models.inpainter import Inpainter
from drdc.models.reconstructor import Reconstructor, draw_jitter
from drdc.planning.operations import Recorder, Work, inference_work, training_work
from drdc.results.layout import Layout
from drdc.runtime.devices import compiles, torch_device
from drdc.training.distributed import Group
from drdc.training.job import Job
from drdc.training.loop import Task, train
from drdc.training.sampler import BatchSampler

#: Steps that are timed, after one that also allocates.
STEPS = 5
#: Seconds that the steps of one network may take; where a batch is too slow for that, a part of it is timed.
LIMIT = 20.0
#: Images that `drdc features` computes together.
FEATURE_BATCH = 8


@dataclass(frozen=True)
class Timed:
    """Seconds for a whole batch, and the images that were computed together to know."""

    seconds: float
    images: int


@dataclass(frozen=True)
class Training:
    """The training of a network on random data.

    Attributes:
        settings: of the training.
        network: settings -> the network.
        inputs: number of images -> arguments of its `forward`, on the CPU.
        draw: number of images -> the randomness of a batch.
        loss: network, a part of a batch of random data, the randomness of all of it, the part -> loss.
        ema_decay: see `drdc.training.loop.Task`.
    """

    settings: Any
    network: Callable[[Any], nn.Module]
    inputs: Callable[[int], tuple[Tensor, ...]]
    draw: Callable[[int], Any]
    loss: Callable[[nn.Module, Tensor, Any, slice], Tensor]
    ema_decay: float | None = None

    def work(self, images: int, precision: str | None = None) -> Work:
        """What a step of so many images, all of them at once, asks of a GPU.

        `precision`: bf16 or fp32, for another machine; None as on this one.
        """
        settings = self.settings.model_copy(update={"precision": precision} if precision else {})
        return training_work(lambda: as_on_gpu(self.network(settings)), lambda: self.inputs(images))

    def timed(self) -> Timed:
        """A step on this machine; a CPU may be too slow for a whole batch."""
        batch = self.settings.batch_size
        if torch_device() == "cuda":
            return Timed(self._seconds(batch, STEPS), batch)
        one = self._seconds(1, steps=1)
        images = part_within(batch, LIMIT / (STEPS + 1) / one)
        seconds = one if images == 1 else self._seconds(images, STEPS)
        return Timed(seconds * batch / images, images)

    def _seconds(self, images: int, steps: int) -> float:
        """The median of some steps of so many images, in the training loop itself."""
        moments: list[float] = []
        device = torch_device()
        network = self.network(self.settings).to(device).to(memory_format=torch.channels_last)
        data = self.inputs(images)[0].to(device)

        def draw(batch: int) -> Any:
            moments.append(_now())
            return self.draw(batch)

        def ended(_: nn.Module) -> float:
            moments.append(_now())
            return 0.0

        task = Task(
            model=network,
            sampler=BatchSampler(np.arange(images), np.full(images, ""), images, 0, balanced=False),
            paths=np.full(images, "random data"),
            draw=draw,
            loss=lambda model, _, drawn, part: self.loss(model, data[part], drawn, part),
            held_out_loss=ended,
            images=(steps + 1) * images,
            ema_decay=self.ema_decay,
            compiled=compiles(self.settings.compile),
        )
        parts = self.settings.accumulation if images == self.settings.batch_size else 1
        changes = {"batch_size": images, "accumulation": parts, "validations": 1}
        settings = self.settings.model_copy(update=changes)
        with TemporaryDirectory() as folder, _silent():
            train(task, Job(Layout(folder), 0, "timing", settings, ""), Group())
        return float(np.median(np.diff(moments)[1:]))


def as_on_gpu(network: nn.Module) -> nn.Module:
    """The network with torch's own group norms: fake tensors are those of a CPU, for which it has others."""
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            module.__class__ = nn.GroupNorm
    return network


def part_within(batch: int, images: float) -> int:
    """The largest divisor of a batch that is at most so many images, at least 1."""
    return max(part for part in range(1, batch + 1) if batch % part == 0 and part <= max(1, images))


def base_training(experiment: Experiment) -> Training:
    """The base model on random features; those of the backbone are computed once for all trainings."""
    settings, side = experiment.base, experiment.backbone.feature_size
    channels = feature_channels(experiment.backbone)

    def loss(network: nn.Module, features: Tensor, noise: Tensor | None, part: slice) -> Tensor:
        return F.mse_loss(network(features, None if noise is None else noise[part]), features)

    return Training(
        settings,
        lambda own: Reconstructor(own, channels, side),
        lambda images: (torch.ones(images, channels, side, side),),
        lambda images: draw_jitter(
            (images, side * side, channels), settings.jitter_probability, torch_device()
        ),
        loss,
    )


def diffusion_training(experiment: Experiment, conditional: bool = True) -> Training:
    """The diffusion model; without `conditional` the one of Table 5."""
    settings, size = experiment.diffusion, experiment.dataset.image_size
    if not conditional:
        settings = settings.model_copy(update={"model_conditioning": False})
    alpha_bar = linear_schedule(settings.timesteps, settings.beta_start, settings.beta_end)

    def loss(network: nn.Module, images: Tensor, drawn: Any, part: slice) -> Tensor:
        return noise_loss(network, images, drawn, alpha_bar.to(images.device), settings, part)

    return Training(
        settings,
        Denoiser,
        lambda images: _unet_inputs(images, size),
        lambda images: draw_randomness(images, size, settings, torch_device()),
        loss,
        settings.ema_decay,
    )


def call_seconds(experiment: Experiment) -> float:
    """One U-Net call of the reverse chain for one image on this machine, with all that belongs to it."""
    settings, size = experiment.diffusion, experiment.dataset.image_size
    alpha_bar = linear_schedule(settings.timesteps, settings.beta_start, settings.beta_end)
    device = torch_device()
    network = Denoiser(settings).to(device).eval()
    sampling = experiment.sampling.model_copy(update={"steps": 1})
    with torch.inference_mode():
        one = _median(lambda: network(*(given.to(device) for given in _unet_inputs(1, size))), 1)
        inpainter = Inpainter(network, alpha_bar.to(device), sampling)
        calls = LIMIT / (STEPS + 1) / one
        if calls < inpainter.calls:
            return one
        images = part_within(sampling.batch_size, calls / inpainter.calls)
        pixels, keys = torch.zeros(images, 3, size, size), [str(i) for i in range(images)]
        return _median(lambda: inpainter.reconstruct(pixels, keys, 0), STEPS) / (images * inpainter.calls)


def call_work(experiment: Experiment, precision: str) -> Work:
    """The operations of a U-Net call for as many images as the reverse chain computes together."""
    settings = experiment.diffusion.model_copy(update={"precision": precision})
    calls = call_batch(experiment)
    return inference_work(
        lambda: as_on_gpu(Denoiser(settings)), lambda: _unet_inputs(calls, experiment.dataset.image_size)
    )


def call_batch(experiment: Experiment) -> int:
    """Images × disjoint sets × grid sizes, which the reverse chain computes together."""
    sampling = experiment.sampling
    return sampling.batch_size * sampling.disjoint_sets * len(sampling.grid_sizes)


class BaseMaps(nn.Module):
    """All base heatmaps of images (Eq. 2) by an untrained base model, which has as much to do."""

    def __init__(self, base: Base, channels: int, side: int, chosen: list[int] | None, rows: int) -> None:
        """`chosen`: channels in the memory bank, None for all; `rows`: features in it, 0 for no bank."""
        super().__init__()
        self.model = Reconstructor(base, channels, side)
        if rows:
            remembered = channels if chosen is None else len(chosen)
            self.model.memory = torch.zeros(rows, remembered, dtype=torch.float16)
            self.model.remembered = None if chosen is None else torch.tensor(chosen)

    def forward(self, features: Tensor) -> list[dict[int, Tensor]]:
        """(B, C, h, w) -> heatmaps of each kind by scale."""
        return [self.model.errors(features, kind) for kind in self.model.settings.base_maps]


def base_maps(experiment: Experiment, train: int) -> tuple[Callable[[], nn.Module], Callable[[], Tensor]]:
    """What gives the network, for so many training images, and what gives the features of a batch."""
    base, side = experiment.base, experiment.backbone.feature_size
    channels, images = feature_channels(experiment.backbone), experiment.sampling.batch_size
    stages = base.memory_stages
    chosen = None if stages is None else channels_of(experiment.backbone, stages)
    rows = min(base.memory, train * side**2)
    build = partial(BaseMaps, base, channels, side, chosen, rows)
    return build, partial(torch.ones, images, channels, side, side)


def base_map_seconds(experiment: Experiment, train: int) -> float:
    """The base heatmaps of one image on this machine."""
    build, inputs = base_maps(experiment, train)
    network, features = build().to(torch_device()).eval(), inputs().to(torch_device())
    with torch.inference_mode():
        return _median(lambda: network(features), STEPS) / len(features)


def base_map_work(experiment: Experiment, train: int, precision: str) -> Work:
    """The operations of the base heatmaps of as many images as are predicted together."""
    base = experiment.base.model_copy(update={"precision": precision})
    build, inputs = base_maps(experiment.model_copy(update={"base": base}), train)
    return inference_work(build, lambda: (inputs(),))


def feature_seconds(backbone: Backbone) -> float:
    """The backbone's features of one image on this machine."""
    device = torch_device()
    network = FeatureExtractor(backbone, "random").to(device)
    images = _backbone_inputs(backbone).to(device)
    with torch.inference_mode():
        return _median(lambda: network(images), STEPS) / FEATURE_BATCH


def feature_work(backbone: Backbone) -> Work:
    """The operations of the backbone's features of `FEATURE_BATCH` images."""
    with torch.device("meta"):  # some of timm's networks read values while they are built
        network, images = FeatureExtractor(backbone, "random"), _backbone_inputs(backbone)
        with Recorder() as recorder, torch.no_grad():
            network(images)
    return Work(tuple(recorder.operations), recorder.peak)


def feature_channels(backbone: Backbone) -> int:
    """C of the backbone's features."""
    with torch.device("meta"):
        return FeatureExtractor(backbone, "random").channels


def scoring_seconds(size: int) -> float:
    """All metrics of one method on one image, every second with a defect."""
    from drdc.evaluation.category import CategoryEvaluation

    count, rng = 16, np.random.default_rng(0)
    bad = np.arange(count) % 2
    words = {
        "path": "image.png",
        "category": "",
        "split": "test",
        "defect_type": "",
        "group": "",
        "mask": "mask.png",
    }
    about = pd.DataFrame({"label": bad}).assign(**words)
    masks = np.zeros((count, size, size), dtype=bool)
    masks[bad == 1, : size // 8, : size // 8] = True
    maps, scores = rng.random((count, size, size), dtype=np.float32), rng.random(count, dtype=np.float32)

    def evaluate() -> None:
        evaluation = CategoryEvaluation("", ["drdc"], True, ["drdc"])
        evaluation.update(about, masks, {"drdc": maps}, {"drdc": scores})
        evaluation.metric_rows(), evaluation.curve_rows(), evaluation.defect_rows()

    return _median(evaluate, STEPS) / count


def start_seconds(*stages: str) -> float:
    """Seconds from the start of a job of one of these stages to its work."""
    imported = ", ".join(f"drdc.stages.{name}" for name in stages)
    command = [sys.executable, "-c", f"import {imported}"]
    return min(wall_seconds(lambda: subprocess.run(command, check=True)) for _ in range(2))


def _unet_inputs(images: int, size: int) -> tuple[Tensor, ...]:
    pixels = torch.zeros(images, size, size, 3).permute(0, 3, 1, 2)  # as decoded images
    return pixels, pixels, torch.ones(images, dtype=torch.long)


def _backbone_inputs(backbone: Backbone) -> Tensor:
    images = torch.zeros(FEATURE_BATCH, 3, backbone.input_size, backbone.input_size)
    return images.to(memory_format=torch.channels_last)


def _median(run: Callable[[], Any], times: int) -> float:
    """Seconds, after a first call that does not count."""
    run()
    return float(np.median([wall_seconds(run) for _ in range(times)]))


def wall_seconds(run: Callable[[], Any]) -> float:
    """Seconds of a call, until the device has finished."""
    started = _now()
    run()
    return _now() - started


def _now() -> float:
    """When the device has finished all its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """torch computes with so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _silent() -> Iterator[None]:
    """Without what the training loop logs of each training."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)
