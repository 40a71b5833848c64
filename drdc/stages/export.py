"""trained models and predictions -> detector: one file that finds defects without the workflow."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from drdc.config.sections import Backbone, Dataset, Fusion, Sampling
from drdc.config.variants import FULL
from drdc.data.manifest import noted_ranges, read_manifest
from drdc.detection.backends import FAST
from drdc.detection.detector import AUROCS
from drdc.detection.model_file import calibration_tensors, save_bundle
from drdc.equations.diffusion import to_unit_range
from drdc.equations.fusion import image_score
from drdc.evaluation.calibration import Calibration
from drdc.experiment.stage_settings import config_hash
from drdc.models.backbone import FeatureExtractor
from drdc.models.inpainter import Inpainter, load_trained
from drdc.results.layout import Layout
from drdc.results.predictions import Statistics, batches, fuse, read_parts, statistics, store_errors
from drdc.results.scores import read_table, typed
from drdc.runtime.batching import chunks, progress_bar
from drdc.runtime.digests import digest_of
from drdc.runtime.errors import UserError
from drdc.runtime.files import load_array
from drdc.runtime.finite import refuse_not_finite
from drdc.stages.score import provenance

log = logging.getLogger(__name__)


def export(
    layout: Layout,
    seed: int | None,
    *,
    seeds: list[int],
    dataset: Dataset,
    backbone: Backbone,
    sampling: Sampling,
    fusion: Fusion,
    **others: Any,
) -> None:
    """Write `model.safetensors`, which `drdc.detection.detector.Detector` reads.

    Its tensors are `backbone.*`, `base.*`, `diffusion.*` and those of `calibration_tensors`. Its header holds
    the settings, the maps' statistics and where all of it comes from; nothing in it differs when the same
    command runs again. No test image is needed; where test images were scored with these settings, the mean
    AUROCs are noted.

    Args:
        seed: the run; None for the first.
        others: the settings of both trainings, which only enter the configuration's hash.
    """
    seed = seeds[0] if seed is None else seed
    table = read_manifest(layout.manifest)
    held_out = held_out_images(table)
    tensors, about = _networks(layout, seed, backbone)
    settings = {"dataset": dataset, "backbone": backbone, "fusion": fusion, **others}
    parts = read_parts(layout, seed, FULL, table)
    modes, calibrations = {}, {}
    for name, own in ((FULL, sampling), (FAST, sampling.model_copy(update={"steps": 1}))):
        known = parts if own == sampling else [_predicted(layout, seed, table, parts, own)]
        scale = statistics(known, held_out, fusion)
        calibrations[name] = calibrated(batches(known, held_out), table, partial(_judged, fusion, scale))
        scored = layout.seed_scores(seed, FULL if own == sampling else "steps=1")
        noted = accuracy(scored, "drdc", settings | {"sampling": own})
        modes[name] = {"sampling": own.model_dump(), "statistics": scale, "accuracy": noted}
    about |= {"seed": seed, "image_size": dataset.image_size, "fusion": fusion.model_dump(), "modes": modes}
    write(layout.exported, layout, tensors, calibrations, about, settings | {"sampling": sampling})


def write(
    path: Path,
    layout: Layout,
    tensors: dict[str, Tensor],
    calibrations: dict[str, Calibration],
    about: dict[str, Any],
    settings: dict[str, Any],
) -> None:
    """Write a detector's file: networks and calibrations of its modes, and where all of it comes from.

    Args:
        about: its header, but for what each detector has.
        settings: that led to it, whose hash is noted.
    """
    table = read_manifest(layout.manifest)
    categories, ranges = sorted(set(table.category)), noted_ranges(table, settings["dataset"].bits)
    origin = provenance(settings) | {"manifest_sha256": digest_of(layout.manifest)}
    shared = {"experiment": layout.experiment, "categories": categories, "provenance": origin}
    shared["ranges"] = asdict(ranges)
    save_bundle(path, tensors | calibration_tensors(calibrations, categories), about | shared)
    log.info("%s: calibrated on %d held-out normal images", path, len(calibrations[FULL].scores))


def held_out_images(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Which rows of the manifest are held-out normal images, (N,).

    Raises:
        UserError: there are none.
    """
    held_out = (table.split == "val").to_numpy()
    if not held_out.any():
        raise UserError("dataset.holdout", "no image was held out to calibrate on", "raise it and run again")
    return held_out


