"""When does model conditioning help? DRDC's diffusion map with it and without it (Table 5).

    python benchmarks/conditioning.py CONFIG --initial-index 50 100 200 400 --grid-sizes 4 8 16

Takes both diffusion models of the trained experiment CONFIG (with `evaluation.ablation`), and prints as CSV
what each reaches on the test images, for each first timestep and cell side k: image AUROC, pixel AUROC and
pixel AP of the diffusion map alone (Eq. 16), means over the categories in percent, and the mean error within
defects and elsewhere in units of the error in held-out normal images. Nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from drdc.data.manifest import read_manifest
from drdc.equations.diffusion import to_unit_range
from drdc.equations.fusion import image_score, mean_filter, spatio_temporal_map
from drdc.evaluation.evaluator import CategoryEvaluator
from drdc.experiment.experiment import Experiment, load_experiment
from drdc.models.inpainter import Inpainter
from drdc.results.layout import Layout
from drdc.runtime.batching import chunks
from drdc.runtime.files import load_array

MODELS = ("diffusion", "unconditional")
MEASURES = ("image_auroc", "pixel_auroc", "pixel_ap")
COLUMNS = (
    *("experiment", "images", "loss_region", "model", "initial_index", "grid_size"),
    *MEASURES,
    *("error_in_defects", "error_elsewhere"),
)


def diffusion_maps(
    inpainter: Inpainter, images: NDArray[np.uint8], keys: list[str], experiment: Experiment
) -> NDArray[np.float32]:
    """Eq. 16 of each cell side apart, (K, N, H, W), for images (N, H, W, 3)."""
    fusion, parts = experiment.fusion, []
    for rows in chunks(np.arange(len(images)), experiment.sampling.batch_size):
        found = inpainter.reconstruct(
            to_unit_range(torch.from_numpy(images[rows])), [keys[row] for row in rows], 0
        ).scales
        each = [
            {int(s): found[s][:, k] for s in fusion.scales} for k in range(len(inpainter.sampling.grid_sizes))
        ]
        maps = torch.stack([spatio_temporal_map(scales, images.shape[1]) for scales in each])
        parts.append(mean_filter(maps.flatten(0, 1), fusion.filter_size).view_as(maps).cpu())
    return torch.cat(parts, 1).numpy()


def measured(
    maps: NDArray[np.float32], masks: NDArray[np.bool_], table: pd.DataFrame, pool_size: int
) -> dict[str, float]:
    """Means over the categories; `maps` and `masks` (N, H, W) are those of the rows of `table`."""
    test, scores = (table.split == "test").to_numpy(), image_score(torch.from_numpy(maps), pool_size).numpy()
    found = []
    for category in sorted(set(table.category)):
        own = (table.category == category).to_numpy()
        chosen, normal = own & test, maps[own & ~test].mean()
        evaluator = CategoryEvaluator(has_masks=True)
        evaluator.update(maps[chosen], masks[chosen], scores[chosen], table.label[chosen].to_numpy())
        results = evaluator.results()
        found.append(
            {name: 100 * results[name].value for name in MEASURES}
            | {"error_in_defects": maps[chosen][masks[chosen]].mean() / normal}
            | {"error_elsewhere": maps[chosen][~masks[chosen]].mean() / normal}
        )
    return {str(name): float(value) for name, value in pd.DataFrame(found).mean().items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--initial-index", type=int, nargs="+", required=True)
    parser.add_argument("--grid-sizes", type=int, nargs="+", required=True)
    options = parser.parse_args()
    experiment = load_experiment(options.config)
    layout, settings = Layout(experiment.experiment), experiment.diffusion
    table = read_manifest(layout.manifest)
    rows = np.flatnonzero(table.split != "train")
    images = load_array(layout.images(experiment.dataset.image_size), len(table), "images")[rows]
    masks, table = load_array(layout.masks, len(table), "prepare")[rows], table.iloc[rows]
    writer = csv.DictWriter(sys.stdout, COLUMNS)
    writer.writeheader()
    for index in options.initial_index:
        changed = {"initial_index": index, "grid_sizes": options.grid_sizes}
        sampling = experiment.sampling.model_copy(update=changed)
        for model in MODELS:
            inpainter = Inpainter.load(layout, experiment.seeds[0], sampling, model)
            with torch.inference_mode():
                maps = diffusion_maps(inpainter, np.asarray(images), list(table.path), experiment)
            for grid_size, own in zip(options.grid_sizes, maps, strict=True):
                head = (experiment.experiment, settings.images, settings.loss_region, model, index, grid_size)
                result = measured(own, np.asarray(masks), table, experiment.fusion.pool_size)
                texts = {name: f"{value:.2f}" for name, value in result.items()}
                writer.writerow(dict(zip(COLUMNS, head, strict=False)) | texts)
                sys.stdout.flush()


if __name__ == "__main__":
    main()
