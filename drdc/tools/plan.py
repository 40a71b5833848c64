"""`drdc plan`: what an experiment will take on this machine, or on a GPU that is not at hand, before anything runs.

Jobs are those that Snakemake plans. Hours come from a few measured steps of the experiment's networks, for
another GPU from counted operations and the rates of its data sheet; what can be neither measured nor counted is
listed as not estimated, and missing in the sums.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import drdc
from drdc.config.evaluation import Evaluation
from drdc.config.variants import FULL, Variant, calls, predicted_parts, stored, variants
from drdc.data.datasets import READERS, scan
from drdc.experiment import jobs
from drdc.experiment.experiment import Experiment, load_experiment
from drdc.experiment.stage_settings import method_facts
from drdc.results.heatmaps import stored_type
from drdc.results.predictions import record_type
from drdc.runtime.endings import say
from drdc.runtime.errors import UserError
from drdc.tools.hardware import GPUS, Efficiency, Gpu

if TYPE_CHECKING:
    from drdc.tools.rehearsal import Rehearsal
    from drdc.tools.timing import Training

NOT_ESTIMATED = "not estimated"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The experiment, and a GPU that is not at hand."""
    parser.add_argument(
        "--config", default="config/config.yaml", help="YAML file of an experiment (default: %(default)s)"
    )
    parser.add_argument("--gpu", choices=GPUS, help="estimate for this GPU instead of measuring here")
    parser.add_argument(
        "--efficiency",
        nargs=2,
        type=float,
        metavar=("COMPUTE", "BANDWIDTH"),
        help="shares of its peak rates that --gpu is assumed to reach (default: 0.5 0.8)",
    )


def run(config: str, gpu: str | None = None, efficiency: list[float] | None = None) -> None:
    """Print the plan.

    Raises:
        UserError: the configuration is wrong, or an option is.
    """
    if efficiency and gpu is None:
        raise UserError("--efficiency", "is an assumption about --gpu", "name one")
    if efficiency and not all(0 < share <= 1 for share in efficiency):
        raise UserError("--efficiency", f"invalid value {efficiency}", "give two shares above 0, at most 1")
    experiment = load_experiment(config)
    images = Images.of(experiment)
    counted = planned_jobs(Path(config))
    machine: Machine = Here(experiment, images)
    if gpu is not None:
        machine = Elsewhere(experiment, images, GPUS[gpu], Efficiency(*efficiency or ()))
    for line in report(experiment, images, counted, machine):
        say(line)


@dataclass(frozen=True)
class Images:
    """Numbers of images of an experiment.

    Attributes:
        train, held_out, test: of all categories.
        categories: how many there are.
        source: where the numbers are from.
    """

    train: int
    held_out: int
    test: int
    categories: int
    source: str

    @property
    def all(self) -> int:
        return self.train + self.held_out + self.test

    @property
    def predicted(self) -> int:
        return self.held_out + self.test

    @classmethod
    def of(cls, experiment: Experiment) -> Images:
        """Those in the dataset's folder, or where there is none, the published ones."""
        dataset = experiment.dataset
        reader = READERS[dataset.name]
        if dataset.name == "synthetic":
            own = dataset.synthetic
            each = [(own.train, own.test_good + own.test_bad)] * len(dataset.categories)
            return cls._split(each, dataset.holdout, "as configured")
        if dataset.root is None or not Path(dataset.root).is_dir():
            missing = [name for name in dataset.categories if name not in reader.counts]
            if missing:
                raise UserError(
                    str(dataset.root),
                    f"the dataset is not there, and the images of {missing[0]!r} are not known",
                    "put it there, or correct dataset.root",
                )
            numbers = (reader.counts[name] for name in dataset.categories)
            return cls._split(
                [(train, good + bad) for train, good, bad in numbers], dataset.holdout, "published"
            )
        samples, _ = scan(dataset.name, Path(dataset.root), dataset.categories, dataset.good)
        counts = Counter((sample.category, sample.split) for sample in samples)
        each = [(counts[name, "train"], counts[name, "test"]) for name in dataset.categories]
        return cls._split(each, dataset.holdout, f"in {dataset.root}")

    @classmethod
    def _split(cls, each: list[tuple[int, int]], holdout: float, source: str) -> Images:
        """As `drdc.data.samples.smallest_hashes` holds out of each category."""
        held = sum(min(max(1, round(holdout * train)), train - 1) for train, _ in each if train > 1)
        train = sum(train for train, _ in each) - held
        return cls(train, held, sum(test for _, test in each), len(each), source)


