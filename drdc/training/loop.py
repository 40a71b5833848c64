"""The training loop: AdamW, schedule, moving average, held-out loss, and a state to resume from.

"Resume" is running the same command again. Batches, noise and dropout of a step follow from (seed, step), so
an interrupted run ends with the same weights as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from drdc.config import Optimisation
from drdc.errors import UserError
from drdc.files import save_state
from drdc.training.sampler import BatchSampler

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        model: the network, on its device.
        sampler: gives the row numbers of each batch.
        loss: row numbers -> training loss (scalar); draws its randomness from torch's global generator.
        held_out_loss: network -> loss on held-out normal images, with randomness fixed by its caller.
        images: training images to see in all.
        identity: everything that the result depends on; a state saved for another identity is not resumed.
        ema_decay: decay of the moving average of the weights; None for no average.
    """

    model: nn.Module
    sampler: BatchSampler
    loss: Callable[[Any], Tensor]
    held_out_loss: Callable[[nn.Module], float]
    images: int
    identity: dict[str, Any]
    ema_decay: float | None = None


@dataclass
class Progress:
    """Where a training stands: finished steps, rows of its loss curve, losses since the last of them."""

    step: int
    history: list[dict[str, float]]
    losses: list[float]


def train(
    task: Task, settings: Optimisation, *, seed: int, state: Path
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train, or go on from `state`.

    Returns:
        The trained network (its moving average where there is one) and the loss curve: for each validation
        `images` seen, mean `train_loss` since the one before, `val_loss` and `lr`.

    Raises:
        UserError: the loss is not finite, or the state cannot be written.
    """
    steps = math.ceil(task.images / settings.batch_size)
    optimizer = torch.optim.AdamW(
        task.model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    average = None if task.ema_decay is None else AveragedModel(task.model, avg_fn=_ema(task.ema_decay))
    parts = {"model": task.model, "optimizer": optimizer} | ({} if average is None else {"average": average})
    fingerprint = hashlib.sha256(json.dumps(task.identity, sort_keys=True).encode()).hexdigest()
    progress = _resume(state, fingerprint, parts)
    log.info("%d steps of %d images, from step %d", steps, settings.batch_size, progress.step)
    validate_at = {math.ceil(steps * (i + 1) / settings.validations) for i in range(settings.validations)}
    saved = time.monotonic()
    for step in tqdm(
        range(progress.step, steps), initial=progress.step, total=steps, disable=not sys.stderr.isatty()
    ):
        torch.manual_seed(step_seed(seed, step))
        progress.losses.append(_step(task, settings, optimizer, step, steps))
        if average is not None:
            average.update_parameters(task.model)
        progress.step = step + 1
        if progress.step in validate_at:
            model = average.module if average is not None else task.model
            _validate(task, model, progress, settings.batch_size, optimizer)
        if time.monotonic() - saved > 60 * settings.save_minutes:
            _save(state, fingerprint, parts, progress)
            saved = time.monotonic()
    return (average.module if average is not None else task.model), progress.history


def step_seed(seed: int, step: int) -> int:
    """A 63-bit seed for all randomness of one step."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}".encode()).digest()[:8], "big") >> 1


def learning_rate(settings: Optimisation, step: int, steps: int) -> float:
    """Learning rate of a step: linear warm-up, then constant, x0.1 after 80 % (UniAD), or a cosine."""
    done = (step + 0.5) / steps
    if done < settings.warmup:
        return settings.learning_rate * done / settings.warmup
    factor = 1.0
    if settings.schedule == "step":
        factor = 0.1 if done > 0.8 else 1.0
    elif settings.schedule == "cosine":
        factor = 0.5 * (1 + math.cos(math.pi * (done - settings.warmup) / (1 - settings.warmup)))
    return settings.learning_rate * factor


def _step(
    task: Task, settings: Optimisation, optimizer: torch.optim.Optimizer, step: int, steps: int
) -> float:
    task.model.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(settings, step, steps)
    rows = task.sampler.batch(step)
    loss = task.loss(rows)
    value = loss.item()
    if not math.isfinite(value):
        raise UserError(
            f"the loss is {value} at step {step + 1} (learning rate {optimizer.param_groups[0]['lr']:.3g}, "
            f"manifest rows {[int(r) for r in rows]}); lower learning_rate or set clip_norm, "
            "the last good state is kept"
        )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if settings.clip_norm is not None:
        nn.utils.clip_grad_norm_(task.model.parameters(), settings.clip_norm)
    optimizer.step()
    return value


def _ema(decay: float) -> Callable[[Tensor, Tensor, Any], Tensor]:
    """Exponential moving average whose decay grows with the number of averaged steps up to `decay`."""

    def average(mean: Tensor, value: Tensor, count: Any) -> Tensor:
        return mean.lerp(value, 1 - min(decay, (1 + float(count)) / (10 + float(count))))

    return average


def _validate(task: Task, model: nn.Module, progress: Progress, batch_size: int, optimizer: Any) -> None:
    model.eval()
    with torch.no_grad():
        row = {
            "images": progress.step * batch_size,
            "train_loss": sum(progress.losses) / len(progress.losses),
            "val_loss": task.held_out_loss(model),
            "lr": optimizer.param_groups[0]["lr"],
        }
    progress.history.append(row)
    progress.losses.clear()
    log.info("%(images)9d images  train %(train_loss).5f  held out %(val_loss).5f  lr %(lr).2e", row)


def _save(state: Path, fingerprint: str, parts: dict[str, Any], progress: Progress) -> None:
    content = {"fingerprint": fingerprint, **asdict(progress)}
    save_state(state, content | {name: part.state_dict() for name, part in parts.items()})


def _resume(state: Path, fingerprint: str, parts: dict[str, Any]) -> Progress:
    """Load the saved state if there is one of the same run; otherwise start from nothing."""
    if not state.exists():
        return Progress(0, [], [])
    try:
        content = torch.load(state, weights_only=True, map_location="cpu")
        own = content["fingerprint"] == fingerprint
        progress = Progress(content["step"], content["history"], content["losses"])
    except Exception as error:
        log.warning("%s is damaged (%s); training starts again", state, error)
        return Progress(0, [], [])
    if not own:
        log.info("%s belongs to other settings; training starts again", state)
        return Progress(0, [], [])
    for name, part in parts.items():
        part.load_state_dict(content[name])
    return progress
