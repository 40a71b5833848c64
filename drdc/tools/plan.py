"""`drdc plan`: what an experiment takes on this machine, or on another GPU, before anything runs.

Jobs are those that Snakemake plans. Hours come from a few measured steps of the experiment's networks, for
another GPU from counted operations and the rates of its data sheet. What is neither measured nor counted is
listed as not estimated, and missing in the sums. Of a study all its experiments are planned; their networks
are the same and are measured once.
"""

from __future__ import annotations

import argparse
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from drdc.config.evaluation import Evaluation
from drdc.config.variants import CONTROLS, FULL, ORACLES, Variant, calls, predicted_parts, stored, variants
from drdc.experiment import jobs
from drdc.experiment.experiment import Experiment, load_experiment
from drdc.experiment.points import points
from drdc.experiment.stage_settings import imported_methods, method_facts
from drdc.planning.hardware import GPUS, Efficiency
from drdc.planning.image_counts import ImageCounts
from drdc.planning.machines import Elsewhere, Estimate, Here, Machine
from drdc.results.heatmaps import stored_type
from drdc.results.layout import Layout
from drdc.results.predictions import record_type
from drdc.runtime.endings import say, tell
from drdc.runtime.errors import UserError
from drdc.runtime.project import SNAKEFILE

if TYPE_CHECKING:
    from drdc.planning.rehearsal import Rehearsal
    from drdc.planning.timing import Training

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
    studied = [one.experiment for one in points(experiment)]
    runs = [Run(one, ImageCounts.of(one)) for one in studied or [experiment]]
    counted = Counter(planned_jobs(Path(config))) + study_jobs(studied)
    machine: Machine = Here(runs[0].experiment)
    if gpu is not None:
        machine = Elsewhere(runs[0].experiment, GPUS[gpu], Efficiency(*efficiency or ()))
    for line in report(experiment.experiment, runs, counted, machine):
        say(line)


