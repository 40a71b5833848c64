"""The machines that a plan is for: this one, which is measured, and a GPU by its data sheet, which is not."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from drdc.experiment import jobs
from drdc.experiment.experiment import Experiment
from drdc.planning.hardware import LAUNCH_SECONDS, Efficiency, Gpu

if TYPE_CHECKING:
    from drdc.planning.rehearsal import Rehearsal
    from drdc.planning.timing import Training


@dataclass(frozen=True)
class Estimate:
    """Seconds of a job or of what it repeats, None where they are not known; and how they were obtained.

    Attributes:
        threads: with which it computes on the CPU, a core each.
    """

    seconds: float | None
    how: str
    threads: int = 1

    def repeated(self, times: float, words: str, start: float) -> Estimate:
        """So many times what this is of, after the `start` of a job."""
        if self.seconds is None:
            return self
        return replace(self, seconds=self.seconds * times + start, how=f"{words}; {self.how}")


class Machine(Protocol):
    """What a plan asks of a machine for an experiment.

    Attributes:
        title: its name.
        workers: GPUs, or cores of a machine without one.
        memory: bytes of a GPU, or of a machine without one.
        precision: in which it computes; None for this machine's.
        start: seconds from the start of a job that trains or predicts to its work.
        scoring_start: the same of a job that scores, which needs no torch.
        training_threads: of a training on the CPU.
    """

    @property
    def title(self) -> str: ...
    @property
    def on_gpu(self) -> bool: ...
    @property
    def workers(self) -> int: ...
    @property
    def memory(self) -> float: ...
    @property
    def precision(self) -> str | None: ...
    @property
    def start(self) -> float: ...
    @property
    def scoring_start(self) -> float: ...
    @property
    def training_threads(self) -> int: ...

    def step(self, training: Training) -> Estimate:
        """A training step."""

    def call(self) -> Estimate:
        """A U-Net call for one image."""

    def base_maps(self, train: int) -> Estimate:
        """The base heatmaps of one image; so many training images fill its memory bank."""

    def feature(self) -> Estimate:
        """The backbone's features of one image."""

    def phases(self, rehearsal: Rehearsal) -> Estimate:
        """A method's whole training."""

    def heatmap(self, rehearsal: Rehearsal) -> Estimate:
        """A method's prediction of one image."""

    def scoring(self) -> Estimate:
        """The metrics of one image by one method."""


@dataclass(frozen=True)
class Here:
    """This machine, with the threads that the workflow gives each job."""

    experiment: Experiment
    precision = None

    @cached_property
    def on_gpu(self) -> bool:
        from drdc.runtime.devices import torch_device

        return torch_device() == "cuda"

    @property
    def cores(self) -> int:
        return os.cpu_count() or 1

    @property
    def workers(self) -> int:
        return 1 if self.on_gpu else self.cores

    @property
    def title(self) -> str:
        from drdc.runtime.devices import device_name

        return device_name() if self.on_gpu else f"{device_name()}, {self.cores} CPU cores"

    @property
    def memory(self) -> float:
        import torch

        from drdc.runtime.devices import total_memory

        return float(torch.cuda.mem_get_info()[1] if self.on_gpu else total_memory())

    @cached_property
    def start(self) -> float:
        from drdc.planning.timing import start_seconds

        return start_seconds("train", "predict")

    @cached_property
    def scoring_start(self) -> float:
        from drdc.planning.timing import start_seconds

        return start_seconds("score")

    def step(self, training: Training) -> Estimate:
        from drdc.planning.timing import STEPS, computing_with

        with computing_with(self.training_threads):
            timed = training.timed()
        batch = training.settings.batch_size
        part = "" if timed.images == batch else f", {timed.images} at a time"
        how = f"measured: {STEPS} steps of {batch} images{part}"
        return Estimate(timed.seconds, how, self.training_threads)

    def call(self) -> Estimate:
        from drdc.planning.timing import call_seconds, computing_with

        with computing_with(1):
            return Estimate(call_seconds(self.experiment), "measured")

    def base_maps(self, train: int) -> Estimate:
        from drdc.planning.timing import base_map_seconds, computing_with

        with computing_with(1):
            return Estimate(base_map_seconds(self.experiment, train), "measured")

    def feature(self) -> Estimate:
        from drdc.planning.timing import computing_with, feature_seconds

        with computing_with(self.cores):
            return Estimate(feature_seconds(self.experiment.backbone), "measured", self.cores)

    def phases(self, rehearsal: Rehearsal) -> Estimate:
        seconds = sum(phase.steps * phase.seconds for phase in rehearsal.phases)
        return Estimate(seconds, "measured: its own `fit`", self.training_threads)

    def heatmap(self, rehearsal: Rehearsal) -> Estimate:
        return Estimate(rehearsal.seconds, "measured")

    def scoring(self) -> Estimate:
        from drdc.planning.timing import scoring_seconds

        return Estimate(scoring_seconds(self.experiment.dataset.image_size), "measured")

    @property
    def training_threads(self) -> int:
        every = jobs.trainings(self.experiment, self.experiment.evaluation)
        return jobs.share_of_cores(self.cores, len(every))


