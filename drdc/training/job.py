"""The part of a training around its loop: nothing is computed twice, and results are written once."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from drdc.config.optimisation import Optimisation
from drdc.data.manifest import read_manifest
from drdc.results.benchmarks import note_training
from drdc.results.layout import Layout
from drdc.results.scores import write_table
from drdc.runtime.batching import chunks
from drdc.runtime.digests import verify
from drdc.runtime.errors import UserError, enough_memory
from drdc.runtime.files import exclusive, load_array, load_metadata, save_weights
from drdc.runtime.identity import fingerprint_of
from drdc.training.distributed import Group, launch
from drdc.training.sampler import BatchSampler
from drdc.training.state import History, State

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One training, as each of its processes gets it.

    Attributes:
        layout: of its files.
        seed: number of the run.
        kind: base, diffusion, unconditional, or the name of another method.
        settings: its section of the configuration.
        fingerprint: of everything that the result depends on, see `drdc.runtime.identity.fingerprint_of`.
        began: when this call began with it, in seconds since 1970.
    """

    layout: Layout
    seed: int
    kind: str
    settings: Any
    fingerprint: str
    began: float = field(default_factory=time.time)

    @classmethod
    def of(cls, layout: Layout, seed: int, kind: str, settings: Optimisation, images: Images) -> Job:
        """The training of a model of this kind on these images."""
        identity = {"kind": kind, "seed": seed, "images": images.digest(), "settings": _used(settings)}
        return cls(layout, seed, kind, settings, fingerprint_of(identity))

    @property
    def section(self) -> str:
        """Name of the settings in the configuration."""
        return type(self.settings).__name__.lower()

    @property
    def state(self) -> State:
        return State(self.layout.state(self.seed, self.kind), self.fingerprint)

    def spend(self) -> float:
        """Note the seconds that this call has taken so far; returns those of all calls, and all phases."""
        whole = self.layout.state(self.seed, self.kind.partition(".")[0])
        return State(whole, self.fingerprint).spend(self.began)


def carry_out(job: Job, processes: int, worker: Callable[[Job, Group], None]) -> None:
    """Train in that many processes, unless the trained weights exist.

    Raises:
        UserError: the batch cannot be divided, the same training was stopped before, or as `train`.
    """
    size = job.settings.batch_size
    if size % processes:
        raise UserError(
            f"{job.section}.batch_size",
            f"{size} images cannot be divided among {processes} processes",
            f"choose a multiple of {processes}, or another number of processes",
        )
    state = job.state
    with exclusive(state.path):
        if _is_finished(job):
            log.info("%s is finished already; delete it to train again", job.layout.model(job.seed, job.kind))
            state.clear()  # killed before it could
            return
        state.refuse_if_stopped()
        launch(processes, partial(_work, job, worker))


def _work(job: Job, worker: Callable[[Job, Group], None], group: Group) -> None:
    with enough_memory(f"{job.section}.batch_size", f"{job.section}.accumulation"):
        worker(job, group)


def _is_finished(job: Job) -> bool:
    weights, losses = job.layout.model(job.seed, job.kind), job.layout.losses(job.seed, job.kind)
    if not (weights.exists() and losses.exists()):
        return False
    try:
        verify(losses, "train")
        return load_metadata(weights).get("fingerprint") == job.fingerprint
    except UserError:  # damaged
        return False


def finish(job: Job, model: nn.Module, history: History, shape: dict[str, int]) -> None:
    """Write its time, the loss curve and the weights, then remove the saved states.

    The header of the weights has the settings, the sizes in `shape` that the network was built with, the
    seed and the fingerprint.

    Raises:
        UserError: a weight is NaN or infinite, or the disk is full.
    """
    _refuse_infinite(job, model)
    note_training(job.layout, job.seed, job.kind, job.spend())
    write_table(job.layout.losses(job.seed, job.kind), pd.DataFrame(history).astype({"images": int}))
    metadata = {job.section: _used(job.settings), "seed": job.seed, "fingerprint": job.fingerprint} | shape
    save_weights(job.layout.model(job.seed, job.kind), model.state_dict(), metadata)
    job.state.clear()


def _refuse_infinite(job: Job, model: nn.Module) -> None:
    """The last step has changed the weights after the last check of the loss."""
    wrong = [name for name, weight in model.named_parameters() if not weight.isfinite().all()]
    if wrong:
        error = UserError(
            "",
            f"{wrong[0]} of the trained model is NaN or infinite",
            f"change {job.section}.learning_rate or {job.section}.clip_norm",
        )
        job.state.stop(error)
        raise error


def _used(settings: Optimisation) -> dict[str, Any]:
    """The settings that the result depends on."""
    return settings.model_dump(
        mode="json", exclude={"accumulation", "compile", "save_images", "save_minutes"}
    )


@dataclass(frozen=True)
class Images:
    """The images that a training sees: an array of an earlier stage, and their facts in the manifest.

    Attributes:
        stored: (N, ...), rows as in the manifest.
        paths, categories: (N,).
        train, held_out: row numbers of both parts.
    """

    stored: NDArray[Any]
    paths: NDArray[np.str_]
    categories: NDArray[np.str_]
    train: NDArray[np.int64]
    held_out: NDArray[np.int64]

    @classmethod
    def read(cls, layout: Layout, array: Path, stage: str) -> Images:
        """Raises UserError where the array of `stage` is missing or damaged, or a part has no image."""
        table = read_manifest(layout.manifest)
        return cls(
            stored=load_array(array, len(table), stage),
            paths=table.path.to_numpy(),
            categories=table.category.to_numpy(),
            train=_rows(table, "train"),
            held_out=_rows(table, "val"),
        )

    def sampler(self, settings: Optimisation, seed: int) -> BatchSampler:
        """Batches of the training images."""
        return BatchSampler(
            self.train, self.categories[self.train], settings.batch_size, seed, settings.balanced
        )

    def digest(self) -> str:
        """SHA-256 of everything that a training sees: both parts in their order, and the categories."""
        kind = [self.categories[self.train].tolist(), len(self.held_out), str(self.stored.dtype)]
        digest = hashlib.sha256(json.dumps([*kind, self.stored.shape[1:]]).encode())
        for rows in chunks(np.concatenate([self.train, self.held_out])):
            digest.update(self.stored[rows].tobytes())
        return digest.hexdigest()


def _rows(table: pd.DataFrame, split: str) -> NDArray[np.int64]:
    rows = np.flatnonzero(table.split == split)
    if not len(rows):
        raise UserError("dataset.holdout", f"no image is in the split {split!r}", "add images or change it")
    return rows
