"""What fitting a method of the configuration takes: its own `fit`, on random images, a few steps a phase."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from drdc.config.backbone import Backbone, Network
from drdc.config.entry import own_settings
from drdc.experiment.experiment import Experiment
from drdc.experiment.stage_settings import method_facts
from drdc.methods.inputs import Inputs, Shapes
from drdc.methods.registry import method_class
from drdc.methods.settings import TrainedSettings
from drdc.methods.trainer import Loss, MethodJob, Pair, Trainer
from drdc.planning.operations import Recorder, Work
from drdc.planning.timing import computing_with, feature_channels, part_within, wall_seconds
from drdc.results.layout import Layout
from drdc.runtime.devices import torch_device
from drdc.runtime.errors import UserError, first_line
from drdc.training.job import Images
from drdc.training.state import History

#: Images that a rehearsal computes together at first; the operations of a batch are a multiple of theirs.
FEW = 2
#: Seconds that a step of a whole batch may take; of a longer one a part is timed.
LONGEST = 5.0


@dataclass(frozen=True)
class Phase:
    """One of the trainings of a method.

    Attributes:
        steps: of the whole phase.
        batch: images of a step.
        seconds: of a step of the batch, on this machine.
        work: of a step of the batch.
    """

    steps: int
    batch: int
    seconds: float
    work: Work


@dataclass(frozen=True)
class Rehearsal:
    """The phases of a method's fitting, and a prediction of one image."""

    phases: list[Phase]
    seconds: float
    work: Work


class RehearsalTrainer(Trainer):
    """Takes two steps for each training, and gives a few random images in place of all others."""

    def __init__(self, job: MethodJob, inputs: Inputs, pair: Pair) -> None:
        super().__init__(job, inputs)
        self.pair, self.phases = pair, list[Phase]()

    def batches(self) -> Iterator[Pair]:
        return iter([self.pair])

    held_out = batches

    def descend(
        self,
        network: nn.Module,
        loss: Loss,
        phase: str = "training",
        settings: TrainedSettings | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> History:
        own = settings or self.job.settings
        network.train()
        parameters = [p for p in network.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, lr=0.0)

        def step(images: int = FEW) -> None:
            optimizer.zero_grad(set_to_none=True)
            loss(network, *(repeated(given, images) for given in self.pair)).backward()
            optimizer.step()

        batch = own.batch_size
        seconds, work = _observed(step)
        images = part_within(batch, LONGEST / seconds * FEW)
        if images != FEW:
            step(images)
            seconds = wall_seconds(partial(step, images)) * FEW / images
        steps = math.ceil(own.epochs * len(self.inputs.images.train) / batch)
        self.phases.append(Phase(steps, batch, seconds * batch / FEW, work.scaled(batch / FEW)))
        network.eval()
        return []


def rehearse(experiment: Experiment, name: str, training_images: int, threads: int = 1) -> Rehearsal:
    """Fit the method `name` to a few random images, and predict with one thread, as the workflow does.

    Its backbones have random weights, on which no time depends.

    Args:
        training_images: of the experiment.
        threads: that fit on a CPU.

    Raises:
        UserError: it cannot be rehearsed; says why.
    """
    entry = experiment.methods[name]
    kind = method_class(entry["method"])
    given = own_settings(entry)
    if kind.imported:
        raise UserError("", "its heatmaps were made elsewhere", "")
    if given.get("model") and kind.__module__.startswith("drdc.methods.anomalib"):
        raise UserError("", "a model of anomalib brings a training of its own", "")
    facts = method_facts(experiment, name)
    with TemporaryDirectory() as folder:
        settings = _without_hub(kind.Settings.model_validate(given), Path(folder))
        pair, shapes = _random_pair(experiment, facts.input_size, facts.uses_features)
        images = Images(np.empty(0), *(np.full(training_images, ""),) * 2, *(np.arange(training_images),) * 2)
        job = MethodJob(Layout(folder), 0, name, settings, "")
        trainer = RehearsalTrainer(job, Inputs(images, None, images.paths), pair)
        try:
            method = kind(settings, shapes).to(torch_device()).eval()
            with computing_with(threads):
                method.fit(trainer)
            method.eval()
            with torch.no_grad(), computing_with(1):
                seconds, work = _observed(lambda: method.heatmaps_and_scores(*pair))
        except UserError as error:
            raise UserError("", error.problem, "") from error
        except Exception as error:  # of a method that needs more than random images
            raise UserError("", f"cannot be rehearsed ({first_line(error)})", "") from error
    return Rehearsal(trainer.phases, seconds / FEW, work.scaled(1 / FEW))


def repeated(given: Tensor, images: int) -> Tensor:
    """As many images, (B, ...) -> (images, ...)."""
    return given.repeat(math.ceil(images / len(given)), *(1,) * (given.dim() - 1))[:images]


def _observed(step: Any) -> tuple[float, Work]:
    """Seconds and operations of a step, which runs three times: the first does not count."""
    step()
    seconds = wall_seconds(step)
    with Recorder() as recorder:
        step()
    return seconds, Work(tuple(recorder.operations), recorder.peak)


def _random_pair(experiment: Experiment, size: int, uses_features: bool) -> tuple[Pair, Shapes]:
    images = torch.rand(FEW, 3, size, size, device=torch_device()) * 2 - 1
    if not uses_features:
        return (images, images.new_zeros(FEW, 0)), Shapes(size, 0, 1)
    backbone = experiment.backbone
    channels, side = feature_channels(backbone), backbone.feature_size
    features: Tensor = torch.rand(FEW, channels, side, side, device=torch_device())
    return (images, features), Shapes(size, channels, side)


def _without_hub(settings: Any, folder: Path) -> Any:
    """The settings with a file of random weights in place of each backbone of the hub."""
    changed = {name: _local(value, folder) for name, value in settings if isinstance(value, Network)}
    return settings.model_copy(update=changed)


def _local(network: Any, folder: Path) -> Any:
    """A backbone, or one of its networks, with files of random weights."""
    own: dict[str, Any] = {}
    if network.weights == "hub":
        own["weights"] = str(_random_weights(network.name, folder))
    if isinstance(network, Backbone):
        own["others"] = [_local(other, folder) for other in network.others]
    return network.model_copy(update=own)


def _random_weights(name: str, folder: Path) -> Path:
    import timm

    path = folder / f"{name}.safetensors"
    if not path.exists():
        save_file(timm.create_model(name, pretrained=False).state_dict(), path)
    return path