def planned_jobs(config: Path) -> dict[str, int]:
    """The jobs of the whole experiment by rule, as a dry run of the workflow in an empty folder counts them.

    Raises:
        UserError: Snakemake refuses the experiment.
    """
    snakefile = Path(drdc.__file__).parents[1] / "Snakefile"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--cores", "all"]
    command += ["--configfile", str(config), "--dry-run", "--forceall", "--nolock", "--quiet", "rules"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    found = re.findall(r"^(\w+) +(\d+)$", said.partition("Job stats:")[2], re.M)
    if done.returncode or not found:
        last = (said.strip().splitlines() or ["it says nothing"])[-1]
        raise UserError(config, f"Snakemake cannot plan it ({last})", "correct it")
    counts = {rule: int(number) for rule, number in found}
    return {rule: number for rule, number in counts.items() if rule not in ("all", "total")}


@dataclass(frozen=True)
class Estimate:
    """Seconds of a job or of what it repeats, None where they are not known; and how they were obtained."""

    seconds: float | None
    how: str


@dataclass(frozen=True)
class Row:
    """A line of the plan.

    Attributes:
        stage: the rule.
        what: what goes through it.
        jobs: how many.
        each: of a job.
        on_gpu: whether it computes on the GPU, if there is one.
    """

    stage: str
    what: str
    jobs: int
    each: Estimate
    on_gpu: bool = True

    @property
    def seconds(self) -> float:
        return self.jobs * (self.each.seconds or 0.0)


@dataclass(frozen=True)
class Machine:
    """What a plan asks of a machine; `Here` measures, `Elsewhere` counts."""

    experiment: Experiment
    images: Images

    @property
    def title(self) -> str:
        raise NotImplementedError

    @property
    def memory(self) -> float:
        """Bytes of the GPU, or of a machine without one."""
        raise NotImplementedError

    @property
    def start(self) -> float:
        """Seconds from the start of a job to its work."""
        raise NotImplementedError

    def step(self, training: Training) -> Estimate:
        """A training step."""
        raise NotImplementedError

    def call(self) -> Estimate:
        """A U-Net call for one image."""
        raise NotImplementedError

    def feature(self) -> Estimate:
        """The backbone's features of one image."""
        raise NotImplementedError

    def phases(self, rehearsal: Rehearsal) -> Estimate:
        """A method's whole training."""
        raise NotImplementedError

    def heatmap(self, rehearsal: Rehearsal) -> Estimate:
        """A method's prediction of one image."""
        raise NotImplementedError

    def scoring(self) -> Estimate:
        """The metrics of one image by one method."""
        raise NotImplementedError


@dataclass(frozen=True)
class Here(Machine):
    """This machine, with the threads that the workflow gives each job."""

    @cached_property
    def cores(self) -> int:
        return os.cpu_count() or 1

    @property
    def title(self) -> str:
        from drdc.runtime.devices import device_name, torch_device

        on_gpu = torch_device() == "cuda"
        return device_name() if on_gpu else f"{device_name()}, {self.cores} CPU cores"

    @property
    def memory(self) -> float:
        import torch

        if torch.cuda.is_available():
            return float(torch.cuda.mem_get_info()[1])
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))

    @cached_property
    def start(self) -> float:
        from drdc.tools.timing import start_seconds

        return start_seconds()

    def step(self, training: Training) -> Estimate:
        from drdc.tools.timing import STEPS

        with _threads(self._training_threads):
            timed = training.timed()
        batch = training.settings.batch_size
        part = "" if timed.images == batch else f", {timed.images} at a time"
        return Estimate(timed.seconds, f"measured: {STEPS} steps of {batch} images{part}")

    def call(self) -> Estimate:
        from drdc.tools.timing import call_seconds

        with _threads(1):
            return Estimate(call_seconds(self.experiment), "measured")

    def feature(self) -> Estimate:
        from drdc.tools.timing import feature_seconds

        with _threads(self.cores):
            return Estimate(feature_seconds(self.experiment.backbone), "measured")

    def phases(self, rehearsal: Rehearsal) -> Estimate:
        seconds = sum(phase.steps * phase.seconds for phase in rehearsal.phases)
        return Estimate(seconds, f"measured: steps of {_trainings(rehearsal)}")

    def heatmap(self, rehearsal: Rehearsal) -> Estimate:
        return Estimate(rehearsal.seconds, "measured")

    def scoring(self) -> Estimate:
        from drdc.tools.timing import scoring_seconds

        return Estimate(scoring_seconds(self.experiment.dataset.image_size), "measured")

    @property
    def _training_threads(self) -> int:
        every = jobs.trainings(self.experiment, self.experiment.evaluation)
        return jobs.share_of_cores(self.cores, len(every))


