"""Choosing settings without test images: synthetic defects in held-out normal images.

    python benchmarks/synthetic_defects.py CONFIG --initial-index 50 100 150 --grid-sizes 4 8 16
    python benchmarks/synthetic_defects.py CONFIG --kept --initial-index 50 100 150 --grid-sizes 4 8 16
    python benchmarks/synthetic_defects.py CONFIG --model results/NAME/detectors/METHOD.safetensors
    python benchmarks/synthetic_defects.py CONFIG --weights 0.1 0.5 0.9 1 --raw-weights 0.9 0.99 0.999 1

Each held-out normal image of the trained experiment CONFIG is taken three times: as it is, with a faint
blurred spot, and with a strip of itself pasted elsewhere. Printed: means over categories and both kinds of
defect, in percent: the image AUROC of the diffusion map for each first timestep and set of grid sizes, and of
exported models (`drdc export`); image and pixel AUROC of DRDC's exported model for weights λ of Eq. 17, of
maps on one scale and of raw maps.

`--kept` prints instead how much of a defect the reconstruction keeps: the part of its contrast that is left
in the last x̂₀ where the defect lies, with the same noise and the same cells as for the image without it, for
the model with conditions and, where there is one (`evaluation.ablation`), for that without.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import roc_auc_score

from drdc.config.fusion import STORED_SCALES
from drdc.config.variants import DRDC, FULL
from drdc.data.manifest import read_manifest
from drdc.data.pictures import Picture, read_picture
from drdc.detection.backends import Backend
from drdc.detection.detector import Detector
from drdc.equations.diffusion import to_unit_range
from drdc.equations.fusion import image_score, mean_filter, spatio_temporal_map
from drdc.experiment.experiment import Experiment, load_experiment
from drdc.models.inpainter import Inpainter
from drdc.results.heatmaps import DrdcReading
from drdc.results.layout import Layout
from drdc.runtime.batching import chunks
from drdc.runtime.files import load_array

Pixels = NDArray[np.float64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]


def unchanged(image: Pixels, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """The normal image itself."""
    return image, np.zeros(image.shape[:2], bool)


def faint_spot(image: Pixels, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """A half transparent spot of 5 to 11 % of the side, blurred, 15 to 40 grey levels lighter or darker."""
    side = len(image)
    wobble = gaussian_filter(rng.normal(size=(side, side)), side / 32)
    row, column = rng.integers(side // 4, 3 * side // 4, 2)
    distance = np.hypot(*np.ogrid[-row : side - row, -column : side - column])
    spot = distance / (side * rng.uniform(0.05, 0.11)) + 0.25 * wobble / wobble.std() < 1
    cover = 0.45 * gaussian_filter(spot.astype(float), 0.7)[..., None]
    shade = rng.choice([-1, 1]) * rng.uniform(15, 40)
    return image * (1 - cover) + cover * (gaussian_filter(image, (2, 2, 0)) + shade), spot


def moved_strip(image: Pixels, rng: np.random.Generator) -> tuple[Pixels, Mask]:
    """A strip of the image, 4 % thick and 10 to 22 % long, pasted elsewhere, lying or standing."""
    side = len(image)
    thick, long = side // 25, int(side * rng.uniform(0.1, 0.22))
    top, left = rng.integers(side // 10, side - long - 1, 2)
    strip = image[top : top + thick, left : left + long] * rng.uniform(0.85, 1.15)
    strip = strip if rng.random() < 0.5 else strip.swapaxes(0, 1)
    row, column = rng.integers(side // 4, 3 * side // 4 - long // 2, 2)
    place = np.s_[row : row + strip.shape[0], column : column + strip.shape[1]]
    changed, mask = image.copy(), np.zeros(image.shape[:2], bool)
    changed[place], mask[place] = strip, True
    return changed, mask


KINDS = {"good": unchanged, "spot": faint_spot, "strip": moved_strip}


@dataclass(frozen=True)
class Synthetic:
    """Held-out images in each of `KINDS`, one after the other.

    Attributes:
        images: (N, H, W, 3) uint8.
        masks: (N, H, W) bool, true on the defect.
        kind, category: of each image.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    kind: NDArray[np.str_]
    category: NDArray[np.str_]

    @classmethod
    def of(cls, layout: Layout, size: int) -> Synthetic:
        """Of the images that are stored at that size."""
        table = read_manifest(layout.manifest)
        stored = load_array(layout.images(size), len(table), f"images {size}")
        rng, rows = np.random.default_rng(0), np.flatnonzero(table.split == "val")
        pairs = [make(stored[row].astype(float), rng) for row in rows for make in KINDS.values()]
        images = np.clip(np.stack([image for image, _ in pairs]), 0, 255).round().astype(np.uint8)
        masks, category = np.stack([mask for _, mask in pairs]), table.category.to_numpy(str)[rows]
        return cls(images, masks, np.array(list(KINDS) * len(rows)), np.repeat(category, len(KINDS)))

    def auroc(self, scores: Floats) -> float:
        """Image AUROC, mean over categories and kinds of defect, in percent; `scores` (N,) of the images."""
        return self._mean(lambda own: roc_auc_score(self.kind[own] != "good", scores[own]))

    def pixel_auroc(self, maps: Floats) -> float:
        """The same of the pixels; `maps` (N, h, h): the masks are resized to them, by their larger part."""
        parts = F.interpolate(torch.from_numpy(self.masks)[:, None].float(), maps.shape[1:], mode="area")
        masks = (parts[:, 0] >= 0.5).numpy()
        return self._mean(lambda own: roc_auc_score(masks[own].ravel(), maps[own].ravel()))

    def _mean(self, measure: Callable[[NDArray[np.bool_]], float]) -> float:
        cells = itertools.product(sorted(set(self.category)), ("spot", "strip"))
        chosen = [(self.category == c) & np.isin(self.kind, ["good", k]) for c, k in cells]
        return 100 * float(np.mean([measure(own) for own in chosen]))


