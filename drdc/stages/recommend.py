"""self-checks of all methods -> the detector to use, and why."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import pandas as pd

from drdc.config.variants import DRDC
from drdc.evaluation.recommendation import advice, ranked
from drdc.evaluation.self_check import summary
from drdc.experiment.experiment import Experiment
from drdc.experiment.stage_settings import trained_methods, used_by
from drdc.results.benchmarks import measured
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError
from drdc.runtime.files import artefact
from drdc.stages.export import self_check_with, write_detector

log = logging.getLogger(__name__)


def recommend(layout: Layout, **settings: Any) -> None:
    """Write `recommended.safetensors`, the best method's detector, and two lines in a text file.

    Its header has `recommended`, the image AUROC of each method in the self-check, best first.

    Raises:
        UserError: a self-check is missing, damaged or of other settings; as `drdc.stages.export.export`.
    """
    experiment = Experiment(experiment=layout.experiment, **settings)
    summaries = {name: _checked(layout, experiment, name) for name in (DRDC, *trained_methods(experiment))}
    order = ranked(summaries)
    best = str(order.index[0])
    compared = {str(name): round(value, 6) for name, value in order["image_auroc"].items()}
    write_detector(
        layout, layout.recommended, None, recommended=compared, **used_by(experiment, "export", best)
    )
    images = experiment.diffusion.images / len(experiment.dataset.categories)
    shown = {experiment.methods.get(name, {}).get("label", name): own for name, own in summaries.items()}
    lines = advice(str(layout.recommended), shown, images, _minutes(layout, experiment.seeds[0]))
    with artefact(layout.recommended.with_suffix(".txt")) as path:
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for line in lines:
        log.info("%s", line)


def _checked(layout: Layout, experiment: Experiment, name: str) -> pd.DataFrame:
    """The summary of a method's self-check with the settings of the experiment."""
    settings = used_by(experiment, "export", name)
    del settings["seeds"]
    rows = self_check_with(path := layout.self_check(name), settings)
    if rows.empty:
        raise UserError(path, "is of other settings", f"run `drdc self-check {name}` again")
    return summary(rows)


def _minutes(layout: Layout, seed: int) -> float | None:
    """That the training of the diffusion model took; None where the workflow did not run it."""
    with suppress(FileNotFoundError):
        return float(measured(layout, f"train.seed{seed}.diffusion")["s"]) / 60
    return None