@dataclass(frozen=True)
class Elsewhere(Machine):
    """A GPU that is not at hand, by its data sheet."""

    gpu: Gpu = field(default=GPUS["h100"])
    efficiency: Efficiency = field(default=Efficiency())

    @property
    def title(self) -> str:
        return f"{self.gpu.title} (not measured)"

    @property
    def memory(self) -> float:
        return self.gpu.memory

    @property
    def start(self) -> float:
        return 0.0

    @property
    def precision(self) -> str:
        return "bf16" if self.gpu.bf16 else "fp32"

    def step(self, training: Training) -> Estimate:
        from drdc.tools.timing import with_precision

        batch = training.settings.batch_size
        work = with_precision(training, self.precision).work(batch)
        seconds = self.gpu.seconds(work, self.efficiency, compiled=True)
        share = work.flops / seconds / (self.gpu.half if self.gpu.bf16 else self.gpu.single)
        return Estimate(
            seconds,
            f"counted: {work.flops / 1e12:.3g} TFLOP, {work.bytes / 1e9:.3g} GB, "
            f"{len(work.operations):,} kernels a step; {share:.0%} of the peak",
        )

    def call(self) -> Estimate:
        from drdc.tools.timing import call_batch, call_work

        work, batch = call_work(self.experiment, self.precision), call_batch(self.experiment)
        seconds = self.gpu.seconds(work, self.efficiency) / batch
        return Estimate(seconds, f"counted: {work.flops / batch / 1e12:.3g} TFLOP a call")

    def feature(self) -> Estimate:
        from drdc.tools.timing import FEATURE_BATCH, feature_work

        work = feature_work(self.experiment.backbone)
        seconds = self.gpu.seconds(work, self.efficiency) / FEATURE_BATCH
        return Estimate(seconds, f"counted: {work.flops / FEATURE_BATCH / 1e9:.3g} GFLOP an image")

    def phases(self, rehearsal: Rehearsal) -> Estimate:
        steps = ((phase.steps, phase.work) for phase in rehearsal.phases)
        seconds = sum(number * self.gpu.seconds(work, self.efficiency) for number, work in steps)
        return Estimate(seconds, f"counted: steps of {_trainings(rehearsal)}")

    def heatmap(self, rehearsal: Rehearsal) -> Estimate:
        return Estimate(self.gpu.seconds(rehearsal.work, self.efficiency), "counted")

    def scoring(self) -> Estimate:
        return Estimate(None, "on the CPU of that machine")


def report(
    experiment: Experiment, images: Images, counted: dict[str, int], machine: Machine
) -> Iterator[str]:
    """The lines of the plan."""
    yield f"{experiment.experiment} on {machine.title}"
    yield (
        f"{images.train:,} training, {images.held_out:,} held-out and {images.test:,} test images of "
        f"{images.categories} categories ({images.source}); {len(experiment.seeds)} seeds"
    )
    yield ""
    rows = list(planned_rows(experiment, images, counted, machine))
    yield from table(rows)
    yield ""
    yield from sums(rows, machine)
    yield f"disk: {disk(experiment, images) / 1e9:.3g} GB of results, without models, states and the dataset"
    yield from memory_lines(experiment, machine)
    if isinstance(machine, Elsewhere):
        own = machine.efficiency
        yield (
            f"assumed (--efficiency): {own.compute:.0%} of the peak of {machine.gpu.half / 1e12:.4g} TFLOP/s in "
            f"bf16 and {machine.gpu.single / 1e12:.3g} in fp32, {own.bandwidth:.0%} of {machine.gpu.bandwidth / 1e12:.3g} "
            f"TB/s ({machine.gpu.source}); trainings of DRDC are compiled"
        )


