"""Fitting a method: its images, and the one resumable training loop for each of its phases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from drdc.methods.inputs import Inputs
from drdc.methods.settings import TrainedSettings
from drdc.runtime.errors import UserError
from drdc.runtime.identity import seed_of
from drdc.training.distributed import Group
from drdc.training.job import Job
from drdc.training.loop import Task, train
from drdc.training.state import History, Progress, State

#: Images (B, 3, H, W) in [-1, 1] and features (B, C, h, w).
Pair = tuple[Tensor, Tensor]
#: (network, images, features) -> scalar.
Loss = Callable[[Any, Tensor, Tensor], Tensor]


class MethodJob(Job):
    """The fitting of a method; `kind` is `<name>`, for a phase of it `<name>.<phase>`."""

    @property
    def section(self) -> str:
        return f"methods.{self.kind.partition('.')[0]}"


class Trainer:
    """Everything that a method needs to be fitted.

    Args:
        job: the fitting as a whole.
        inputs: images and features.
    """

    def __init__(self, job: MethodJob, inputs: Inputs) -> None:
        self.job, self.inputs = job, inputs

    def batches(self) -> Iterator[Pair]:
        """All training images once, in the order of the manifest: (images, features) of each batch."""
        return self._pairs(self.inputs.images.train, self.job.settings.batch_size)

    def held_out(self) -> Iterator[Pair]:
        """All held-out normal images once."""
        return self._pairs(self.inputs.images.held_out, self.job.settings.batch_size)

    def _pairs(self, rows: NDArray[Any], size: int) -> Iterator[Pair]:
        return ((batch.images, batch.features) for batch in self.inputs.batches(rows, size))

    def descend(
        self,
        network: nn.Module,
        loss: Loss,
        phase: str = "training",
        settings: TrainedSettings | None = None,
        rates: Mapping[str, float] | None = None,
    ) -> History:
        """Minimise `loss(network, images, features)`; an interrupted phase resumes, a finished one is not run
        again.

        Args:
            network: all its parameters that are not frozen are trained, in place.
            loss: a function of a class, like `type(self).loss`, or any other of these arguments.
            phase: names the phase's states, distinct for each phase of a method.
            settings: of this phase; by default those of the method.
            rates: factors of the learning rate for parts of the network, by their names in it.

        Returns:
            The loss curve; see `drdc.training.loop.train`.

        Raises:
            UserError: as `drdc.training.loop.train`.
        """
        own = settings or self.job.settings
        job = replace(self.job, kind=f"{self.job.kind}.{phase}", settings=own)
        done = State(job.layout.state(job.seed, f"{job.kind}.done"), job.fingerprint)
        job.state.refuse_if_stopped()
        before = done.resume({"network": network})
        if before.step:
            return before.history
        _, history = train(replace(self._task(network, loss, own), rates=rates or {}), job, Group())
        done.save({"network": network}, Progress(1, history, []))
        return history

    def _task(self, network: nn.Module, loss: Loss, settings: TrainedSettings) -> Task:
        images, seed = self.inputs.images, self.job.seed

        def batch_loss(model: nn.Module, rows: NDArray[Any], _drawn: None, part: slice) -> Tensor:
            batch = self.inputs.batch(rows[part])
            found = loss(model, batch.images, batch.features)
            if found.shape != ():
                raise UserError(
                    self.job.section, f"its loss has the shape {tuple(found.shape)}", "return a scalar"
                )
            return found

        def held_out_loss(model: nn.Module) -> float:
            torch.manual_seed(seed_of(seed, -1))  # the same noise at each validation
            batches = self._pairs(images.held_out, settings.batch_size)
            losses = [len(batch[0]) * loss(model, *batch).item() for batch in batches]
            return sum(losses) / len(images.held_out)

        return Task(
            model=network,
            sampler=images.sampler(settings, seed),
            paths=images.paths,
            draw=lambda _: None,
            loss=batch_loss,
            held_out_loss=held_out_loss,
            images=round(settings.epochs * len(images.train)),
        )