@dataclass(frozen=True)
class Elsewhere:
    """A GPU that is not at hand, by its data sheet."""

    experiment: Experiment
    gpu: Gpu
    efficiency: Efficiency
    on_gpu = True
    workers = training_threads = 1
    start = scoring_start = 0.0

    @property
    def title(self) -> str:
        return f"{self.gpu.title} (not measured)"

    @property
    def memory(self) -> float:
        return self.gpu.memory

    @property
    def precision(self) -> str:
        return "bf16" if self.gpu.bf16 else "fp32"

    @property
    def assumptions(self) -> str:
        """On what its times rest."""
        gpu, own = self.gpu, self.efficiency
        return (
            f"assumed: {own.compute:.0%} of {gpu.half / 1e12:.3g} TFLOP/s (bf16), {gpu.single / 1e12:.3g} "
            f"(fp32), {own.bandwidth:.0%} of {gpu.bandwidth / 1e12:.3g} TB/s ({gpu.source}; --efficiency), "
            f"{LAUNCH_SECONDS * 1e6:g} µs a kernel, trainings of DRDC compiled, no time to start a job"
        )

    def step(self, training: Training) -> Estimate:
        batch = training.settings.batch_size
        work = training.work(batch, self.precision)
        seconds = self.gpu.seconds(work, self.efficiency, compiled=True)
        share = work.flops / seconds / (self.gpu.half if self.gpu.bf16 else self.gpu.single)
        return Estimate(
            seconds,
            f"counted: {work.flops / 1e12:.3g} TFLOP, {work.bytes / 1e9:.3g} GB, "
            f"{len(work.operations):,} kernels, {share:.0%} of the peak",
        )

    def call(self) -> Estimate:
        from drdc.planning.timing import call_batch, call_work

        work, batch = call_work(self.experiment, self.precision), call_batch(self.experiment)
        seconds = self.gpu.seconds(work, self.efficiency) / batch
        return Estimate(seconds, f"counted: {work.flops / batch / 1e12:.3g} TFLOP")

    def base_maps(self, train: int) -> Estimate:
        from drdc.planning.timing import base_map_work

        work = base_map_work(self.experiment, train, self.precision)
        seconds = self.gpu.seconds(work, self.efficiency) / self.experiment.sampling.batch_size
        return Estimate(seconds, f"counted: {work.flops / 1e9:.3g} GFLOP")

    def feature(self) -> Estimate:
        from drdc.planning.timing import FEATURE_BATCH, feature_work

        work = feature_work(self.experiment.backbone)
        seconds = self.gpu.seconds(work, self.efficiency) / FEATURE_BATCH
        return Estimate(seconds, f"counted: {work.flops / FEATURE_BATCH / 1e9:.3g} GFLOP")

    def phases(self, rehearsal: Rehearsal) -> Estimate:
        steps = ((phase.steps, phase.work) for phase in rehearsal.phases)
        seconds = sum(number * self.gpu.seconds(work, self.efficiency) for number, work in steps)
        return Estimate(seconds, "counted in its own `fit`")

    def heatmap(self, rehearsal: Rehearsal) -> Estimate:
        return Estimate(self.gpu.seconds(rehearsal.work, self.efficiency), "counted")

    def scoring(self) -> Estimate:
        return Estimate(None, "on the CPU of that machine")
