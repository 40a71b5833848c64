"""predictions -> scores: fuse the maps, score the images, compute every metric per category."""

from __future__ import annotations

import importlib.metadata
import logging
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

import drdc
from drdc.config.sections import Diffusion, Fusion
from drdc.config.variants import FULL, Stored
from drdc.data.manifest import read_manifest
from drdc.equations.fusion import image_score
from drdc.evaluation.category import (
    CURVE_COLUMNS,
    CategoryEvaluation,
    Row,
    has_masks,
    image_rows,
    means,
    undefined_rows,
)
from drdc.evaluation.controls import ORACLES, oracle_mask, random_map
from drdc.evaluation.evaluator import NO_MASKS
from drdc.experiment.stage_settings import config_hash
from drdc.models.denoiser import use_bf16
from drdc.results.layout import EVIDENCE, Layout
from drdc.results.predictions import batches, fuse, read_parts, statistics
from drdc.results.scores import failure_note, write_table
from drdc.runtime.batching import in_order, job_threads
from drdc.runtime.devices import device_name, torch_device
from drdc.runtime.errors import UserError
from drdc.runtime.files import load_array

log = logging.getLogger(__name__)

METHODS = ("base", "diffusion", "drdc", "random_map", *ORACLES.values())
LIBRARIES = ("torch", "timm", "diffusers", "numpy", "scipy", "snakemake")


def score(
    layout: Layout,
    seed: int,
    *,
    fusion: Fusion,
    variant: str,
    stored: Stored,
    partial: bool = False,
    **others: Any,
) -> None:
    """Fuse the maps of one run and compute the metrics.

    For the whole method write `seed<k>/scores.csv`, one row for each method, category and metric, and beside
    it `image_scores.csv`, `curves.csv` and `defects.csv`; for another variant the metrics of DRDC alone, in
    `seed<k>/variants/`. The maps' common scale comes from held-out normal training images; test images only
    give the metrics.

    Args:
        partial: note a category without predictions as failed instead of stopping; the scale of the maps then
            comes from the other categories.
        others: the settings that led to the predictions; they only enter the configuration's hash.

    Raises:
        UserError: there are no test images. The metrics of a category without them have no values.
    """
    table = read_manifest(layout.manifest)
    parts = read_parts(layout, seed, stored.name, table, partial)
    predicted = set(table.category.iloc[np.concatenate([records["row"] for records in parts])])
    tested = set(table.category[table.split == "test"])
    if not tested & predicted:
        raise UserError(
            f"{layout.manifest}: there are no test images to score; add some, or take the target `detector`, "
            "which trains and exports a model without them"
        )
    found: dict[str, list[Row]] = {"scores": [], **{kind: [] for kind in EVIDENCE}}
    with _one_thread_each():
        run = _Run(layout, table, seed, fusion, parts, variant == FULL)
        for rows in in_order(run.evaluate, sorted(predicted), job_threads()):
            for kind in rows:
                found[kind] += rows[kind]
    for category in sorted(set(table.category) - predicted):
        note = failure_note(layout.log(f"predict.seed{seed}.{stored.name}.{category}"))
        found["scores"] += undefined_rows(category, METHODS if variant == FULL else ["drdc"], note)
    _write(layout, seed, variant, found, provenance({"fusion": fusion, **others}))


