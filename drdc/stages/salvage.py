"""After failed jobs: score what was predicted, make all tables and figures, and name the failures in them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import product
from typing import Any

from drdc.errors import UserError
from drdc.experiment import Experiment
from drdc.layout import FIGURES, TABLES, Layout
from drdc.results import failed_before, system_failed_before
from drdc.settings import used_by
from drdc.stages.collect import collect
from drdc.stages.costs import costs
from drdc.stages.figures import figures
from drdc.stages.gallery import gallery
from drdc.stages.score import score
from drdc.stages.score_system import score_system
from drdc.stages.tables import tables
from drdc.variants import FULL, runs, variants

log = logging.getLogger(__name__)


def salvage(layout: Layout, **settings: Any) -> None:
    """Make everything that needs no failed job; what cannot be made is named in the log and left out.

    A category whose predictions are missing is "failed" in the scores of its run. Scores of an earlier run
    that a failed job should have replaced are removed. The next run of the workflow makes it all again,
    because the missing files are made first.
    """
    experiment = Experiment(experiment=layout.experiment, **settings)
    every = variants(experiment.sampling, experiment.fusion, experiment.evaluation)
    for variant, seed in runs(every, experiment.seeds, experiment.evaluation):
        if failed_before(layout, variant, seed, experiment.dataset.categories):
            layout.seed_scores(seed, variant.name).unlink(missing_ok=True)
        if variant.name == FULL and not layout.seed_scores(seed).is_file():
            _attempt(score, layout, seed, partial=True, **used_by(experiment, "score"))
    for name, seed in product(experiment.systems, experiment.seeds):
        _salvage_system(layout, experiment, name, seed)
    if experiment.systems and not layout.costs.is_file():  # the fitted ones are measured without the others
        _attempt(costs, layout, **used_by(experiment, "costs"))
    _attempt(collect, layout, **used_by(experiment, "collect"))
    for name in TABLES:
        _attempt(tables, layout, name, **used_by(experiment, "tables"))
    for name in FIGURES:
        _attempt(figures, layout, name, **used_by(experiment, "figures"))
    _attempt(gallery, layout, **used_by(experiment, "gallery"))


def _salvage_system(layout: Layout, experiment: Experiment, name: str, seed: int) -> None:
    scores = layout.system(seed, name, ".csv")
    if system_failed_before(layout, name, seed):
        scores.unlink(missing_ok=True)
    elif not scores.is_file():
        _attempt(score_system, layout, seed, **used_by(experiment, "score_system", system=name))


def _attempt(stage: Callable[..., None], *arguments: Any, **settings: Any) -> None:
    try:
        stage(*arguments, **settings)
    except UserError as error:
        log.warning("left out: %s", error)
