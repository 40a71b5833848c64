"""trained models -> predictions: what is stored of each test and each held-out normal image."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import drdc
from drdc.config.sampling import Sampling
from drdc.config.variants import Stored
from drdc.data.manifest import read_manifest
from drdc.methods.drdc.predictor import DrdcPredictor
from drdc.methods.fitted_method import FittedMethod
from drdc.methods.heatmaps import INDEX, Heatmaps, Imported, folder_of
from drdc.methods.inputs import Inputs
from drdc.methods.predictor import Predictor
from drdc.methods.registry import Configured
from drdc.results.heatmaps import stored_type
from drdc.results.layout import Layout
from drdc.runtime.devices import torch_device
from drdc.runtime.errors import UserError, enough_memory
from drdc.runtime.files import artefact, create_array, load_metadata
from drdc.runtime.finite import refuse_not_finite
from drdc.runtime.resumable_array import ResumableArray

log = logging.getLogger(__name__)


def predict(
    layout: Layout,
    seed: int,
    category: str,
    *,
    image_size: int,
    sampling: Sampling | None = None,
    stored: Stored | None = None,
    method: Configured | None = None,
    imported: str = "",
) -> None:
    """Write `seed<k>/predictions/<name>/<category>.npy`, the category `all` standing for all of them.

    One record for each test and each held-out normal image: of DRDC see `drdc.results.predictions`, of
    another method `drdc.results.heatmaps.stored_type`. Resumes after the last saved batch of a call that was
    killed, and computes nothing where the same predictions are there already.

    Args:
        imported: the fingerprint of the files that the heatmaps of a method without a network are read from.
    """
    rows = _rows(layout, category)
    if method is not None and imported:
        _import(layout, seed, category, rows, image_size, method)
    elif method is not None:
        predictor: Predictor = FittedMethod.load(layout, seed, method.name, image_size)
        _predict(
            layout, seed, method.name, category, rows, predictor, [method.name], _advice(method.name), {}
        )
    elif sampling is not None and stored is not None:
        predictor = DrdcPredictor.load(layout, seed, image_size, sampling, stored)
        settings = {"sampling": sampling.model_dump(mode="json")}
        _predict(layout, seed, stored.name, category, rows, predictor, ["base", stored.model], _FIX, settings)


_FIX = (
    "sampling.batch_size",
    "lower base.learning_rate and diffusion.learning_rate, so that the models are trained again, or set "
    "sampling.clip to true",
)


def _advice(name: str) -> tuple[str, str]:
    return f"methods.{name}.batch_size", f"change methods.{name} in the configuration"


def _predict(
    layout: Layout,
    seed: int,
    name: str,
    category: str,
    rows: NDArray[np.int64],
    predictor: Predictor,
    models: Sequence[str],
    advice: tuple[str, str],
    settings: dict[str, Any],
) -> None:
    """`advice`: the setting to lower for less memory, and what to do about NaN or infinite values."""
    inputs = Inputs.read(layout, predictor.input_size, predictor.uses_features)
    sources = layout.sources(seed, models)
    identity = settings | {
        "rows": rows.tolist(),
        "keys": inputs.keys[rows].tolist(),
        "inputs": inputs.digest(rows),
        "seed": seed,
        "models": [load_metadata(path)["sha256"] for path in sources[1:]],
        "computed by": [drdc.__version__, torch.__version__, torch_device(), predictor.batch_size],
    }
    work = ResumableArray(
        layout.unfinished(seed, name, category),
        layout.predictions(seed, name, category),
        sources,
        identity,
        predictor.record_type,
        len(rows),
    )

    def fill(batch: NDArray[np.int64]) -> None:
        records = predictor.predict(inputs.batch(rows[batch]))
        records["row"] = rows[batch]
        refuse_not_finite("the predictions are", [records], inputs.images.paths[rows[batch]], advice[1])
        work.rows[batch] = records

    log.info("%d U-Net calls an image", predictor.calls)
    with enough_memory(advice[0]), torch.inference_mode():
        work.complete(predictor.batch_size, fill)


def _import(
    layout: Layout, seed: int, category: str, rows: NDArray[np.int64], image_size: int, method: Configured
) -> None:
    """Store heatmaps that were made elsewhere; NaN for held-out images where these have none."""
    settings = Heatmaps.Settings.model_validate(method.settings)
    folder = folder_of(settings.folder, seed)
    found, about = Imported.read(folder), read_manifest(layout.manifest).iloc[rows]
    there = found.needed(about, folder / INDEX)
    if not there.all():
        log.warning("%s has no held-out image: there are no thresholds", folder / INDEX)
    with artefact(layout.predictions(seed, method.name, category), layout.manifest) as part:
        stored = create_array(part, stored_type(image_size, "f4"), (len(rows),))
        for place, record in enumerate(found.records(about, image_size, settings.pool_size)):
            stored[place] = record[0]
        stored.flush()


def _rows(layout: Layout, category: str) -> NDArray[np.int64]:
    """The rows of the manifest with the test and held-out images of a category, or of all."""
    table = read_manifest(layout.manifest)
    chosen = (table.category == category) | (category == "all")
    rows = np.flatnonzero(chosen & (table.split != "train"))
    if not len(rows):
        known = ", ".join(sorted(set(table.category)))
        raise UserError("", f"category {category!r} has no images in {layout.manifest}", f"known: {known}")
    return rows
