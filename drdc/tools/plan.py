"""`drdc plan`: what an experiment takes on this machine, or on another GPU, before anything runs.

Jobs are those that Snakemake plans. Hours come from a few measured steps of the experiment's networks, for
another GPU from counted operations and the rates of its data sheet. What is neither measured nor counted is
listed as not estimated, and missing in the sums.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from drdc.config.evaluation import Evaluation
from drdc.config.variants import CONTROLS, FULL, ORACLES, Variant, calls, predicted_parts, stored, variants
from drdc.experiment import jobs
from drdc.experiment.experiment import Experiment, load_experiment
from drdc.experiment.stage_settings import method_facts
from drdc.results.heatmaps import stored_type
from drdc.results.predictions import record_type
from drdc.runtime.endings import say, tell
from drdc.runtime.errors import UserError
from drdc.runtime.project import SNAKEFILE
from drdc.tools.hardware import GPUS, Efficiency
from drdc.tools.image_counts import ImageCounts
from drdc.tools.machines import Elsewhere, Estimate, Here, Machine

if TYPE_CHECKING:
    from drdc.tools.rehearsal import Rehearsal
    from drdc.tools.timing import Training

#: Heatmaps that are scored of DRDC itself (base, diffusion, DRDC) and of the controls; of all others one.
SCORED_MAPS = {FULL: 3, CONTROLS: 1 + len(ORACLES)}


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
    images = ImageCounts.of(experiment)
    counted = planned_jobs(Path(config))
    machine: Machine = Here(experiment)
    if gpu is not None:
        machine = Elsewhere(experiment, GPUS[gpu], Efficiency(*efficiency or ()))
    for line in report(experiment, images, counted, machine):
        say(line)


def planned_jobs(config: Path) -> dict[str, int]:
    """The jobs of the whole experiment by rule, whatever is finished of it: Snakemake's dry run counts them.

    Raises:
        UserError: Snakemake refuses the experiment.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--cores", "all"]
    command += ["--configfile", str(config), "--dry-run", "--forceall", "--nolock", "--quiet", "rules"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    found = re.findall(r"^(\w+) +(\d+)$", said.partition("Job stats:")[2].partition("total ")[0], re.M)
    if done.returncode or not found:
        last = (said.strip().splitlines() or ["it says nothing"])[-1]
        raise UserError(config, f"Snakemake cannot plan it ({last.removeprefix('drdc: ')})", "")
    return {rule: int(number) for rule, number in found if rule != "all"}


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


def report(
    experiment: Experiment, images: ImageCounts, counted: dict[str, int], machine: Machine
) -> Iterator[str]:
    """The lines of the plan."""
    yield f"{experiment.experiment} on {machine.title}"
    yield (
        f"{images.train:,} training, {images.held_out:,} held-out and {images.test:,} test images of "
        f"{images.categories} categories ({images.source}); seeds: {len(experiment.seeds)}"
    )
    yield ""
    rows = list(_told(planned_rows(experiment, images, counted, machine)))
    yield from table(rows)
    yield ""
    yield total(rows, machine)
    yield f"disk: {disk(experiment, images) / 1e9:.3g} GB of results, without models, states and dataset"
    for model in ("base", "diffusion"):
        yield memory(experiment, machine, model)
    if isinstance(machine, Elsewhere):
        yield machine.assumptions


def _told(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows, each told as soon as it is known: measuring all of them takes minutes."""
    for row in rows:
        if row.each.seconds is not None:
            tell(f"{row.stage} {row.what}".strip() + f": {duration(row.each.seconds)} each")
        yield row


def planned_rows(
    experiment: Experiment, images: ImageCounts, counted: dict[str, int], machine: Machine
) -> Iterator[Row]:
    """A row for each model and kind of prediction, and one for each other rule."""
    evaluation = experiment.evaluation if images.test else Evaluation()
    for rule in ("download", "weights", "prepare", "images"):
        if rule in counted:
            yield Row(rule, "", counted[rule], Estimate(None, "depends on disk and network"), on_gpu=False)
    yield Row("features", experiment.backbone.title, 1, _features(images, machine))
    rehearse = partial(_rehearsal, experiment, images, {})
    for model, number in _numbers(model for model, _ in jobs.trainings(experiment, evaluation)):
        of_method = model in experiment.methods
        found = (
            _fitting(machine, rehearse(model)) if of_method else _training(experiment, images, machine, model)
        )
        yield Row("train", model, number, found)
    yield from _predictions(experiment, images, evaluation, machine, rehearse)
    if images.test:
        yield _scoring(experiment, images, evaluation, machine)
    shown = {"download", "weights", "prepare", "images", "features", "train", "predict", "score"}
    rest = sum(number for rule, number in counted.items() if rule not in shown)
    yield Row("others", "costs, tables, figures, report", rest, Estimate(None, "seconds each"), on_gpu=False)


def _numbers(names: Iterable[str]) -> Iterable[tuple[str, int]]:
    return Counter(names).items()


def _features(images: ImageCounts, machine: Machine) -> Estimate:
    one = machine.feature()
    return one.repeated(images.all, f"{images.all:,} images of {duration(one.seconds)}", machine.start)


def _training(experiment: Experiment, images: ImageCounts, machine: Machine, model: str) -> Estimate:
    """Steps, and held-out losses, whose forward pass takes a third of a step."""
    training = training_of(experiment, model)
    settings, step = training.settings, machine.step(training)
    seen = experiment.base.images_seen(images.train) if model == "base" else experiment.diffusion.images
    steps = -(-round(seen) // settings.batch_size)
    validations = settings.validations * images.held_out / settings.batch_size / 3
    words = f"{steps:,} steps of {duration(step.seconds)}"
    return step.repeated(steps + validations, words, machine.start)


def training_of(experiment: Experiment, model: str) -> Training:
    """One of the trainings of DRDC."""
    from drdc.tools.timing import base_training, diffusion_training

    if model == "base":
        return base_training(experiment)
    return diffusion_training(experiment, conditional=model == "diffusion")


def _rehearsal(
    experiment: Experiment, images: ImageCounts, known: dict[str, Rehearsal | UserError], name: str
) -> Rehearsal | UserError:
    """Of a method, or why there is none; rehearsed once for training and prediction."""
    from drdc.tools.rehearsal import rehearse

    if name not in known:
        try:
            known[name] = rehearse(experiment, name, images.train)
        except UserError as error:
            known[name] = error
    return known[name]


def _fitting(machine: Machine, rehearsal: Rehearsal | UserError) -> Estimate:
    if isinstance(rehearsal, UserError):
        return Estimate(None, rehearsal.problem)
    steps = ", ".join(f"{phase.steps:,}" for phase in rehearsal.phases)
    return machine.phases(rehearsal).repeated(1, f"{steps} steps" if steps else "no steps", machine.start)


def _predictions(
    experiment: Experiment,
    images: ImageCounts,
    evaluation: Evaluation,
    machine: Machine,
    rehearse: partial[Rehearsal | UserError],
) -> Iterator[Row]:
    call = machine.call()
    every = jobs.predictions(experiment, evaluation)
    for name, number in _numbers(name for name, _ in every):
        parts = len(predicted_parts(name, experiment.dataset.categories))
        variant = next(v for (own, _), v in every.items() if own == name)
        if variant is None:
            found = _heatmaps(machine, rehearse(name), images.predicted / parts)
        else:
            each = calls(variant.sampling, variant.sampling.grid_sizes)
            words = f"{each} U-Net calls an image of {duration(call.seconds)}"
            found = call.repeated(each * images.predicted / parts, words, machine.start)
        yield Row("predict", name, number * parts, found)


def _heatmaps(machine: Machine, rehearsal: Rehearsal | UserError, images: float) -> Estimate:
    if isinstance(rehearsal, UserError):
        return Estimate(None, rehearsal.problem)
    one = machine.heatmap(rehearsal)
    return one.repeated(images, f"{images:,.0f} images of {duration(one.seconds)}", machine.start)


def _scoring(experiment: Experiment, images: ImageCounts, evaluation: Evaluation, machine: Machine) -> Row:
    every = [name for name, _ in jobs.scored_runs(experiment, evaluation)]
    maps = sum(SCORED_MAPS.get(name, 1) for name in every) / len(every)
    one = machine.scoring()
    words = f"{maps:.2g} × {images.test:,} heatmaps of {duration(one.seconds)}"
    return Row("score", "", len(every), one.repeated(maps * images.test, words, machine.start), on_gpu=False)


def table(rows: list[Row]) -> Iterator[str]:
    """Aligned columns: stage, what, jobs, time of each and of all, how it was obtained."""
    cells = [("stage", "of", "jobs", "each", "all", "how")]
    for row in rows:
        known = row.each.seconds is not None
        times = (duration(row.each.seconds), duration(row.seconds if known else None))
        how = row.each.how if known else f"not estimated: {row.each.how}"
        cells.append((row.stage, row.what, f"{row.jobs:,}", *times, how))
    widths = [max(len(line[i]) for line in cells) for i in range(5)]
    for line in cells:
        left = [line[i].ljust(widths[i]) for i in (0, 1)]
        right = [line[i].rjust(widths[i]) for i in (2, 3, 4)]
        yield "  ".join([*left, *right, line[5]])


def total(rows: list[Row], machine: Machine) -> str:
    """Jobs and time of all rows: of the GPU, or of the cores of a machine without one."""
    number = sum(row.jobs for row in rows)
    own = sum(row.seconds for row in rows if row.on_gpu or not machine.on_gpu)
    if machine.on_gpu:
        return f"sum: {number:,} jobs, {duration(own)} of one GPU"
    least = duration(own / machine.workers)
    return f"sum: {number:,} jobs, {duration(own)} of one core, at least {least} on {machine.workers} cores"


def disk(experiment: Experiment, images: ImageCounts) -> float:
    """Bytes of all arrays: images at each size, masks, features and predictions."""
    from drdc.tools.timing import feature_channels

    size, side = experiment.dataset.image_size, experiment.backbone.feature_size
    channels = feature_channels(experiment.backbone)
    sizes = {size, experiment.backbone.input_size}
    sizes |= {method_facts(experiment, name).input_size for name in experiment.methods}
    found = images.all * (sum(3 * own**2 for own in sizes) + size**2 + 2 * channels * side**2)
    evaluation = experiment.evaluation if images.test else Evaluation()
    every = variants(experiment.sampling, experiment.fusion, evaluation)
    for (name, _), variant in jobs.predictions(experiment, evaluation).items():
        detailed = variant is not None and stored(every, name).detailed
        found += images.predicted * _record_bytes(experiment, variant, detailed)
    return found


def _record_bytes(experiment: Experiment, variant: Variant | None, detailed: bool) -> int:
    size = experiment.dataset.image_size
    if variant is None:
        return stored_type(size).itemsize
    grid_sizes = variant.sampling.grid_sizes if detailed else None
    return record_type(size, experiment.backbone.feature_size, grid_sizes, experiment.base.base_maps).itemsize


def memory(experiment: Experiment, machine: Machine, model: str) -> str:
    """What a training of DRDC needs at once, and the accumulation with which it fits."""
    from drdc.tools.memory import fitting

    training = training_of(experiment, model)
    batch, parts = training.settings.batch_size, training.settings.accumulation
    needed = training.work(batch // parts, machine.precision).memory
    line = (
        f"memory: training {model} with {batch // parts} images at once: {needed / 1e9:.3g} GB (counted) "
        f"of {machine.memory / 1e9:.3g}"
    )
    fits = fitting(training, machine.memory, machine.precision)
    if not fits:
        return f"{line}; not even one image fits"
    return line if fits >= batch // parts else f"{line}; set {model}.accumulation: {batch // fits}"


def duration(seconds: float | None) -> str:
    """12 ms, 3.4 s, 45 s, 12 min, 3.2 h; - for an unknown one."""
    if seconds is None:
        return "-"
    for limit, divisor, unit in ((1, 1e-3, "ms"), (100, 1, "s"), (6000, 60, "min")):
        if seconds < limit:
            number = seconds / divisor
            return f"{number:.2g} {unit}" if number < 10 else f"{number:.0f} {unit}"
    return f"{seconds / 3600:,.1f} h"
