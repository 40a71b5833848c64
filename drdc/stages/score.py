"""predictions -> scores: heatmaps, image scores and every metric, category by category."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.fusion import Fusion
from drdc.config.variants import BEYOND, COMPARED, CONTROLS, DRDC, FULL, ORACLES, RANDOM, Stored
from drdc.data.manifest import read_manifest
from drdc.equations.stored_maps import image_score
from drdc.evaluation.calibration import RATE, by_group, needed
from drdc.evaluation.category import (
    CURVE_COLUMNS,
    DEFECT_COLUMNS,
    IMAGE_COLUMNS,
    CategoryEvaluation,
    PooledCurves,
    Row,
    has_masks,
    image_rows,
    means,
    undefined_rows,
)
from drdc.evaluation.controls import controls
from drdc.evaluation.evaluator import NO_MASKS
from drdc.experiment.provenance import provenance
from drdc.methods.registry import Configured
from drdc.results.groups import read_groups
from drdc.results.heatmaps import Found, Heatmaps
from drdc.results.layout import SCORED, Layout
from drdc.results.predictions import Statistics
from drdc.results.scores import failure_note, write_table
from drdc.runtime.batching import chunks, in_order, job_threads
from drdc.runtime.errors import UserError
from drdc.runtime.files import load_array

log = logging.getLogger(__name__)

COLUMNS = {
    "image_scores": IMAGE_COLUMNS,
    "curves": CURVE_COLUMNS,
    "defects": DEFECT_COLUMNS,
    "map_scales": ("map", "mean", "std"),
}

#: method -> group of images -> threshold of their pixels.
Limits = dict[str, dict[str, float]]
#: (rows of the manifest, what each method finds), a few images at a time, for the chosen rows.
Batches = Callable[[NDArray[np.bool_]], Iterator[tuple[NDArray[np.int64], dict[str, Found]]]]


def score(
    layout: Layout,
    seed: int,
    *,
    fusion: Fusion | None = None,
    variant: str = FULL,
    stored: Stored | None = None,
    method: Configured | None = None,
    pool_size: int = 1,
    partial: bool = False,
    **others: Any,
) -> None:
    """Compute the metrics of one run: of DRDC or a variant of it, of another method, or of the controls.

    Write in `seed<k>/scores/<run>/`: `scores.csv`, one row for each method, category and metric, and
    `image_scores.csv`, `curves.csv`, `defects.csv` and `map_scales.csv`. DRDC's maps are brought to one scale
    by held-out normal training images; test images are used for the metrics alone.

    Args:
        pool_size: of the average pool before the maximum, for the controls; other methods have their own.
        partial: note a category without predictions as failed instead of stopping.
        others: settings behind the predictions; they only enter the configuration's hash.

    Raises:
        UserError: there are no test images. The metrics of a category without them have no values.
    """
    table = read_manifest(layout.manifest)
    table["group"] = read_groups(layout, table)["group"]
    masks = load_array(layout.masks, len(table), "prepare")
    if fusion is not None and stored is not None:
        run = _of_drdc(layout, seed, table, fusion, variant, stored, partial)
        others |= {"fusion": fusion}
    elif method is not None:
        maps = Heatmaps.of_method(layout, seed, table, method.name)
        own = maps.methods
        run = _Run(
            method.name, own, own, maps.categories(table), maps.batches, models=(method.name,), pooled=own
        )
        others |= {"method": method}
    else:
        batches = _Controls(table, masks, seed, pool_size).batches
        run = _Run(CONTROLS, (RANDOM, *ORACLES.values()), (), set(table.category), batches)
    if not run.categories & set(table.category[table.split == "test"]):
        raise UserError(
            layout.manifest,
            "there are no test images to score",
            "add some, or use the target `detector`, which trains and exports a model without them",
        )
    failed = {
        category: failure_note(layout.log(f"predict.seed{seed}.{run.name}.{category}"))
        for category in sorted(set(table.category) - run.categories)
    }
    rows = _rows(run, table, masks, next(iter(failed.values()), ""))
    if failed:
        _note_changed(rows["scores"], run, sorted(failed))
    for category, note in failed.items():
        rows["scores"] += undefined_rows(category, run.methods, note)
    rows["map_scales"] = [{"map": kind, "mean": mean, "std": std} for kind, (mean, std) in run.scales.items()]
    _write(layout, seed, run, variant, rows, provenance(others))


def _of_drdc(
    layout: Layout,
    seed: int,
    table: pd.DataFrame,
    fusion: Fusion,
    variant: str,
    stored: Stored,
    partial: bool,
) -> _Run:
    """A variant of DRDC; of DRDC itself the parts as well."""
    whole = variant == FULL
    maps = Heatmaps.of_drdc(layout, seed, table, fusion, stored.name, whole=whole, partial=partial)
    compared = COMPARED if whole else (DRDC,)
    told = {kind: float(f"{mean:.3g}") for kind, (mean, _) in maps.scales.items()}
    log.info("means of the raw maps of held-out normal images: %s", told)
    pooled = compared if whole or variant in BEYOND else ()
    categories, models = maps.categories(table), ("base", stored.model)
    return _Run(variant, maps.methods, compared, categories, maps.batches, models, pooled, maps.scales)


@dataclass(frozen=True)
class _Run:
    """What is evaluated.

    Attributes:
        name: of its files.
        methods: names of its methods.
        compared: those of them with curves and defect types.
        categories: those with predictions.
        batches: what they find in chosen images.
        models: trained ones, of which the predictions are.
        pooled: those methods that are also measured over all categories together.
        scales: mean and standard deviation of both of DRDC's raw maps over held-out normal images.
    """

    name: str
    methods: tuple[str, ...]
    compared: tuple[str, ...]
    categories: set[str]
    batches: Batches
    models: tuple[str, ...] = ()
    pooled: tuple[str, ...] = ()
    scales: Statistics = field(default_factory=dict)


@dataclass(frozen=True)
class _Controls:
    """The controls, which need no predictions."""

    table: pd.DataFrame
    masks: NDArray[np.bool_]
    seed: int
    pool_size: int

    def batches(self, chosen: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], dict[str, Found]]]:
        for rows in chunks(np.flatnonzero(chosen & (self.table.split == "test").to_numpy())):
            maps = controls(self.table.iloc[rows], np.asarray(self.masks[rows]), self.seed)
            yield rows, {name: Found(own, image_score(own, self.pool_size)) for name, own in maps.items()}


def _rows(run: _Run, table: pd.DataFrame, masks: NDArray[np.bool_], failed: str) -> dict[str, list[Row]]:
    """The rows of all categories with predictions, by kind; `failed`: why others have none, "" if none is."""
    rows: dict[str, list[Row]] = {kind: [] for kind in SCORED}
    rows["image_scores"], limits = _held_out(run, table)
    pooled = PooledCurves(run.pooled)
    for evaluation, found in in_order(
        lambda category: _evaluate(run, table, masks, category, limits),
        sorted(run.categories),
        job_threads(),
    ):
        pooled.add(evaluation)
        for kind, own in found.items():
            rows[kind] += own
    rows["scores"] += pooled.metric_rows(failed)
    return rows


def _note_changed(rows: list[Row], run: _Run, failed: list[str]) -> None:
    """Note which values would be others if no category had failed: those that depend on all held-out images.

    DRDC's maps are brought to one scale by them, and thresholds of SegF1 are from them.
    """
    told = f"approximate: without the held-out images of {', '.join(failed)}, which failed"
    for row in rows:
        depends = row["metric"] == "pixel_segf1" or (run.scales and row["method"] == DRDC)
        if depends and not row["note"] and not np.isnan(row["value"]):
            row["note"] = told


def _held_out(run: _Run, table: pd.DataFrame) -> tuple[list[Row], Limits]:
    """Rows of the held-out images' scores, and the pixel thresholds of each method where they are enough."""
    rows: list[Row] = []
    peaks: dict[str, list[pd.Series]] = {}
    chosen = (table.split == "val").to_numpy() & table.category.isin(run.categories).to_numpy()
    for images, predicted in run.batches(chosen):
        # Heatmaps that were made elsewhere may lack all of these images.
        found = {name: own for name, own in predicted.items() if not np.isnan(own.scores).all()}
        rows += image_rows(table.iloc[images], {name: own.scores for name, own in found.items()})
        for name, own in found.items():
            peaks.setdefault(name, []).append(pd.Series(own.maps.max((1, 2)), index=table.group.iloc[images]))
    every = {name: pd.concat(own) for name, own in peaks.items()}
    groups = sorted(set(table.group))
    return rows, {
        name: by_group(own.to_numpy(), own.index.to_numpy(str), RATE, groups)
        for name, own in every.items()
        if len(own) >= needed(RATE)
    }