def of_reverse_chain(synthetic: Synthetic, experiment: Experiment, index: int, grid_sizes: list[int]) -> None:
    """Print what the diffusion map reaches from that first timestep, for each set of those grid sizes."""
    layout, seed, fusion = Layout(experiment.experiment), experiment.seeds[0], experiment.fusion
    changed = {"initial_index": index, "grid_sizes": grid_sizes}
    inpainter = Inpainter.load(layout, seed, experiment.sampling.model_copy(update=changed))
    parts = []
    with torch.inference_mode():
        for part in chunks(np.arange(len(synthetic.images)), experiment.sampling.batch_size):
            keys = [str(number) for number in part]
            parts.append(
                inpainter.reconstruct(
                    to_unit_range(torch.from_numpy(synthetic.images[part])), keys, seed
                ).scales
            )
    for size in range(1, len(grid_sizes) + 1):
        for places in itertools.combinations(range(len(grid_sizes)), size):
            scales = {
                s: torch.cat([p[s][:, list(places)].mean(1) for p in parts]).cpu() for s in STORED_SCALES
            }
            maps = spatio_temporal_map({s: scales[s] for s in fusion.scales}, synthetic.images.shape[1])
            scores = image_score(mean_filter(maps, fusion.filter_size), fusion.pool_size).numpy()
            chosen = [grid_sizes[place] for place in places]
            print(f"initial index {index}, grid sizes {chosen}: {synthetic.auroc(scores):.1f}")