def planned_rows(
    experiment: Experiment, images: Images, counted: dict[str, int], machine: Machine
) -> Iterator[Row]:
    """A row for each model and kind of prediction, and one for each other rule."""
    evaluation = experiment.evaluation if images.test else Evaluation()
    for rule in ("download", "weights", "prepare", "images"):
        if rule in counted:
            yield Row(rule, "", counted[rule], Estimate(None, "disk and network"), on_gpu=False)
    feature = machine.feature()
    yield Row("features", experiment.backbone.name, 1, _whole(machine, feature, images.all, "images"))
    yield from _training_rows(experiment, images, evaluation, machine)
    yield from _prediction_rows(experiment, images, evaluation, machine)
    yield from _scoring_rows(experiment, images, evaluation, machine)
    shown = {"features", "train", "predict", "score", "download", "weights", "prepare", "images"}
    rest = sum(number for rule, number in counted.items() if rule not in shown)
    yield Row("others", "costs, tables, figures, report", rest, Estimate(None, "seconds each"), on_gpu=False)


def _training_rows(
    experiment: Experiment, images: Images, evaluation: Evaluation, machine: Machine
) -> Iterator[Row]:
    for model, number in Counter(model for model, _ in jobs.trainings(experiment, evaluation)).items():
        if model not in experiment.methods:
            yield Row("train", model, number, _training(experiment, images, machine, model))
            continue
        try:
            rehearsal = _rehearsal(experiment, model, images.train)
        except UserError as error:
            yield Row("train", model, number, Estimate(None, error.problem))
            continue
        found = machine.phases(rehearsal)
        yield Row("train", model, number, Estimate((found.seconds or 0) + machine.start, found.how))


