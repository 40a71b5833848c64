"""The training loop: optimiser, schedule, moving average, held-out loss, and a state to resume from.

"Resume" is running the same command again. Batches, noise and dropout of a step follow from (seed, step), so
an interrupted run ends with the same weights as an uninterrupted one, as far as the device computes the same
twice (`drdc.runtime.devices.torch_device`).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from drdc.config.optimisation import Optimisation
from drdc.runtime.batching import progress_bar
from drdc.runtime.errors import UserError
from drdc.runtime.identity import seed_of
from drdc.training.distributed import Group
from drdc.training.job import Job
from drdc.training.sampler import BatchSampler
from drdc.training.state import History, Progress

log = logging.getLogger(__name__)

#: Steps between two looks at losses and gradients, for which a GPU has to finish all that it was given.
LOOK_EVERY = {"cpu": 1, "cuda": 50}


@dataclass(frozen=True)
class Task:
    """A network to train, and how.

    Attributes:
        model: the network, on its device.
        sampler: gives the row numbers of each batch.
        paths: of all images, by row number, for messages.
        draw: number of images in a batch -> its randomness except dropout, from torch's global generator.
        loss: network, row numbers of a batch, its randomness, the part of it to compute -> training loss
            (scalar); the mean over equal parts is the loss of the batch.
        held_out_loss: network -> loss on held-out normal images, with randomness fixed by its caller.
        images: total number of training images to see.
        ema_decay: decay of the moving average of the weights; None for no average.
        rates: factors of the learning rate for parts of the model, by their names in it; 1 for the others.
        compiled: whether torch compiles the network.
    """

    model: nn.Module
    sampler: BatchSampler
    paths: NDArray[Any]
    draw: Callable[[int], Any]
    loss: Callable[[nn.Module, NDArray[Any], Any, slice], Tensor]
    held_out_loss: Callable[[nn.Module], float]
    images: int
    ema_decay: float | None = None
    rates: Mapping[str, float] = field(default_factory=dict)
    compiled: bool = False


def train(task: Task, job: Job, group: Group) -> tuple[nn.Module, History]:
    """Train, or resume from the last saved state.

    Returns:
        The trained network (its moving average where there is one) and the loss curve: for each validation
        `images` seen, mean `train_loss` since the one before, `val_loss` and `lr`.

    Raises:
        UserError: the number of images is 0, a batch cannot be divided, loss or gradient are NaN or infinite,
            or the state cannot be written.
    """
    if task.images < 1:
        raise UserError(f"{job.section}.epochs", "amounts to less than one training image", "raise it")
    share, parts = job.settings.batch_size // group.count, job.settings.accumulation
    if share % parts:
        wrong = f"{share} images of a process cannot be divided by {parts}"
        raise UserError(f"{job.section}.accumulation", wrong, "choose a number that divides them")
    return _Training(task, job, group).run()


@dataclass(frozen=True)
class _Step:
    """A step whose numbers, scalars on the device, have not been looked at.

    Attributes:
        number: from 0.
        rate: learning rate.
        rows: row numbers of its batch.
        loss, norm: loss of the batch, and norm of its gradient.
    """

    number: int
    rate: float
    rows: NDArray[Any]
    loss: Tensor
    norm: Tensor


class _Training:
    """One call of `train`."""

    def __init__(self, task: Task, job: Job, group: Group) -> None:
        self.task, self.job, self.group = task, job, group
        self.settings: Optimisation = job.settings
        self.steps = math.ceil(task.images / self.settings.batch_size)
        self.optimizer = optimizer(self.settings, parameter_groups(task.model, task.rates))
        self.average = None if task.ema_decay is None else deepcopy(task.model)
        self.result = task.model if self.average is None else self.average
        self.parts = {"model": task.model, "optimizer": self.optimizer}
        self.parts |= {} if self.average is None else {"average": self.average}
        device = next(task.model.parameters()).device.type
        if task.compiled:
            task.model.compile()
        self.network = group.wrap(task.model)
        self.progress = self._resume()
        self.saved = (self.progress.step, time.monotonic())
        self.look_every, self.unseen = LOOK_EVERY[device], list[_Step]()

    def run(self) -> tuple[nn.Module, History]:
        self._announce()
        validations = self.settings.validations
        validate_at = {math.ceil(self.steps * (i + 1) / validations) for i in range(validations)}
        first, left = self.progress.step, range(self.progress.step, self.steps)
        shown = progress_bar(left, first, self.settings.batch_size) if self.group.rank == 0 else left
        for step in shown:
            looked = step % self.look_every == 0 or step + 1 in validate_at
            save = looked and self._is_save_due()
            before = [buffer.clone() for buffer in self._buffers()] if save else None
            self.unseen.append(self._backward(step))
            if looked:
                self._look()
            if before is not None:
                self._save(before)
            self.optimizer.step()
            if self.average is not None:
                self._update(self.average)
            self.progress.step = step + 1
            if self.progress.step in validate_at:
                self._validate()
        return self.result, self.progress.history

    @torch.no_grad()
    def _update(self, average: nn.Module) -> None:
        """Exponential moving average whose decay grows with the number of steps up to `ema_decay`.

        Without torch's `AveragedModel`, whose count of the steps makes a CPU wait for its GPU in each one.
        """
        assert self.task.ema_decay is not None
        done = self.progress.step
        decay = min(self.task.ema_decay, (1 + done) / (10 + done)) if done else 0.0
        means, values = (list(network.parameters()) for network in (average, self.task.model))
        get_ema_multi_avg_fn(decay)(means, values, done)
        for mean, value in zip(average.buffers(), self._buffers(), strict=True):
            mean.copy_(value)

    def _resume(self) -> Progress:
        """The first process sets unusable states aside; the others read what remains."""
        progress = self.job.state.resume(self.parts) if self.group.rank == 0 else None
        self.group.wait()
        return progress or self.job.state.resume(self.parts)

    def _announce(self) -> None:
        size, count = self.settings.batch_size, self.group.count
        log.info(
            "%d steps of %d images (%s), learning rate %g, from step %d",
            self.steps,
            size,
            "one process" if count == 1 else f"{count} processes with {size // count} each",
            self.settings.learning_rate,
            self.progress.step,
        )

    def _backward(self, step: int) -> _Step:
        """Compute the gradient of one step."""
        task, seed = self.task, self.job.seed
        self.network.train()
        rate = learning_rate(self.settings, step, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * rate
        torch.manual_seed(seed_of(seed, step))
        rows = task.sampler.batch(step)
        drawn = task.draw(len(rows))
        if self.group.count > 1:  # dropout, which each process draws for its own part
            torch.manual_seed(seed_of(seed, step, self.group.rank))
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        parts = self.group.parts(len(rows), self.settings.accumulation)
        for number, part in enumerate(parts, start=1):
            with self.group.last(self.network, number == len(parts)):
                loss = task.loss(self.network, rows, drawn, part) / len(parts)
                loss.backward()
            losses.append(loss.detach())
        limit = math.inf if self.settings.clip_norm is None else self.settings.clip_norm
        norm = nn.utils.clip_grad_norm_(task.model.parameters(), limit)
        return _Step(step, rate, rows, self.group.mean(torch.stack(losses).sum()), norm)

    def _look(self) -> None:
        """Note the losses since the last look, and stop for good at NaN or infinity."""
        steps, self.unseen = self.unseen, []
        numbers = torch.stack([number for step in steps for number in (step.loss, step.norm)]).tolist()
        for step, loss, norm in zip(steps, numbers[::2], numbers[1::2], strict=True):
            images = self.task.paths[step.rows]
            self._check("loss", loss, step.number, step.rate, images)
            self._check("norm of the gradient", norm, step.number, step.rate, images)
            self.progress.losses.append(loss)

    def _check(self, name: str, value: float, step: int, rate: float, images: Iterable[str]) -> None:
        """Raise UserError at NaN or infinity: the same settings would only lead there again."""
        if math.isfinite(value):
            return
        section, state = self.job.section, self.job.state
        error = UserError(
            "",
            f"the {name} is {value} at step {step + 1} of {self.steps} "
            f"(learning rate {rate:.3g}, images {', '.join(images)})",
            f"change {section}.learning_rate or {section}.clip_norm, "
            f"or delete {state.stopped} to resume from the last good state",
        )
        if self.group.rank == 0:
            state.stop(error)
        self.group.wait()
        raise error

    def _is_save_due(self) -> bool:
        """A state is saved every `save_images` images and at least every `save_minutes` minutes."""
        step, moment = self.saved
        images = (self.progress.step - step) * self.settings.batch_size
        minutes = (time.monotonic() - moment) / 60
        enough = self.settings.save_images is not None and images >= self.settings.save_images
        return bool(self.group.rank == 0 and images and (enough or minutes > self.settings.save_minutes))

    def _save(self, before: list[Tensor]) -> None:
        """Save the state in which the step began, its gradient known to be finite but not yet used.

        The network has just given finite numbers, so that a training that diverges has a good state to return
        to. `before` are the buffers as they were then: the step, which runs again after a resumption, has
        moved those of batch norms.
        """
        after = [buffer.clone() for buffer in self._buffers()]
        self._set_buffers(before)
        self.job.state.save(self.parts, replace(self.progress, losses=self.progress.losses[:-1]))
        self.job.spend()
        self._set_buffers(after)
        self.saved = (self.progress.step, time.monotonic())

    def _buffers(self) -> list[Tensor]:
        return list(self.task.model.buffers())

    def _set_buffers(self, values: list[Tensor]) -> None:
        for buffer, value in zip(self._buffers(), values, strict=True):
            buffer.copy_(value)

    def _validate(self) -> None:
        self.result.eval()
        self.optimizer.zero_grad(set_to_none=True)  # memory for the held-out images
        with torch.no_grad():
            held_out_loss = self.task.held_out_loss(self.result)
            rate = self.optimizer.param_groups[0]["lr"]
            self._check("held-out loss", held_out_loss, self.progress.step - 1, rate, ["held out"])
            row = {
                "images": self.progress.step * self.settings.batch_size,
                "train_loss": sum(self.progress.losses) / len(self.progress.losses),
                "val_loss": held_out_loss,
                "lr": rate,
            }
        self.progress.history.append(row)
        self.progress.losses.clear()
        log.info("%(images)9d images  train %(train_loss).5f  held out %(val_loss).5f  lr %(lr).2e", row)


def parameter_groups(model: nn.Module, rates: Mapping[str, float]) -> list[dict[str, Any]]:
    """The parameters that are trained, in groups with the same `factor` of the learning rate, see `Task`."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(rates.get(name.partition(".")[0], 1.0), []).append(parameter)
    return [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]


