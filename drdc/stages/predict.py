"""trained models -> predictions: base maps (Eq. 2) and the reverse chain's errors (Eq. 7-14)."""

from __future__ import annotations

import logging
import time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drdc.config import BASE_SCALES, Sampling
from drdc.data.manifest import read_manifest
from drdc.diffusion import to_unit_range
from drdc.errors import UserError
from drdc.files import atomic, create_array, load_array
from drdc.fusion import feature_error
from drdc.layout import Layout
from drdc.models.inference import Errors, Inpainter, load_base
from drdc.predictions import chunks, record_type
from drdc.stages.prepare import progress_bar
from drdc.variants import Stored

log = logging.getLogger(__name__)


def predict(layout: Layout, seed: int, category: str, *, sampling: Sampling, stored: Stored) -> None:
    """Write `seed<k>/predictions/<name>/<category>.npy`, the category `all` standing for all of them.

    One record for each test and each held-out normal image, see `drdc.predictions`.
    """
    table = read_manifest(layout.manifest)
    chosen = (table.category == category) | (category == "all")
    rows = np.flatnonzero(chosen & (table.split != "train"))
    if not len(rows):
        known = ", ".join(sorted(set(table.category)))
        raise UserError(f"category {category!r} has no images in {layout.manifest}; known: {known}")
    images = load_array(layout.images, len(table), "prepare")
    features = load_array(layout.features, len(table), "features")
    base, inpainter = load_base(layout, seed), Inpainter.load(layout, seed, sampling, stored.model)
    started = time.monotonic()
    with atomic(layout.predictions(seed, stored.name, category)) as path, torch.inference_mode():
        grid_sizes = sampling.grid_sizes if stored.detailed else None
        dtype = record_type(images.shape[1], features.shape[2], grid_sizes)
        records = create_array(path, dtype, (len(rows),))
        records["row"] = rows
        batches = list(chunks(np.arange(len(rows)), sampling.batch_size))
        for number in progress_bar(range(len(batches))):
            batch = batches[number]
            own = torch.from_numpy(features[rows[batch]]).to(inpainter.device).float()
            reconstructed = base(own)
            for scale in BASE_SCALES:
                records[f"base{scale}"][batch] = feature_error(own, reconstructed, scale).cpu().numpy()
            keys = table.sha256[rows[batch]].tolist()
            errors = inpainter.reconstruct(to_unit_range(images[rows[batch]]), keys, seed)
            store(records, batch, errors, grid_sizes)
        records.flush()
    seconds = (time.monotonic() - started) / len(rows)
    log.info("%d images, %.3f s an image, %d U-Net calls an image", len(rows), seconds, inpainter.calls)


def store(
    records: np.ndarray, batch: NDArray[np.int64], errors: Errors, grid_sizes: list[int] | None
) -> None:
    """Write the errors of a batch into its records (`drdc.predictions.record_type`), as float16."""
    for scale, maps in errors.scales.items():
        if grid_sizes is None:
            records[f"scale{scale}"][batch] = maps.mean(1).cpu().numpy()
            continue
        for place, k in enumerate(grid_sizes):
            records[f"k{k}.scale{scale}"][batch] = maps[:, place].cpu().numpy()
    if grid_sizes is not None:
        records["last"][batch] = errors.last.cpu().numpy()
        records["reconstruction"][batch] = _to_bytes(errors.reconstruction)


def _to_bytes(images: Tensor) -> np.ndarray:
    """[-1, 1] (B, 3, H, W) -> uint8 (B, H, W, 3)."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
