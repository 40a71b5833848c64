"""predictions -> scores: fuse the maps, score the images, compute every metric per category."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

import drdc
from drdc.baselines.controls import ORACLES, oracle_mask, random_map
from drdc.config import Fusion, config_hash
from drdc.data.manifest import read_manifest
from drdc.devices import device_name
from drdc.files import atomic, load_array
from drdc.fusion import image_score
from drdc.layout import Layout
from drdc.metrics import CategoryEvaluator
from drdc.predictions import Statistics, chunks, fuse, read, statistics

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "timm", "diffusers", "numpy", "scipy", "snakemake")


def score(layout: Layout, seed: int, *, fusion: Fusion, **others: Any) -> None:
    """Write `seed<k>/scores.csv`, one row for each method, category and metric.

    The maps' common scale comes from held-out normal training images; test images only give the metrics.
    `others` are the settings that led to the predictions; they only enter the configuration's hash.
    """
    table = read_manifest(layout.manifest)
    categories = sorted(set(table.category))
    files = [layout.predictions(seed, category) for category in categories]
    scale = statistics(files, (table.split == "val").to_numpy(), fusion)
    log.info("means and deviations over held-out normal images: %s", scale)
    rows = [
        {"category": category, "method": method, "metric": metric, "value": result.value, "note": result.note}
        for category, path in zip(categories, files, strict=True)
        for method, evaluator in _evaluate(layout, table, seed, category, fusion, scale).items()
        for metric, result in evaluator.results().items()
    ]
    constants: dict[str, Any] = {
        "experiment": layout.experiment,
        "variant": "full",
        "seed": seed,
    } | provenance({"fusion": fusion, **others})
    frame = pd.DataFrame(rows).assign(**constants)
    order = ["experiment", "method", "variant", "seed", "category", "metric", "value", "note"]
    with atomic(layout.seed_scores(seed)) as path:
        frame[order + [name for name in frame if name not in order]].to_csv(path, index=False)
    means = frame.pivot_table(index="method", columns="metric", values="value", sort=False)
    log.info("means over categories, seed %d\n%s", seed, means.round(4).to_string())


def provenance(settings: dict[str, Any]) -> dict[str, str]:
    """What a number depends on beside the data: code, configuration, libraries, device."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    return {
        "code_version": drdc.__version__,
        "config_hash": config_hash(settings),
        "versions": "; ".join([f"python {platform.python_version()}", *versions]),
        "device": device_name(),
    }


def _evaluate(
    layout: Layout, table: pd.DataFrame, seed: int, category: str, fusion: Fusion, scale: Statistics
) -> dict[str, CategoryEvaluator]:
    """Evaluators of all methods, fed with the test images of one category."""
    masks = load_array(layout.masks, len(table), "prepare")
    test = ((table.category == category) & (table.split == "test")).to_numpy()
    has_masks = bool((table["mask"][test] != "").any())
    records = read(layout.predictions(seed, category))
    evaluators: dict[str, CategoryEvaluator] = {}
    for batch in chunks(np.flatnonzero(test[records["row"]])):
        rows = records["row"][batch]
        truth, labels = masks[rows], table.label.to_numpy()[rows]
        for method, maps in _maps(records[batch], truth, table.sha256[rows].tolist(), seed, fusion, scale):
            evaluator = evaluators.setdefault(method, CategoryEvaluator(has_masks))
            evaluator.update(maps.numpy(), truth, image_score(maps, fusion.pool_size).numpy(), labels)
    return evaluators


def _maps(
    records: NDArray[np.void],
    masks: NDArray[np.bool_],
    keys: list[str],
    seed: int,
    fusion: Fusion,
    scale: Statistics,
) -> Iterator[tuple[str, Tensor]]:
    """(method, heatmaps (B, H, W)) of all methods for some images."""
    fused = fuse(records, fusion, scale)
    yield from vars(fused).items()
    noise = [random_map(key, seed, masks.shape[-1]) for key in keys]
    yield "random_map", torch.from_numpy(np.stack(noise))
    for reduction, method in ORACLES.items():
        yield method, oracle_mask(torch.from_numpy(masks), reduction)
