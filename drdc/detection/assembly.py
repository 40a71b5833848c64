"""An experiment's trained models and predictions -> the content of a detector's file, in memory."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from drdc.config.backbone import Backbone
from drdc.config.dataset import Dataset
from drdc.config.fusion import Fusion
from drdc.config.sampling import Sampling
from drdc.config.variants import BACKBONE, DRDC, FULL
from drdc.data.manifest import noted_ranges, read_manifest
from drdc.detection.backends import FAST, backends
from drdc.detection.model_file import calibration_tensors, group_tensors
from drdc.equations.diffusion import to_unit_range
from drdc.evaluation.calibration import Calibration
from drdc.experiment.provenance import provenance
from drdc.methods.fitted_method import read_fitted
from drdc.methods.registry import Configured, method_class
from drdc.models.backbone import FeatureExtractor, pretrained
from drdc.models.inpainter import Inpainter, load_trained
from drdc.models.reconstructor import BANK
from drdc.results.groups import read_groups, training_groups
from drdc.results.heatmaps import Heatmaps
from drdc.results.layout import Layout
from drdc.results.predictions import batches, store_errors
from drdc.runtime.batching import chunks, progress_bar
from drdc.runtime.devices import to_device
from drdc.runtime.digests import digest_of, verify
from drdc.runtime.errors import UserError
from drdc.runtime.files import load_array
from drdc.runtime.finite import refuse_not_finite


class AssembledMode(NamedTuple):
    """One way to compute heatmaps.

    Attributes:
        heatmaps: those of the held-out images.
        run: under which its test images are scored.
        settings: with which these scores were computed.
        about: its part of the header.
    """

    heatmaps: Heatmaps
    run: str
    settings: dict[str, Any]
    about: dict[str, Any]


class Assembled(NamedTuple):
    """Tensors and header of a detector's file, and its modes; `about["modes"]` has no accuracies yet."""

    tensors: dict[str, Tensor]
    about: dict[str, Any]
    modes: dict[str, AssembledMode]


def assembled(
    layout: Layout,
    seed: int,
    *,
    dataset: Dataset,
    backbone: Backbone,
    method: Configured | None = None,
    fast: bool = True,
    **settings: Any,
) -> Assembled:
    """Networks, settings, groups and calibration of a trained method.

    Its tensors are the networks' and those of `calibration_tensors` and `group_tensors`. No test image is
    needed.

    Args:
        seed: of the run.
        method: of the configuration; None for DRDC.
        fast: of DRDC, its mode of one timestep as well.
        settings: those of DRDC, by section.

    Raises:
        UserError: no image was held out, an earlier stage is missing, or the file alone would not suffice.
    """
    table = read_manifest(layout.manifest)
    held_out = (table.split == "val").to_numpy()
    if not held_out.any():
        raise UserError("dataset.holdout", "no image was held out to calibrate on", "raise it and run again")
    shared = {"dataset": dataset, "backbone": backbone}
    name = DRDC if method is None else method.name
    if method is None:
        found = _drdc(layout, seed, table, held_out, backbone, shared, fast, **settings)
    else:
        found = _method(layout, seed, table, backbone, shared, method)
    about = found.about | {"seed": seed, "image_size": dataset.image_size}
    about["modes"] = {mode: own.about | {"accuracy": {}} for mode, own in found.modes.items()}
    about |= _origin(layout, table, dataset, found.modes[FULL].settings)
    if method is not None:
        backends(found.tensors, about)  # what cannot be rebuilt from the file is refused now
    known = read_groups(layout, table)
    table["group"] = known["group"]
    calibrations = {
        mode: calibrated(own.heatmaps, name, table, held_out) for mode, own in found.modes.items()
    }
    tensors = found.tensors | calibration_tensors(calibrations, about["categories"])
    distances = known["distance"].to_numpy(float)[held_out]
    tensors |= group_tensors(training_groups(layout, table)[0], distances, about["categories"])
    return Assembled(tensors, about, found.modes)


def _drdc(
    layout: Layout,
    seed: int,
    table: pd.DataFrame,
    held_out: NDArray[np.bool_],
    backbone: Backbone,
    shared: dict[str, Any],
    fast: bool,
    *,
    sampling: Sampling,
    fusion: Fusion,
    **trainings: Any,
) -> Assembled:
    tensors, about = _networks(layout, seed, backbone, fusion)
    full = Heatmaps.of_drdc(layout, seed, table, fusion, whole=False)
    modes = {}
    wanted = {FULL: sampling} | ({FAST: sampling.model_copy(update={"steps": 1})} if fast else {})
    for name, own in wanted.items():
        heatmaps = full
        if name == FAST:
            records = _predicted(layout, seed, table, full, held_out, own)
            heatmaps = Heatmaps.fused([records], table, fusion, whole=False)
        used = shared | {"fusion": fusion, **trainings, "sampling": own}
        run = FULL if own == sampling else "steps=1"
        noted = {"sampling": own.model_dump(), "statistics": heatmaps.scales}
        modes[name] = AssembledMode(heatmaps, run, used, noted)
    return Assembled(tensors, about | {"fusion": fusion.model_dump()}, modes)


