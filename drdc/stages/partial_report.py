"""The partial report after failed jobs: everything that does not need them, with the failures named."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from drdc.config.variants import runs, variants
from drdc.experiment.experiment import Experiment
from drdc.experiment.stage_settings import used_by
from drdc.reporting.registry import FIGURES, TABLES
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError
from drdc.stages.collect import collect
from drdc.stages.figures import figures
from drdc.stages.gallery import gallery
from drdc.stages.score import score
from drdc.stages.tables import tables

log = logging.getLogger(__name__)


def partial_report(layout: Layout, jobs: Sequence[str], **settings: Any) -> None:
    """Make what `jobs` would have made, as far as possible; what is impossible is named and left out.

    A category whose predictions are missing is "failed" in the scores of its run, and a run without scores is
    "failed" in the tables. The next run of the workflow makes all of it again: Snakemake was told that it is
    incomplete.

    Args:
        jobs: by the names of their logs: `score.seed0.full`, `collect`, `tables.table2`, `gallery`, ...
    """
    experiment = Experiment(experiment=layout.experiment, **settings)
    for job, make in _makers(layout, experiment).items():
        if job in jobs:
            _attempt(make)


def _makers(layout: Layout, experiment: Experiment) -> dict[str, Callable[[], None]]:
    """Every job that can be made in part, after those that it reads from."""
    every = variants(experiment.sampling, experiment.fusion, experiment.evaluation)
    makers: dict[str, Callable[[], None]] = {
        f"score.seed{seed}.{one.name}": partial(
            score, layout, seed, partial=True, **used_by(experiment, "score", one.name)
        )
        for one, seed in runs(every, experiment.seeds, experiment.evaluation)
    }
    makers["collect"] = partial(collect, layout, **used_by(experiment, "collect"))
    for stage, names in ((tables, TABLES), (figures, FIGURES)):
        kind = stage.__name__
        own = used_by(experiment, kind)
        makers |= {f"{kind}.{name}": partial(stage, layout, name, **own) for name in names}
    return makers | {"gallery": partial(gallery, layout, **used_by(experiment, "gallery"))}


def _attempt(make: Callable[[], None]) -> None:
    try:
        make()
    except UserError as error:
        log.warning("left out: %s", error)