def optimizer(settings: Optimisation, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """The optimiser that the settings name.

    Raises:
        UserError: the package that has it is not installed.
    """
    shared: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, fused=True, momentum=settings.betas[0], **shared)
    shared["betas"] = settings.betas
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, fused=True, **shared)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=True, **shared)
    try:
        from anomalib.models.image.dinomaly.components import StableAdamW
    except ImportError:
        raise UserError(
            "optimizer",
            "stable_adamw needs the package 'anomalib', which is not installed",
            "run `pip install -e '.[baselines]'`",
        ) from None
    return StableAdamW(groups, amsgrad=True, **shared)


def learning_rate(settings: Optimisation, step: int, steps: int) -> float:
    """Learning rate of a step: linear warm-up, then the schedule."""
    done = (step + 0.5) / steps
    if done < settings.warmup:
        return settings.learning_rate * done / settings.warmup
    after = (done - settings.warmup) / (1 - settings.warmup)
    factor = 1.0
    if settings.schedule == "step":
        factor = settings.decay ** sum(done > milestone for milestone in settings.milestones)
    elif settings.schedule == "exponential":
        factor = settings.decay**after
    elif settings.schedule == "cosine":
        factor = settings.floor + (1 - settings.floor) * 0.5 * (1 + math.cos(math.pi * after))
    return settings.learning_rate * factor
