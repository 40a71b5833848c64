"""trained models and predictions -> detector: one file that finds defects without the workflow."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from drdc.config.variants import DRDC, FULL
from drdc.detection.assembly import assembled
from drdc.detection.detector import AUROCS
from drdc.detection.model_file import save_model_file
from drdc.evaluation.self_check import sentence, summary
from drdc.experiment.stage_settings import config_hash
from drdc.methods.registry import Configured
from drdc.results.layout import Layout
from drdc.results.scores import read_numbers, read_table, typed
from drdc.runtime.digests import is_current

log = logging.getLogger(__name__)


def export(
    layout: Layout,
    seed: int | None,
    *,
    seeds: list[int],
    method: Configured | None = None,
    **settings: Any,
) -> None:
    """Write `detectors/<method>.safetensors`, which `drdc.detection.detector.Detector` reads.

    Args:
        seed: the run; None for the first.
        method: of the configuration; None for DRDC.
        settings: `drdc.detection.assembly.assembled`.

    Raises:
        UserError: as `assembled`.
    """
    path = layout.detector(DRDC if method is None else method.name)
    write_detector(layout, path, seed, seeds=seeds, method=method, **settings)


def write_detector(
    layout: Layout,
    path: Path,
    seed: int | None,
    *,
    seeds: list[int],
    method: Configured | None = None,
    recommended: dict[str, float] | None = None,
    **settings: Any,
) -> None:
    """Write a detector's file.

    The same command writes the same bytes again. No test image is needed; where test images were scored
    with these settings, the mean AUROCs are noted, and where there is a self-check, its summary.

    Args:
        path: of the file.
        recommended: where it is the one to use, the image AUROC of all methods in their self-checks.
    """
    seed = seeds[0] if seed is None else seed
    name = DRDC if method is None else method.name
    tensors, about, modes = assembled(layout, seed, method=method, **settings)
    for mode, own in modes.items():
        about["modes"][mode]["accuracy"] = accuracy(layout.scored(seed, own.run), name, own.settings)
    if seed == seeds[0]:
        about["self_check"] = self_checked(layout.self_check(name), name, modes[FULL].settings)
    if recommended is not None:
        about["recommended"] = recommended
    save_model_file(path, tensors, about)
    images = len(tensors[f"calibration.{FULL}.scores"])
    log.info("%s: calibrated on %d held-out normal images", path, images)


def self_checked(path: Path, method: str, settings: dict[str, Any]) -> dict[str, dict[str, float]]:
    """The summary of the self-check with exactly these settings; empty where there is none."""
    if not path.is_file():
        return {}
    own = self_check_with(path, settings) if is_current(path) else pd.DataFrame()
    if own.empty:
        log.warning("%s is of other settings or models; run `drdc self-check` again", path)
        return {}
    found = summary(own)
    log.info("%s %s", method, sentence(found))
    noted: dict[str, dict[str, float]] = found.round(6).to_dict("index")  # type: ignore[assignment]
    return noted


def self_check_with(path: Path, settings: dict[str, Any]) -> pd.DataFrame:
    """The rows of a self-check with exactly these settings; none of one with others."""
    rows = read_numbers(path, "self_check", "self-check")
    return rows[rows["config_hash"] == config_hash(settings)]


def accuracy(path: Path, method: str, settings: dict[str, Any]) -> dict[str, float]:
    """Means over categories of the scores with exactly these settings; empty where there are none."""
    if not path.is_file():
        return {}
    if not is_current(path):
        log.warning("%s is of other images or models; run `drdc score` again", path)
        return {}
    scores = typed(read_table(path, "score"), ("method", "metric", "config_hash"), ("value",), str(path))
    own = scores[(scores["method"] == method) & (scores["config_hash"] == config_hash(settings))]
    if own.empty:
        log.warning("%s was scored with other settings; score it again for the accuracy to be noted", path)
    values = own.groupby("metric")["value"].mean().reindex(list(AUROCS)).dropna()
    return {str(name): float(value) for name, value in values.items()}