def of_kept_contrast(
    synthetic: Synthetic, experiment: Experiment, index: int, grid_sizes: list[int], model: str
) -> None:
    """Print the part of a defect's contrast that the reconstruction keeps, for each grid size by itself."""
    layout, seed = Layout(experiment.experiment), experiment.seeds[0]
    own = torch.from_numpy(synthetic.masks)[:, None]
    for grid_size in grid_sizes:
        changed = {"initial_index": index, "grid_sizes": [grid_size]}
        inpainter = Inpainter.load(layout, seed, experiment.sampling.model_copy(update=changed), model)
        given, found = to_unit_range(torch.from_numpy(synthetic.images)), []
        with torch.inference_mode():
            for part in chunks(np.arange(len(given)), experiment.sampling.batch_size):
                keys = [str(number // len(KINDS)) for number in part]
                found.append(inpainter.reconstruct(given[part], keys, seed).reconstruction.cpu())
        rebuilt, texts = torch.cat(found), []
        for place, kind in list(enumerate(KINDS))[1:]:
            mask = own[place :: len(KINDS)]
            contrast, left = (
                (values[place :: len(KINDS)] - values[:: len(KINDS)]) * mask for values in (given, rebuilt)
            )
            kept = (contrast * left).sum((1, 2, 3)) / contrast.square().sum((1, 2, 3))
            texts.append(f"{100 * kept.mean():.0f} % of a {kind}")
        print(f"{model}, initial index {index}, grid size {grid_size}: {', '.join(texts)} kept", flush=True)


def of_model(synthetic: Synthetic, path: str) -> None:
    """Print what an exported model reaches."""
    backend = Detector.load(path).modes[FULL].backend
    parts = _parts(synthetic, backend)
    scores = np.concatenate([backend.find(part, backend.features_of(part)).scores for part in parts])
    print(f"{path}: {synthetic.auroc(scores):.1f}")


def of_weights(synthetic: Synthetic, path: Path, weights: list[float], raw_weights: list[float]) -> None:
    """Print what DRDC's exported model reaches with each weight, in both readings of Eq. 17."""
    backend = Detector.load(path).modes[FULL].backend
    own = cast(DrdcReading, backend.reading)
    parts = _parts(synthetic, backend)
    records = np.concatenate([backend.records(part, backend.features_of(part)) for part in parts])
    scaled = own.fusion.normalisation
    for reading, weight in [*((scaled, w) for w in weights), *(("none", w) for w in raw_weights)]:
        fusion = own.fusion.model_copy(update={"normalisation": reading, "weight": weight})
        read = DrdcReading(fusion, own.scale, False)
        found = [read(records[rows])[DRDC] for rows in chunks(np.arange(len(records)))]
        image = synthetic.auroc(np.concatenate([part.scores for part in found]))
        pixel = synthetic.pixel_auroc(np.concatenate([part.maps for part in found]))
        print(f"normalisation {reading}, weight {weight:g}: image {image:.1f}, pixel {pixel:.1f}", flush=True)


def _parts(synthetic: Synthetic, backend: Backend) -> Iterator[list[Picture]]:
    """The images, as many at a time as a model of this backend computes together."""
    pictures = [read_picture(image) for image in synthetic.images]
    for part in chunks(np.arange(len(pictures)), backend.predictor.batch_size):
        yield [pictures[i] for i in part]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--initial-index", type=int, nargs="+", default=[])
    parser.add_argument("--grid-sizes", type=int, nargs="+", default=[])
    parser.add_argument("--kept", action="store_true")
    parser.add_argument("--model", nargs="+", default=[])
    parser.add_argument("--weights", type=float, nargs="+", default=[])
    parser.add_argument("--raw-weights", type=float, nargs="+", default=[])
    options = parser.parse_args()
    wanted = options.initial_index + options.model + options.weights + options.raw_weights
    if bool(options.initial_index) != bool(options.grid_sizes) or not wanted:
        parser.error("give --initial-index and --grid-sizes, --model, or --weights and --raw-weights")
    experiment = load_experiment(options.config)
    layout = Layout(experiment.experiment)
    if options.initial_index:
        synthetic = Synthetic.of(layout, experiment.dataset.image_size)
        models = ["diffusion", *(["unconditional"] if experiment.evaluation.ablation else [])]
        for index in options.initial_index:
            if options.kept:
                for model in models:
                    of_kept_contrast(synthetic, experiment, index, options.grid_sizes, model)
            else:
                of_reverse_chain(synthetic, experiment, index, options.grid_sizes)
    # A model sees each at its own size: the largest stored one is closest to the original files.
    size = max(experiment.dataset.image_size, experiment.backbone.input_size)
    with torch.inference_mode():
        for path in options.model:
            of_model(Synthetic.of(layout, size), path)
        if options.weights + options.raw_weights:
            whole = Synthetic.of(layout, size)
            of_weights(whole, layout.detector(), options.weights, options.raw_weights)


if __name__ == "__main__":
    main()