def calibrated(
    records: Iterable[NDArray[np.void]],
    table: pd.DataFrame,
    judged: Callable[[NDArray[np.void]], tuple[Any, Any]],
) -> Calibration:
    """Image scores and maxima of the heatmaps of held-out images, in the order of the manifest.

    Args:
        records: their predictions, a few at a time.
        judged: (scores, maxima) of some records, each (B,).
    """
    found: dict[int, tuple[float, float]] = {}
    for batch in records:
        scores, peaks = (np.asarray(values) for values in judged(batch))
        refuse_not_finite("scores are", [scores, peaks], table.path.iloc[batch["row"]], "predict again")
        pairs = zip(scores.tolist(), peaks.tolist(), strict=True)
        found |= dict(zip(batch["row"].tolist(), pairs, strict=True))
    scores, peaks = np.array([found[row] for row in sorted(found)]).T.copy()
    return Calibration(scores, peaks, table.category[sorted(found)].to_numpy(str))


def _networks(layout: Layout, seed: int, backbone: Backbone) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of all three networks, and the settings from which each is built."""
    base, about_base = load_trained(layout, seed, "base", "base")
    diffusion, about_diffusion = load_trained(layout, seed, "diffusion", "diffusion")
    extractor = FeatureExtractor(backbone).state_dict()
    FeatureExtractor(
        backbone, extractor
    )  # a name that only the hub knows cannot be built again from the file
    weights = {"backbone": extractor, "base": base, "diffusion": diffusion}
    tensors = {f"{part}.{key}": value for part, own in weights.items() for key, value in own.items()}
    about = {"backbone": backbone.model_dump(), "base": about_base["base"]}
    return tensors, about | {"diffusion": about_diffusion["diffusion"]}


@torch.inference_mode()
def _predicted(
    layout: Layout, seed: int, table: pd.DataFrame, parts: list[NDArray[np.void]], sampling: Sampling
) -> NDArray[np.void]:
    """The predictions of the held-out images with another sampling: only the diffusion model runs again."""
    records = np.concatenate(list(batches(parts, held_out_images(table))))
    images = load_array(layout.images, len(table), "prepare")
    inpainter = Inpainter.load(layout, seed, sampling)
    for batch in progress_bar(list(chunks(np.arange(len(records)), sampling.batch_size))):
        rows = records["row"][batch]
        keys = table.pixels_sha256[rows].tolist()
        errors = inpainter.reconstruct(to_unit_range(images[rows]), keys, seed)
        store_errors(records, batch, errors, sampling.grid_sizes)
    return records


def _judged(fusion: Fusion, scale: Statistics, records: NDArray[np.void]) -> tuple[Tensor, Tensor]:
    """Scores of some images, and maxima of their heatmaps."""
    maps = fuse(records, fusion, scale).drdc
    return image_score(maps, fusion.pool_size), maps.amax((1, 2))


def accuracy(path: Path, method: str, settings: dict[str, Any]) -> dict[str, float]:
    """Means over categories of what was scored with exactly these settings; empty where nothing was."""
    if not path.is_file():
        return {}
    scores = typed(read_table(path, "score"), ("method", "metric", "config_hash"), ("value",), str(path))
    own = scores[(scores["method"] == method) & (scores["config_hash"] == config_hash(settings))]
    if own.empty:
        log.warning("%s was scored with other settings; score it again for the accuracy to be noted", path)
    values = own.groupby("metric")["value"].mean().reindex(list(AUROCS)).dropna()
    return {str(name): float(value) for name, value in values.items()}
