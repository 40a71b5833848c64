"""heatmaps of a compared method -> its metrics, by the rules of the whole method."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from drdc.config.sections import Backbone, Dataset
from drdc.config.variants import FULL
from drdc.data.manifest import read_manifest
from drdc.evaluation.category import CategoryEvaluation, Row, has_masks, means
from drdc.methods.registry import Configured
from drdc.results.layout import Layout
from drdc.results.predictions import batches, read_method
from drdc.results.scores import write_table
from drdc.runtime.files import load_array
from drdc.stages.score import provenance

log = logging.getLogger(__name__)


def score_system(
    layout: Layout, seed: int, *, dataset: Dataset, backbone: Backbone, method: Configured
) -> None:
    """Write `seed<k>/methods/<name>.csv`, rows as in `scores.csv` with the run's name as the method."""
    table = read_manifest(layout.manifest)
    masks = load_array(layout.masks, len(table), "prepare")
    records = read_method(layout, seed, method.name, table)
    rows: list[Row] = []
    for category in sorted(set(table.category)):
        chosen = ((table.category == category) & (table.split == "test")).to_numpy()
        masked = has_masks(table[chosen])
        evaluation = CategoryEvaluation(category, [method.name], masked, thorough=False)
        for batch in batches([records], chosen):
            maps, scores = batch["heatmap"].astype(np.float32), batch["score"].astype(np.float32)
            about = table.iloc[batch["row"]]
            evaluation.update(about, masks[batch["row"]], {method.name: maps}, {method.name: scores})
        rows += evaluation.metric_rows()
    head = {"experiment": layout.experiment, "method": method.name, "variant": FULL, "seed": seed}
    frame = pd.DataFrame([head | row for row in rows])
    frame = frame.assign(**provenance({"dataset": dataset, "backbone": backbone, "method": method}))
    log.info("means over categories, %s, seed %d\n%s", method.name, seed, means(frame))
    write_table(layout.method(seed, method.name, ".csv"), frame)
