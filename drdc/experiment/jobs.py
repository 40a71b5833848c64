"""What an experiment trains and predicts, and in which order: for the workflow, and for `drdc plan`."""

from __future__ import annotations

from drdc.config.evaluation import Evaluation
from drdc.config.variants import CONTROLS, Variant, runs, variants
from drdc.experiment.experiment import Experiment
from drdc.experiment.stage_settings import method_facts, trained_methods

#: (model, seed) of a training; model: base, diffusion, unconditional, or a method of the configuration.
Training = tuple[str, int]
#: (name of the predictions, seed).
Prediction = tuple[str, int]


def trainings(experiment: Experiment, evaluation: Evaluation) -> list[Training]:
    """All trainings, in the order in which to start them.

    Base models first, which are short and which all predictions of DRDC need; then the longest.
    `evaluation` is the experiment's, or an empty one where there is no test image.
    """
    every = {
        (model, seed)
        for variant, seed in runs(_variants(experiment, evaluation), experiment.seeds, evaluation)
        for model in ("base", variant.model)
    }
    every |= {(name, seed) for name in trained_methods(experiment) for seed in experiment.seeds}
    return sorted(every, key=lambda one: (one[0] != "base", -time_limit(experiment, one[0]), *one))


def predictions(experiment: Experiment, evaluation: Evaluation) -> dict[Prediction, Variant | None]:
    """All predictions, with the first variant that is scored from them, or None for another method."""
    every = _variants(experiment, evaluation)
    found: dict[Prediction, Variant | None] = {}
    for variant, seed in runs(every, experiment.seeds, evaluation):
        found[variant.predictions, seed] = every[variant.predictions]
    return found | {(name, seed): None for name in experiment.methods for seed in experiment.seeds}


def scored_runs(experiment: Experiment, evaluation: Evaluation) -> list[tuple[str, int]]:
    """(variant, method or controls, seed) of all scorings."""
    own = [
        (v.name, seed) for v, seed in runs(_variants(experiment, evaluation), experiment.seeds, evaluation)
    ]
    return own + [(name, seed) for name in (CONTROLS, *experiment.methods) for seed in experiment.seeds]


def time_limit(experiment: Experiment, model: str) -> int:
    """Minutes: a day for the base model, two for a diffusion model, what a method says of itself."""
    if model in experiment.methods:
        return method_facts(experiment, model).minutes
    return 1440 if model == "base" else 2880


def share_of_cores(cores: int, jobs: int) -> int:
    """Threads of each of `jobs` jobs that could run side by side: at least one.

    Two trainings with a thread each take less time than one after the other with two threads each.
    """
    return max(1, cores // max(1, jobs))


def _variants(experiment: Experiment, evaluation: Evaluation) -> dict[str, Variant]:
    return variants(experiment.sampling, experiment.fusion, evaluation)
