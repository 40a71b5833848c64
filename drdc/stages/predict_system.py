"""fitted system -> its heatmaps and image scores."""

from __future__ import annotations

import logging

import numpy as np
import torch
from numpy.typing import NDArray

import drdc
from drdc.baselines.fitted import Fitted
from drdc.baselines.inputs import Inputs
from drdc.baselines.registry import Configured
from drdc.data.manifest import read_manifest
from drdc.devices import torch_device
from drdc.errors import UserError, enough_memory
from drdc.files import exclusive, sha256_of
from drdc.layout import Layout
from drdc.predictions import chunks
from drdc.stages.prepare import progress_bar
from drdc.training.loop import step_seed
from drdc.unfinished import Unfinished

log = logging.getLogger(__name__)


def predict_system(layout: Layout, seed: int, *, system: Configured) -> None:
    """Write `seed<k>/systems/<name>.npy`, see `record_type`; goes on after the last saved batch.

    One record for each test and each held-out normal image.
    """
    table, inputs = read_manifest(layout.manifest), Inputs.read(layout)
    rows = np.flatnonzero(table.split != "train")
    fitted = Fitted.load(layout, seed, system.name)
    size = fitted.system.settings.batch_size
    identity = {
        "rows": rows.tolist(),
        "inputs": inputs.digest(rows),
        "seed": seed,
        "model": sha256_of(layout.model(seed, f"systems/{system.name}")),
        "computed by": [drdc.__version__, torch.__version__, torch_device(), size],
    }
    work = Unfinished(
        layout.unfinished(seed, "systems", system.name),
        layout.system(seed, system.name, ".npy"),
        identity,
        record_type(inputs.shapes.image_size),
        len(rows),
    )
    with exclusive(work.state):
        if work.finished():
            log.info("%s is there already, of the same model", work.target)
            return
        work.begin()
        with enough_memory(f"systems.{system.name}.batch_size"):
            _fill(work, rows, inputs, fitted, size, seed)
        work.finish()


def record_type(image_size: int) -> np.dtype[np.void]:
    """One image: `row` in the manifest, standardised `heatmap` (H, W) float16, image `score` float32."""
    return np.dtype([("row", "i8"), ("heatmap", "f2", (image_size,) * 2), ("score", "f4")])


@torch.inference_mode()
def _fill(
    work: Unfinished, rows: NDArray[np.int64], inputs: Inputs, fitted: Fitted, size: int, seed: int
) -> None:
    """Compute the records that are not done yet, in the batches of an uninterrupted run."""
    batches = list(chunks(np.arange(work.done, work.size), size))
    for number in progress_bar(range(len(batches))):
        batch = batches[number]
        torch.manual_seed(step_seed(seed, int(batch[0])))
        maps, scores = fitted.maps_and_scores(*inputs.batch(rows[batch]))
        if not (np.isfinite(maps).all() and np.isfinite(scores).all()):
            names = ", ".join(inputs.images.paths[rows[batch]])
            raise UserError(
                f"system {fitted.name!r} gives scores that are not finite for some of {names}; "
                f"change systems.{fitted.name} in the configuration"
            )
        work.rows["row"][batch] = rows[batch]
        work.rows["heatmap"][batch], work.rows["score"][batch] = maps, scores
        work.advance(int(batch[-1]) + 1)