def _method(
    layout: Layout,
    seed: int,
    table: pd.DataFrame,
    backbone: Backbone,
    shared: dict[str, Any],
    method: Configured,
) -> Assembled:
    weights, about = read_fitted(layout, seed, method.name)
    parts = {"method": weights}
    uses_features = method_class(about["method"]).uses_features_with(about["settings"])
    if uses_features or table.category.nunique() > 1:  # without them, groups could not be told apart
        parts["backbone"] = _backbone(layout, backbone)
        about["backbone"] = backbone.model_dump()
    heatmaps = Heatmaps.of_method(layout, seed, table, method.name)
    mode = AssembledMode(heatmaps, method.name, shared | {"method": method}, {})
    return Assembled(_named(parts), about, {FULL: mode})


def _named(parts: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """`<part>.<name>` -> tensor."""
    return {f"{part}.{key}": value for part, own in parts.items() for key, value in own.items()}


def _origin(
    layout: Layout, table: pd.DataFrame, dataset: Dataset, settings: dict[str, Any]
) -> dict[str, Any]:
    """The provenance of a detector, for the header."""
    return {
        "experiment": layout.experiment,
        "categories": sorted(set(table.category)),
        "provenance": provenance(settings) | {"manifest_sha256": digest_of(layout.manifest)},
        "ranges": asdict(noted_ranges(table, dataset.bits)),
    }


def calibrated(
    heatmaps: Heatmaps, method: str, table: pd.DataFrame, held_out: NDArray[np.bool_]
) -> Calibration:
    """Image scores and maxima of the heatmaps of held-out images, in the order of the manifest."""
    found: dict[int, tuple[float, float]] = {}
    for rows, both in heatmaps.batches(held_out):
        scores, peaks = both[method].scores, both[method].maps.max((1, 2))
        refuse_not_finite("scores are", [scores, peaks], table.path.iloc[rows], "predict again")
        found |= dict(zip(rows.tolist(), zip(scores.tolist(), peaks.tolist(), strict=True), strict=True))
    scores, peaks = np.array([found[row] for row in sorted(found)]).T.copy()
    categories, groups = (table[name].iloc[sorted(found)].to_numpy(str) for name in ("category", "group"))
    return Calibration(scores, peaks, categories, groups)


def _networks(
    layout: Layout, seed: int, backbone: Backbone, fusion: Fusion
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of all three networks, and the settings from which each is built."""
    base, about_base = load_trained(layout, seed, "base", "base")
    if fusion.base != "memory":
        base = {name: value for name, value in base.items() if name not in BANK}
    diffusion, about_diffusion = load_trained(layout, seed, "diffusion", "diffusion")
    extractor = _backbone(layout, backbone)
    FeatureExtractor(backbone, extractor)  # a name that only the hub knows cannot be built from the file
    about = {"backbone": backbone.model_dump(), "base": about_base["base"]}
    tensors = _named({"backbone": extractor, "base": base, "diffusion": diffusion})
    return tensors, about | {"diffusion": about_diffusion["diffusion"]}


def _backbone(layout: Layout, backbone: Backbone) -> dict[str, Tensor]:
    """The state of the backbone, which is to be the one that the features were computed with."""
    noted = layout.weights(BACKBONE)
    if noted.is_file():
        verify(noted, "weights")
        known = [row["sha256"] for row in json.loads(noted.read_text(encoding="utf-8"))]
        if known != [network.digest() for network in pretrained(backbone)]:
            raise UserError(
                "backbone.weights",
                f"the network is no longer the one of {noted}, of which features and calibration are",
                "run the same `snakemake` command again, or begin again with `drdc weights`",
            )
    state: dict[str, Tensor] = FeatureExtractor(backbone).state_dict()
    return state


@torch.inference_mode()
def _predicted(
    layout: Layout,
    seed: int,
    table: pd.DataFrame,
    full: Heatmaps,
    held_out: NDArray[np.bool_],
    sampling: Sampling,
) -> NDArray[np.void]:
    """The predictions of the held-out images in the fast mode: only the diffusion model runs again."""
    records = np.concatenate(list(batches(full.parts, held_out)))
    inpainter = Inpainter.load(layout, seed, sampling)
    size = records["last"].shape[-1]
    images = load_array(layout.images(size), len(table), f"images {size}")
    rows = list(chunks(np.arange(len(records)), sampling.batch_size))
    for batch in progress_bar(rows, images=sampling.batch_size):
        shown = to_unit_range(to_device(images[records["row"][batch]]))
        errors = inpainter.reconstruct(shown, FAST, seed)
        store_errors(records, batch, errors, sampling.grid_sizes)
    return records