class _Run:
    """The predictions of one run with all that their evaluation needs."""

    def __init__(
        self,
        layout: Layout,
        table: pd.DataFrame,
        seed: int,
        fusion: Fusion,
        parts: list[NDArray[np.void]],
        full: bool,
    ) -> None:
        self.table, self.seed, self.fusion, self.parts, self.full = table, seed, fusion, parts, full
        self.masks = load_array(layout.masks, len(table), "prepare")
        self.scale = statistics(parts, (table.split == "val").to_numpy(), fusion)
        log.info("means and deviations over held-out normal images: %s", self.scale)

    def evaluate(self, category: str) -> dict[str, list[Row]]:
        """The rows of one category: of all methods with the evidence, or DRDC's metrics alone."""
        masked = has_masks(self.table[self._chosen(category, "test")])
        without = [] if masked else list(ORACLES.values())
        methods = [m for m in METHODS if m not in without] if self.full else ["drdc"]
        evaluation = CategoryEvaluation(category, methods, masked, self.full)
        for about, maps in self._fused(category, "test"):
            truth = self.masks[about.index]
            maps = maps | _controls(about, truth, self.seed) if self.full else maps
            maps = {method: maps[method] for method in methods}
            evaluation.update(about, truth, {m: h.numpy() for m, h in maps.items()}, self._scores(maps))
        if not self.full:
            return {"scores": evaluation.metric_rows()}
        held_out = [image_rows(about, self._scores(maps)) for about, maps in self._fused(category, "val")]
        return {
            "scores": evaluation.metric_rows() + undefined_rows(category, without, NO_MASKS),
            "image_scores": evaluation.image_rows + list(chain.from_iterable(held_out)),
            "curves": evaluation.curve_rows(),
            "defects": evaluation.defect_rows(),
        }

    def _fused(self, category: str, split: str) -> Iterator[tuple[pd.DataFrame, dict[str, Tensor]]]:
        """(rows of the manifest, heatmaps of base, diffusion and drdc), a few images at a time."""
        for records in batches(self.parts, self._chosen(category, split)):
            yield self.table.iloc[records["row"]], dict(vars(fuse(records, self.fusion, self.scale)))

    def _scores(self, maps: dict[str, Tensor]) -> dict[str, NDArray[np.floating]]:
        return {method: image_score(m, self.fusion.pool_size).numpy() for method, m in maps.items()}

    def _chosen(self, category: str, split: str) -> NDArray[np.bool_]:
        return ((self.table.category == category) & (self.table.split == split)).to_numpy()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """The categories share the job's threads, one each, so torch must not take all of them for each.

    One thread also makes the sums behind the maps' scale the same to the bit, however many there are.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _controls(about: pd.DataFrame, masks: NDArray[np.bool_], seed: int) -> dict[str, Tensor]:
    """Heatmaps (B, H, W) of the control methods."""
    noise = [random_map(key, seed, masks.shape[-1]) for key in about.pixels_sha256]
    oracles = {method: oracle_mask(torch.from_numpy(masks), s) for s, method in ORACLES.items()}
    return {"random_map": torch.from_numpy(np.stack(noise))} | oracles


def _write(
    layout: Layout, seed: int, variant: str, found: dict[str, list[Row]], origin: dict[str, str]
) -> None:
    """The files of one run: all metrics with where they come from, and the evidence of the full variant."""
    frame = pd.DataFrame(found.pop("scores"))
    head = {"experiment": layout.experiment, "method": frame.pop("method"), "variant": variant, "seed": seed}
    frame = pd.concat([pd.DataFrame(head, index=frame.index), frame], axis=1).assign(**origin)
    log.info("means over categories, seed %d\n%s", seed, means(frame))
    for kind, rows in found.items() if variant == FULL else ():
        evidence = pd.DataFrame(rows, columns=list(CURVE_COLUMNS) if kind == "curves" else None)
        evidence.insert(0, "seed", seed)
        write_table(layout.seed_evidence(seed, kind), evidence)
    write_table(layout.seed_scores(seed, variant), frame)


def provenance(settings: dict[str, Any]) -> dict[str, str]:
    """What a number depends on beside the data: code, configuration, libraries, device and its rounding."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    return {
        "code_version": drdc.__version__,
        "config_hash": config_hash(settings),
        "versions": "; ".join([f"python {platform.python_version()}", *versions]),
        "device": device_name(),
        "flags": _flags(settings.get("diffusion")),
    }


def _flags(diffusion: Diffusion | None) -> str:
    """How the device computes: whether always alike, and where with fewer digits."""
    device = torch.device(torch_device())
    flags = {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "tf32": device.type == "cuda" and torch.backends.cudnn.allow_tf32,
    }
    if diffusion is not None:
        flags["bf16"] = use_bf16(diffusion.precision, device)
    return "; ".join(f"{name} {'on' if on else 'off'}" for name, on in flags.items())