def planned_jobs(config: Path, *targets: str) -> dict[str, int]:
    """The jobs of the whole experiment by rule, whatever is finished of it: Snakemake's dry run counts them.

    Args:
        targets: those that they are for, in place of all.

    Raises:
        UserError: Snakemake refuses the experiment.
    """
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", str(SNAKEFILE), "--cores", "all"]
    command += ["--configfile", str(config), "--dry-run", "--forceall", "--nolock", "--quiet", "rules"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    found = re.findall(r"^(\w+) +(\d+)$", said.partition("Job stats:")[2].partition("total ")[0], re.M)
    if done.returncode or not found:
        last = (said.strip().splitlines() or ["it says nothing"])[-1]
        raise UserError(config, f"Snakemake cannot plan it ({last.removeprefix('drdc: ')})", "")
    return {rule: int(number) for rule, number in found if rule != "all"}


def study_jobs(studied: Sequence[Experiment]) -> Counter[str]:
    """The jobs of all experiments of a study, up to the scores that it collects.

    Those with as many categories have as many jobs.
    """
    found: Counter[str] = Counter()
    alike = Counter(len(one.dataset.categories) for one in studied)
    first = {len(one.dataset.categories): one for one in studied}
    with TemporaryDirectory() as folder:
        for number, one in first.items():
            config = Path(folder, f"{one.experiment}.json")
            config.write_text(one.model_dump_json(), encoding="utf-8")
            jobs_of_one = planned_jobs(config, str(Layout(one.experiment).collected("scores")))
            found += Counter({rule: alike[number] * jobs for rule, jobs in jobs_of_one.items()})
    return found


@dataclass(frozen=True)
class Run:
    """An experiment with its numbers of images: the one that is planned, or one of a study."""

    experiment: Experiment
    images: ImageCounts

    @property
    def evaluation(self) -> Evaluation:
        """Without test images there is none."""
        return self.experiment.evaluation if self.images.test else Evaluation()


@dataclass(frozen=True)
class Row:
    """A line of the plan.

    Attributes:
        stage: the rule.
        what: what goes through it.
        jobs: how many.
        each: of a job, on average.
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

    @classmethod
    def of(cls, stage: str, what: str, each: Sequence[tuple[int, Estimate]], on_gpu: bool = True) -> Row:
        """From the number of jobs and the time of one in each run; all of these are known, or none."""
        number, first = sum(jobs for jobs, _ in each), each[0][1]
        if first.seconds is None or len(each) == 1:
            return cls(stage, what, number, first, on_gpu)
        mean = sum(jobs * (one.seconds or 0.0) for jobs, one in each) / number
        alike = len({one.how for _, one in each}) == 1
        how = first.how if alike else f"on average; in the first experiment {first.how}"
        return cls(stage, what, number, replace(first, seconds=mean, how=how), on_gpu)


def report(name: str, runs: Sequence[Run], counted: dict[str, int], machine: Machine) -> Iterator[str]:
    """The lines of the plan of an experiment, or of a study of several ones."""
    experiment = runs[0].experiment
    yield f"{name}{f', a study of {len(runs)} experiments,' if len(runs) > 1 else ''} on {machine.title}"
    yield from dict.fromkeys(
        f"{images.train:,} training, {images.held_out:,} held-out and {images.test:,} test images of "
        f"{images.categories} categories ({images.source}); seeds: {len(experiment.seeds)}"
        for images in (run.images for run in runs)
    )
    yield ""
    rows = list(_told(planned_rows(runs, counted, machine)))
    yield from table(rows)
    yield ""
    yield total(rows, machine)
    stored_bytes = sum(disk(run) for run in runs)
    yield f"disk: {stored_bytes / 1e9:.3g} GB of results, without models, states and dataset"
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


def planned_rows(runs: Sequence[Run], counted: dict[str, int], machine: Machine) -> Iterator[Row]:
    """A row for each model and kind of prediction, and one for each other rule.

    Args:
        runs: of the same networks and methods, which the machine is asked about once.
        counted: jobs by rule, of all runs.
    """
    experiment, evaluation = runs[0].experiment, runs[0].evaluation
    for rule in ("download", "weights", "prepare", "images"):
        if rule in counted:
            yield Row(rule, "", counted[rule], Estimate(None, "depends on disk and network"), on_gpu=False)
    yield _features(runs, machine)

    @cache
    def rehearsed(name: str) -> Rehearsal | UserError:
        return _rehearsal(runs[0], name, machine)

    for model, number in _numbers(model for model, _ in jobs.trainings(experiment, evaluation)):
        if model in experiment.methods:
            each = _fittings(runs, machine, rehearsed(model))
        else:
            each = _trainings(runs, machine, model)
        yield Row.of("train", model, [(number, one) for one in each])
    yield from _predictions(runs, machine, rehearsed)
    if runs[0].images.test:
        yield _scoring(runs, machine)
    shown = {"download", "weights", "prepare", "images", "features", "train", "predict", "score"}
    rest = sum(number for rule, number in counted.items() if rule not in shown)
    yield Row("others", "costs, tables, figures, report", rest, Estimate(None, "seconds each"), on_gpu=False)


def _numbers(names: Iterable[str]) -> Iterable[tuple[str, int]]:
    return Counter(names).items()


def _features(runs: Sequence[Run], machine: Machine) -> Row:
    one = machine.feature()
    numbers = [run.images.all for run in runs]
    each = [one.repeated(n, f"{n:,} images of {duration(one.seconds)}", machine.start) for n in numbers]
    return Row.of("features", runs[0].experiment.backbone.title, [(1, own) for own in each])


def _trainings(runs: Sequence[Run], machine: Machine, model: str) -> Iterator[Estimate]:
    """Of each run: steps, and held-out losses, whose forward pass takes a third of a step."""
    training = training_of(runs[0].experiment, model)
    settings, step = training.settings, machine.step(training)
    for experiment, images in ((run.experiment, run.images) for run in runs):
        seen = experiment.base.images_seen(images.train) if model == "base" else experiment.diffusion.images
        steps = -(-round(seen) // settings.batch_size)
        validations = settings.validations * images.held_out / settings.batch_size / 3
        words = f"{steps:,} steps of {duration(step.seconds)}"
        yield step.repeated(steps + validations, words, machine.start)


def training_of(experiment: Experiment, model: str) -> Training:
    """One of the trainings of DRDC."""
    from drdc.planning.timing import base_training, diffusion_training

    if model == "base":
        return base_training(experiment)
    return diffusion_training(experiment, conditional=model == "diffusion")


def _rehearsal(run: Run, name: str, machine: Machine) -> Rehearsal | UserError:
    """Of a method, or why there is none."""
    from drdc.planning.rehearsal import rehearse

    try:
        return rehearse(run.experiment, name, run.images.train, machine.training_threads)
    except UserError as error:
        return error


def _fittings(runs: Sequence[Run], machine: Machine, rehearsal: Rehearsal | UserError) -> Iterator[Estimate]:
    """Of a method in each run, whose steps are as many times those of the first as its training images."""
    for run in runs:
        if isinstance(rehearsal, UserError):
            yield Estimate(None, rehearsal.problem)
            continue
        share = run.images.train / max(1, runs[0].images.train)
        phases = [replace(phase, steps=math.ceil(phase.steps * share)) for phase in rehearsal.phases]
        steps = ", ".join(f"{phase.steps:,}" for phase in phases)
        words = f"{steps} steps" if steps else "no steps"
        yield machine.phases(replace(rehearsal, phases=phases)).repeated(1, words, machine.start)


def _predictions(
    runs: Sequence[Run], machine: Machine, rehearsed: Callable[[str], Rehearsal | UserError]
) -> Iterator[Row]:
    call = machine.call()
    maps = machine.base_maps(max(run.images.train for run in runs))
    every = jobs.predictions(runs[0].experiment, runs[0].evaluation)
    for name, number in _numbers(name for name, _ in every):
        variant = next(v for (own, _), v in every.items() if own == name)
        if variant is None:
            one = _heatmap(machine, rehearsed(name))
        else:
            one = _calls(call, calls(variant.sampling, variant.sampling.grid_sizes), maps)
        each = []
        for run in runs:
            parts = len(predicted_parts(name, run.experiment.dataset.categories))
            images = run.images.predicted / parts
            words = f"{images:,.0f} images of {duration(one.seconds)}"
            each.append((number * parts, one.repeated(images, words, machine.start)))
        yield Row.of("predict", name, each)


def _calls(call: Estimate, times: int, maps: Estimate) -> Estimate:
    """Of one image: so many U-Net calls, and its base heatmaps."""
    assert call.seconds is not None
    assert maps.seconds is not None
    words = f"{times} U-Net calls of {duration(call.seconds)} and base heatmaps of {duration(maps.seconds)}"
    return Estimate(times * call.seconds + maps.seconds, f"{words}; {call.how}")


def _heatmap(machine: Machine, rehearsal: Rehearsal | UserError) -> Estimate:
    if isinstance(rehearsal, UserError):
        return Estimate(None, rehearsal.problem)
    return machine.heatmap(rehearsal)


def _scoring(runs: Sequence[Run], machine: Machine) -> Row:
    every = [name for name, _ in jobs.scored_runs(runs[0].experiment, runs[0].evaluation)]
    maps = sum(SCORED_MAPS.get(name, 1) for name in every) / len(every)
    one = machine.scoring()
    each = []
    for images in (run.images.test for run in runs):
        words = f"{maps:.2g} × {images:,} heatmaps of {duration(one.seconds)}"
        each.append((len(every), one.repeated(maps * images, words, machine.scoring_start)))
    return Row.of("score", "", each, on_gpu=False)


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
    if machine.on_gpu:
        own = sum(row.seconds for row in rows if row.on_gpu)
        return f"sum: {number:,} jobs, {duration(own)} of one GPU"
    own = sum(row.seconds * row.each.threads for row in rows)
    least = duration(own / machine.workers)
    return f"sum: {number:,} jobs, {duration(own)} of one core, at least {least} on {machine.workers} cores"


def disk(run: Run) -> float:
    """Bytes of all arrays: images at each size, masks, features and predictions."""
    from drdc.planning.timing import feature_channels

    experiment, images = run.experiment, run.images
    size, side = experiment.dataset.image_size, experiment.backbone.feature_size
    channels = feature_channels(experiment.backbone)
    sizes = {size, experiment.backbone.input_size}
    sizes |= {method_facts(experiment, name).input_size for name in experiment.methods}
    found = images.all * (sum(3 * own**2 for own in sizes) + size**2 + 2 * channels * side**2)
    every = variants(experiment.sampling, experiment.fusion, run.evaluation)
    for (name, _), variant in jobs.predictions(experiment, run.evaluation).items():
        detailed = variant is not None and stored(every, name).detailed
        found += images.predicted * _record_bytes(experiment, name, variant, detailed)
    return found


def _record_bytes(experiment: Experiment, name: str, variant: Variant | None, detailed: bool) -> int:
    size = experiment.dataset.image_size
    if variant is None:
        return stored_type(size, "f4" if name in imported_methods(experiment) else "f2").itemsize
    grid_sizes = variant.sampling.grid_sizes if detailed else None
    return record_type(size, experiment.backbone.feature_size, grid_sizes, experiment.base.base_maps).itemsize


def memory(experiment: Experiment, machine: Machine, model: str) -> str:
    """What a training of DRDC needs at once, and the accumulation with which it fits."""
    from drdc.planning.memory import fitting

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