def _training(experiment: Experiment, images: Images, machine: Machine, model: str) -> Estimate:
    """Steps, and held-out losses, whose forward pass takes a third of a step."""
    training = training_of(experiment, model)
    settings = training.settings
    step = machine.step(training)
    seen = round(experiment.base.epochs * images.train) if model == "base" else experiment.diffusion.images
    steps = -(-seen // settings.batch_size)
    validations = settings.validations * images.held_out / settings.batch_size / 3
    seconds = (step.seconds or 0.0) * (steps + validations) + machine.start
    return Estimate(seconds, f"{steps:,} steps of {_duration(step.seconds)}; {step.how}")


def training_of(experiment: Experiment, model: str) -> Training:
    """One of the trainings of DRDC."""
    from drdc.tools.timing import base_training, diffusion_training

    if model == "base":
        return base_training(experiment)
    return diffusion_training(experiment, conditional=model == "diffusion")


def _prediction_rows(
    experiment: Experiment, images: Images, evaluation: Evaluation, machine: Machine
) -> Iterator[Row]:
    call = machine.call()
    every = jobs.predictions(experiment, evaluation)
    for name, number in Counter(name for name, _ in every).items():
        if name in experiment.methods:
            yield _method_prediction(experiment, images, machine, name, number)
            continue
        variant = next(v for (own, _), v in every.items() if own == name and v is not None)
        parts = len(predicted_parts(name, experiment.dataset.categories))
        unet_calls = calls(variant.sampling, variant.sampling.grid_sizes)
        seconds = (call.seconds or 0.0) * unet_calls * images.predicted / parts + machine.start
        how = f"{unet_calls} U-Net calls an image of {_duration(call.seconds)}; {call.how}"
        yield Row("predict", name, number * parts, Estimate(seconds, how))


def _method_prediction(
    experiment: Experiment, images: Images, machine: Machine, name: str, number: int
) -> Row:
    parts = len(predicted_parts(name, experiment.dataset.categories))
    try:
        found = machine.heatmap(_rehearsal(experiment, name, images.train))
    except UserError as error:
        return Row("predict", name, number * parts, Estimate(None, error.problem))
    seconds = (found.seconds or 0.0) * images.predicted / parts + machine.start
    return Row("predict", name, number * parts, Estimate(seconds, found.how))


def _scoring_rows(
    experiment: Experiment, images: Images, evaluation: Evaluation, machine: Machine
) -> Iterator[Row]:
    every = jobs.scored_runs(experiment, evaluation)
    if not images.test:
        return
    found = machine.scoring()
    seconds = None if found.seconds is None else found.seconds * images.test + machine.start
    yield Row("score", "", len(every), Estimate(seconds, found.how), on_gpu=False)


@cache
def _rehearsal_of(text: str, name: str, training_images: int) -> Rehearsal:
    from drdc.tools.rehearsal import rehearse

    return rehearse(Experiment.model_validate_json(text), name, training_images)


def _rehearsal(experiment: Experiment, name: str, training_images: int) -> Rehearsal:
    """Computed once for training and prediction."""
    return _rehearsal_of(experiment.model_dump_json(), name, training_images)


def _trainings(rehearsal: Rehearsal) -> str:
    number = len(rehearsal.phases)
    return "no training" if not number else f"{number} training{'s' if number > 1 else ''}"


def _whole(machine: Machine, one: Estimate, number: int, what: str) -> Estimate:
    seconds = None if one.seconds is None else one.seconds * number + machine.start
    return Estimate(seconds, f"{number:,} {what} of {_duration(one.seconds)}; {one.how}")


def table(rows: list[Row]) -> Iterator[str]:
    """Aligned columns: stage, what, jobs, time of each and of all, how it was obtained."""
    cells = [("stage", "of", "jobs", "each", "all", "how")]
    for row in rows:
        known = row.each.seconds is not None
        times = (_duration(row.each.seconds), _duration(row.seconds)) if known else ("-", "-")
        how = row.each.how if known else f"{NOT_ESTIMATED}: {row.each.how}"
        cells.append((row.stage, row.what, f"{row.jobs:,}", *times, how))
    widths = [max(len(line[i]) for line in cells) for i in range(5)]
    for line in cells:
        left = [line[i].ljust(widths[i]) for i in (0, 1)]
        right = [line[i].rjust(widths[i]) for i in (2, 3, 4)]
        yield "  ".join([*left, *right, line[5]])


def sums(rows: list[Row], machine: Machine) -> Iterator[str]:
    """Jobs and hours of all rows."""
    total = sum(row.jobs for row in rows)
    gpu = isinstance(machine, Elsewhere) or _has_gpu()
    own = sum(row.seconds for row in rows if row.on_gpu or not gpu)
    unit = "one GPU" if gpu else f"{os.cpu_count()} cores, a thread each"
    wall = own if gpu else own / (os.cpu_count() or 1)
    yield f"sum: {total:,} jobs; {_duration(own)} of {'GPU' if gpu else 'one core'}, at least {_duration(wall)} on {unit}"


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def disk(experiment: Experiment, images: Images) -> float:
    """Bytes of all arrays: images at each size, masks, features and predictions."""
    from drdc.tools.timing import backbone_network

    size, side = experiment.dataset.image_size, experiment.backbone.feature_size
    channels = sum(backbone_network(experiment.backbone).feature_info.channels())
    sizes = {size, experiment.backbone.input_size}
    sizes |= {method_facts(experiment, name).input_size for name in experiment.methods}
    total = images.all * (sum(3 * own**2 for own in sizes) + size**2 + 2 * channels * side**2)
    evaluation = experiment.evaluation if images.test else Evaluation()
    every = variants(experiment.sampling, experiment.fusion, evaluation)
    for (name, _), variant in jobs.predictions(experiment, evaluation).items():
        total += images.predicted * _record_bytes(every, name, variant, size, side)
    return total


def _record_bytes(every: dict[str, Variant], name: str, variant: Variant | None, size: int, side: int) -> int:
    if variant is None:
        return stored_type(size).itemsize
    detailed = stored(every, name).detailed or name == FULL
    return record_type(size, side, variant.sampling.grid_sizes if detailed else None).itemsize


def memory_lines(experiment: Experiment, machine: Machine) -> Iterator[str]:
    """What each training of DRDC needs, and the accumulation with which it fits."""
    from drdc.tools.memory import fitting, needed

    precision = machine.precision if isinstance(machine, Elsewhere) else None
    for model in ("base", "diffusion"):
        training = training_of(experiment, model)
        batch = training.settings.batch_size
        need = needed(training, batch, precision)
        line = f"memory: training {model} with {batch} images at once: {need / 1e9:.3g} GB (counted) of {machine.memory / 1e9:.3g}"
        part = fitting(training, machine.memory, precision)
        if part is None:
            line += "; not even one image fits"
        elif part < batch:
            line += f"; set {model}.accumulation: {batch // part}"
        yield line


def _duration(seconds: float | None) -> str:
    """12 ms, 3.4 s, 45 s, 12 min, 3.2 h."""
    if seconds is None:
        return "-"
    for limit, divisor, unit in ((1, 1e-3, "ms"), (100, 1, "s"), (6000, 60, "min")):
        if seconds < limit:
            return (
                f"{seconds / divisor:.2g} {unit}"
                if seconds / divisor < 10
                else f"{seconds / divisor:.0f} {unit}"
            )
    return f"{seconds / 3600:,.1f} h"


class _threads:
    """torch computes with so many threads inside."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __enter__(self) -> None:
        import torch

        self.before = torch.get_num_threads()
        torch.set_num_threads(self.number)

    def __exit__(self, *_: object) -> None:
        import torch

        torch.set_num_threads(self.before)
