"""fitted method -> its heatmaps and image scores."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

import drdc
from drdc.data.manifest import read_manifest
from drdc.methods.fitted_method import Fitted
from drdc.methods.inputs import Inputs
from drdc.methods.registry import Configured
from drdc.results.layout import Layout
from drdc.runtime.devices import torch_device
from drdc.runtime.errors import enough_memory
from drdc.runtime.files import load_metadata
from drdc.runtime.finite import refuse_not_finite
from drdc.runtime.identity import seed_of_batch
from drdc.runtime.resumable_array import Unfinished


def predict_system(layout: Layout, seed: int, *, method: Configured) -> None:
    """Write `seed<k>/methods/<name>.npy`, see `record_type`; goes on after the last saved batch.

    One record for each test and each held-out normal image.
    """
    table, inputs = read_manifest(layout.manifest), Inputs.read(layout)
    rows = np.flatnonzero(table.split != "train")
    fitted = Fitted.load(layout, seed, method.name)
    size = fitted.method.settings.batch_size
    identity = {
        "rows": rows.tolist(),
        "inputs": inputs.digest(rows),
        "seed": seed,
        "model": load_metadata(layout.model(seed, f"methods/{method.name}"))["sha256"],
        "computed by": [drdc.__version__, torch.__version__, torch_device(), size],
    }
    work = Unfinished(
        layout.unfinished(seed, "methods", method.name),
        layout.method(seed, method.name, ".npy"),
        layout.manifest,
        identity,
        record_type(inputs.shapes.image_size),
        len(rows),
    )

    def fill(batch: NDArray[np.int64]) -> None:
        torch.manual_seed(seed_of_batch(seed, table.pixels_sha256[rows[batch[0]]]))
        maps, scores = fitted.maps_and_scores(*inputs.batch(rows[batch]))
        what, fix = f"the scores of {fitted.name!r} are", f"change methods.{fitted.name} in the configuration"
        refuse_not_finite(what, [maps, scores], inputs.images.paths[rows[batch]], fix)
        work.rows["row"][batch] = rows[batch]
        work.rows["heatmap"][batch], work.rows["score"][batch] = maps, scores

    with enough_memory(f"methods.{method.name}.batch_size"), torch.inference_mode():
        work.complete(size, fill)


def record_type(image_size: int) -> np.dtype[np.void]:
    """One image: `row` in the manifest, standardised `heatmap` (H, W) float16, image `score` float32."""
    return np.dtype([("row", "i8"), ("heatmap", "f2", (image_size,) * 2), ("score", "f4")])
