"""Choosing settings without test images: synthetic defects in held-out normal images.

    python benchmarks/synthetic_defects.py CONFIG --initial-index 50 100 150 --grid-sizes 4 8 16
    python benchmarks/synthetic_defects.py CONFIG --model results/NAME/detectors/METHOD.safetensors

Each held-out normal image of the trained experiment CONFIG is taken three times: as it is, with a faint
blurred spot, and with a strip of itself pasted elsewhere. Printed: mean over categories and both kinds of
defect of the image AUROC, of the diffusion map for each first timestep and set of grid sizes, and of exported
models (`drdc export`).
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from drdc.config.fusion import STORED_SCALES
from drdc.config.variants import FULL
from drdc.data.manifest import read_manifest
from drdc.data.pictures import read_picture
from drdc.detection.detector import Detector
from drdc.equations.diffusion import to_unit_range
from drdc.equations.fusion import image_score, mean_filter, spatio_temporal_map
from drdc.experiment.experiment import Experiment, load_experiment
from drdc.models.inpainter import Inpainter
from drdc.results.layout import Layout
from drdc.runtime.batching import chunks
from drdc.runtime.files import load_array

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


KINDS = {"good": lambda image, rng: image, "spot": faint_spot, "strip": moved_strip}


@dataclass(frozen=True)
class Synthetic:
    """Held-out images in each of `KINDS`, one after the other.

    Attributes:
        images: (N, H, W, 3) uint8.
        kind, category: of each image.
    """

    images: NDArray[np.uint8]
    kind: NDArray[np.str_]
    category: NDArray[np.str_]

    @classmethod
    def of(cls, layout: Layout, size: int) -> Synthetic:
        table = read_manifest(layout.manifest)
        stored = load_array(layout.images(size), len(table), f"images {size}")
        rng, rows = np.random.default_rng(0), np.flatnonzero(table.split == "val")
        synthetic = [make(stored[row].astype(float), rng) for row in rows for make in KINDS.values()]
        images = np.clip(np.stack(synthetic), 0, 255).round().astype(np.uint8)
        category = table.category.to_numpy(str)[rows]
        return cls(images, np.array(list(KINDS) * len(rows)), np.repeat(category, len(KINDS)))

    def auroc(self, scores: NDArray[np.float32]) -> float:
        """Mean over categories and kinds of defect, in percent; `scores` (N,) of the images."""
        cells = itertools.product(sorted(set(self.category)), ("spot", "strip"))
        chosen = [(self.category == c) & np.isin(self.kind, ["good", k]) for c, k in cells]
        return 100 * float(np.mean([roc_auc_score(self.kind[own] != "good", scores[own]) for own in chosen]))


def of_reverse_chain(synthetic: Synthetic, experiment: Experiment, index: int, grid_sizes: list[int]) -> None:
    """Print what the diffusion map reaches from that first timestep, for each set of those grid sizes."""
    layout, seed, fusion = Layout(experiment.experiment), experiment.seeds[0], experiment.fusion
    changed = {"initial_index": index, "grid_sizes": grid_sizes}
    inpainter = Inpainter.load(layout, seed, experiment.sampling.model_copy(update=changed))
    parts = []
    with torch.inference_mode():
        for part in chunks(np.arange(len(synthetic.images)), experiment.sampling.batch_size):
            keys = [str(number) for number in part]
            parts.append(inpainter.reconstruct(to_unit_range(synthetic.images[part]), keys, seed).scales)
    for size in range(1, len(grid_sizes) + 1):
        for places in itertools.combinations(range(len(grid_sizes)), size):
            scales = {
                s: torch.cat([p[s][:, list(places)].mean(1) for p in parts]).cpu() for s in STORED_SCALES
            }
            maps = spatio_temporal_map({s: scales[s] for s in fusion.scales}, synthetic.images.shape[1])
            scores = image_score(mean_filter(maps, fusion.filter_size), fusion.pool_size).numpy()
            chosen = [grid_sizes[place] for place in places]
            print(f"initial index {index}, grid sizes {chosen}: {synthetic.auroc(scores):.1f}")


def of_model(synthetic: Synthetic, path: str) -> None:
    """Print what an exported model reaches."""
    backend = Detector.load(path).modes[FULL].backend
    pictures = [read_picture(image) for image in synthetic.images]
    with torch.inference_mode():
        parts = chunks(np.arange(len(pictures)), backend.predictor.batch_size)
        scores = np.concatenate([backend.find([pictures[i] for i in part]).scores for part in parts])
    print(f"{path}: {synthetic.auroc(scores):.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--initial-index", type=int, nargs="+", default=[])
    parser.add_argument("--grid-sizes", type=int, nargs="+", default=[])
    parser.add_argument("--model", nargs="+", default=[])
    options = parser.parse_args()
    if bool(options.initial_index) != bool(options.grid_sizes) or not options.initial_index + options.model:
        parser.error("give --initial-index and --grid-sizes, or --model")
    experiment = load_experiment(options.config)
    synthetic = Synthetic.of(Layout(experiment.experiment), experiment.dataset.image_size)
    for index in options.initial_index:
        of_reverse_chain(synthetic, experiment, index, options.grid_sizes)
    for path in options.model:
        of_model(synthetic, path)


if __name__ == "__main__":
    main()
