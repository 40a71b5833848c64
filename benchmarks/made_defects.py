"""Choosing settings of the reverse chain without test images: made defects in held-out normal images.

    python benchmarks/made_defects.py CONFIG --initial-index 50 100 150 --grid-sizes 4 8 16

Each held-out normal image of the trained experiment CONFIG is taken three times: as it is, with a faint
blurred spot, and with a strip of itself pasted elsewhere. Printed: mean over categories and both kinds of
defect of the image AUROC of the diffusion map, for each first timestep and set of grid sizes.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from drdc.config import STORED_SCALES, Fusion
from drdc.data.manifest import read_manifest
from drdc.diffusion import to_unit_range
from drdc.experiment import load_experiment
from drdc.files import load_array
from drdc.fusion import image_score, mean_filter, spatio_temporal_map
from drdc.layout import Layout
from drdc.models.inference import Inpainter
from drdc.pieces import chunks

Pixels = NDArray[np.float64]


def faint_spot(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A half transparent spot of 5 to 11 % of the side, blurred, 15 to 40 grey levels lighter or darker."""
    side = len(image)
    wobble = gaussian_filter(rng.normal(size=(side, side)), side / 32)
    row, column = rng.integers(side // 4, 3 * side // 4, 2)
    distance = np.hypot(*np.ogrid[-row : side - row, -column : side - column])
    spot = distance / (side * rng.uniform(0.05, 0.11)) + 0.25 * wobble / wobble.std() < 1
    cover = 0.45 * gaussian_filter(spot.astype(float), 0.7)[..., None]
    shade = rng.choice([-1, 1]) * rng.uniform(15, 40)
    return image * (1 - cover) + cover * (gaussian_filter(image, (2, 2, 0)) + shade)


def moved_strip(image: Pixels, rng: np.random.Generator) -> Pixels:
    """A strip of the image, 4 % thick and 10 to 22 % long, pasted elsewhere, lying or standing."""
    side = len(image)
    thick, long = side // 25, int(side * rng.uniform(0.1, 0.22))
    top, left = rng.integers(side // 10, side - long - 1, 2)
    strip = image[top : top + thick, left : left + long] * rng.uniform(0.85, 1.15)
    strip = strip if rng.random() < 0.5 else strip.swapaxes(0, 1)
    row, column = rng.integers(side // 4, 3 * side // 4 - long // 2, 2)
    changed = image.copy()
    changed[row : row + strip.shape[0], column : column + strip.shape[1]] = strip
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--initial-index", type=int, nargs="+", required=True)
    parser.add_argument("--grid-sizes", type=int, nargs="+", required=True)
    options = parser.parse_args()
    experiment = load_experiment(options.config)
    layout, seed = Layout(experiment.experiment), experiment.seeds[0]
    table = read_manifest(layout.manifest)
    stored = load_array(layout.images, len(table), "prepare")
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(table.split == "val")
    kinds = {"good": lambda image, rng: image, "spot": faint_spot, "strip": moved_strip}
    made = [make(stored[row].astype(float), rng) for row in rows for make in kinds.values()]
    images = np.clip(np.stack(made), 0, 255).round().astype(np.uint8)
    kind = np.array(list(kinds) * len(rows))
    category = np.repeat(table.category.to_numpy()[rows], len(kinds))

    def auroc(scales: dict[int, torch.Tensor], fusion: Fusion) -> float:
        maps = spatio_temporal_map({s: scales[s] for s in fusion.scales}, images.shape[1])
        scores = image_score(mean_filter(maps, fusion.filter_size), fusion.pool_size).numpy()
        cells = itertools.product(sorted(set(category)), ("spot", "strip"))
        chosen = [(category == c) & np.isin(kind, ["good", k]) for c, k in cells]
        return float(np.mean([roc_auc_score(kind[own] != "good", scores[own]) for own in chosen]))

    for index in options.initial_index:
        changed = {"initial_index": index, "grid_sizes": options.grid_sizes}
        inpainter = Inpainter.load(layout, seed, experiment.sampling.model_copy(update=changed))
        parts = []
        with torch.inference_mode():
            for part in chunks(np.arange(len(images)), experiment.sampling.batch_size):
                keys = [str(number) for number in part]
                parts.append(inpainter.reconstruct(to_unit_range(images[part]), keys, seed).scales)
        for size in range(1, len(options.grid_sizes) + 1):
            for places in itertools.combinations(range(len(options.grid_sizes)), size):
                scales = {
                    s: torch.cat([p[s][:, list(places)].mean(1) for p in parts]).cpu() for s in STORED_SCALES
                }
                grids = [options.grid_sizes[place] for place in places]
                print(
                    f"initial index {index}, grid sizes {grids}: {100 * auroc(scales, experiment.fusion):.1f}"
                )


if __name__ == "__main__":
    main()
