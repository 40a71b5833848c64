"""fitted method and its heatmaps -> a detector of its own: one file, as of DRDC itself."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drdc.config.sections import Backbone, Dataset
from drdc.config.variants import FULL
from drdc.data.manifest import read_manifest
from drdc.detection.backends import finders
from drdc.methods.fitted_method import read_fitted
from drdc.methods.registry import Configured, method_class
from drdc.models.backbone import FeatureExtractor
from drdc.results.layout import Layout
from drdc.results.predictions import batches, read_method
from drdc.stages.export import accuracy, calibrated, held_out_images, write


def export_system(
    layout: Layout,
    seed: int | None,
    *,
    seeds: list[int],
    dataset: Dataset,
    backbone: Backbone,
    method: Configured,
) -> None:
    """Write `methods/<name>.safetensors`, which `drdc.detection.detector.Detector` reads.

    Its tensors are `method.*`, where the method uses the experiment's features `backbone.*`, and those of
    `calibration_tensors`; else as `drdc.stages.export.export`.

    Args:
        seed: the run; None for the first.

    Raises:
        UserError: no image was held out, an earlier stage is missing, or the file alone would not be enough.
    """
    seed = seeds[0] if seed is None else seed
    table = read_manifest(layout.manifest)
    held_out = held_out_images(table)
    weights, about = read_fitted(layout, seed, method.name)
    parts = {"method": weights}
    if method_class(about["method"]).uses_features:
        parts["backbone"] = FeatureExtractor(backbone).state_dict()
        about["backbone"] = backbone.model_dump()
    tensors = {f"{part}.{key}": value for part, own in parts.items() for key, value in own.items()}
    about |= {"seed": seed, "image_size": dataset.image_size}
    finders(tensors, about)  # what cannot be built again from the file is refused now
    records = read_method(layout, seed, method.name, table)
    calibration = calibrated(batches([records], held_out), table, _judged)
    settings = {"dataset": dataset, "backbone": backbone, "method": method}
    noted = accuracy(layout.method(seed, method.name, ".csv"), method.name, settings)
    about["modes"] = {FULL: {"accuracy": noted}}
    write(layout.exported_method(method.name), layout, tensors, {FULL: calibration}, about, settings)


def _judged(records: NDArray[np.void]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Stored scores of some images, and maxima of their heatmaps."""
    return records["score"], records["heatmap"].max((1, 2))
