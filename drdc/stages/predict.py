"""trained models -> predictions: base maps (Eq. 2) and the reverse chain's errors (Eq. 7-14)."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import drdc
from drdc.config.sections import Sampling
from drdc.config.variants import Stored
from drdc.data.manifest import read_manifest
from drdc.equations.diffusion import to_unit_range
from drdc.models.inpainter import Inpainter, load_base
from drdc.results.layout import Layout
from drdc.results.predictions import record_type, store_base, store_errors
from drdc.runtime.batching import chunks
from drdc.runtime.errors import UserError, enough_memory
from drdc.runtime.files import load_array, load_metadata
from drdc.runtime.finite import refuse_not_finite
from drdc.runtime.resumable_array import Unfinished

log = logging.getLogger(__name__)

_FIX = (
    "lower base.learning_rate and diffusion.learning_rate, so that the models are trained again, or set "
    "sampling.clip to true"
)


def predict(layout: Layout, seed: int, category: str, *, sampling: Sampling, stored: Stored) -> None:
    """Write `seed<k>/predictions/<name>/<category>.npy`, the category `all` standing for all of them.

    One record for each test and each held-out normal image, see `drdc.results.predictions`. Goes on after
    the last saved batch of a call that was killed, and computes nothing where the same predictions are there
    already.
    """
    inputs = _Inputs.load(layout, category)
    models = {kind: layout.model(seed, kind) for kind in ("base", stored.model)}
    base, inpainter = load_base(layout, seed), Inpainter.load(layout, seed, sampling, stored.model)
    grid_sizes = sampling.grid_sizes if stored.detailed else None
    identity = inputs.identity() | {
        "seed": seed,
        "sampling": sampling.model_dump(mode="json"),
        "models": [load_metadata(path)["sha256"] for path in models.values()],
        "computed by": [drdc.__version__, torch.__version__, inpainter.device.type],
    }
    work = Unfinished(
        layout.unfinished(seed, stored.name, category),
        layout.predictions(seed, stored.name, category),
        layout.manifest,
        identity,
        record_type(inputs.images.shape[1], inputs.features.shape[2], grid_sizes),
        len(inputs.rows),
    )

    def fill(batch: NDArray[np.int64]) -> None:
        rows = inputs.rows[batch]
        work.rows["row"][batch] = rows
        own = torch.from_numpy(inputs.features[rows]).to(inpainter.device).float()
        store_base(work.rows, batch, own, base(own))
        keys = [inputs.keys[i] for i in batch]
        errors = inpainter.reconstruct(to_unit_range(inputs.images[rows]), keys, seed)
        store_errors(work.rows, batch, errors, grid_sizes)
        refuse_not_finite("the predictions are", [work.rows[batch]], inputs.paths[batch], _FIX)

    log.info("%d U-Net calls an image", inpainter.calls)
    with enough_memory("sampling.batch_size"), torch.inference_mode():
        work.complete(sampling.batch_size, fill)


@dataclass(frozen=True)
class _Inputs:
    """The test and held-out images of a category, or of all.

    Attributes:
        rows: their row numbers in the manifest, (N,).
        paths: of their files, (N,), for messages.
        keys: the digests of their pixels, from which their noise follows.
        images, features: of the whole manifest, memory-mapped.
    """

    rows: NDArray[np.int64]
    paths: NDArray[np.str_]
    keys: list[str]
    images: np.ndarray
    features: np.ndarray

    @classmethod
    def load(cls, layout: Layout, category: str) -> _Inputs:
        table = read_manifest(layout.manifest)
        chosen = (table.category == category) | (category == "all")
        rows = np.flatnonzero(chosen & (table.split != "train"))
        if not len(rows):
            known = ", ".join(sorted(set(table.category)))
            raise UserError(
                "", f"category {category!r} has no images in {layout.manifest}", f"known: {known}"
            )
        images = load_array(layout.images, len(table), "prepare")
        features = load_array(layout.features, len(table), "features")
        return cls(rows, table.path[rows].to_numpy(), table.pixels_sha256[rows].tolist(), images, features)

    def identity(self) -> dict[str, Any]:
        """What tells these inputs from any others."""
        digests = [hashlib.sha256(), hashlib.sha256()]
        for rows in chunks(self.rows):
            for digest, array in zip(digests, (self.images, self.features), strict=True):
                digest.update(array[rows].tobytes())
        return {"rows": self.rows.tolist(), "keys": self.keys, "inputs": [d.hexdigest() for d in digests]}