def _evaluate(
    run: _Run,
    table: pd.DataFrame,
    masks: NDArray[np.bool_],
    category: str,
    pixel_thresholds: Limits,
) -> tuple[CategoryEvaluation, dict[str, list[Row]]]:
    """One category, and its rows by kind."""
    test = ((table.category == category) & (table.split == "test")).to_numpy()
    masked = has_masks(table[test])
    without = [] if masked else [name for name in run.methods if name in ORACLES.values()]
    methods = [name for name in run.methods if name not in without]
    evaluation = CategoryEvaluation(category, methods, masked, run.compared)
    for rows, found in run.batches(test):
        maps = {name: found[name].maps for name in methods}
        scores = {name: found[name].scores for name in methods}
        groups = table.group.iloc[rows]
        limits = {name: groups.map(own).to_numpy(float) for name, own in pixel_thresholds.items()}
        evaluation.update(table.iloc[rows], np.asarray(masks[rows]), maps, scores, limits)
    return evaluation, {
        "scores": evaluation.metric_rows() + undefined_rows(category, without, NO_MASKS),
        "image_scores": evaluation.image_rows,
        "curves": evaluation.curve_rows(),
        "defects": evaluation.defect_rows(),
    }


def _write(
    layout: Layout,
    seed: int,
    run: _Run,
    variant: str,
    rows: dict[str, list[Row]],
    origin: dict[str, str],
) -> None:
    """Write the files of one run: all metrics with their provenance, and the other kinds."""
    sources = layout.sources(seed, run.models)
    frame = pd.DataFrame(rows["scores"])
    head = {"experiment": layout.experiment, "method": frame.pop("method"), "variant": variant, "seed": seed}
    frame = pd.concat([pd.DataFrame(head, index=frame.index), frame], axis=1).assign(**origin)
    log.info("means over categories, seed %d\n%s", seed, means(frame))
    for kind, columns in COLUMNS.items():
        table = pd.DataFrame(rows[kind], columns=list(columns))
        table.insert(0, "seed", seed)
        write_table(layout.scored(seed, run.name, kind), table, *sources)
    write_table(layout.scored(seed, run.name), frame, *sources)
