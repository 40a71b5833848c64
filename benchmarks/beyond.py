"""Choosing among the variants beyond the paper without test images: synthetic defects of the self-check.

    python benchmarks/beyond.py CONFIG --defects 6 --stages 0,1,2,3 2,3

For a trained experiment with a memory bank (`base.memory`). The defects are those of `drdc self-check`: six
kinds, so many of each in held-out normal images of each category. Printed, in percent, for the base heatmap
of the transformer and that of a memory bank, with the diffusion map as it is and centred, and each weight λ
of Eq. 17: image AUROC, mean of the categories and pooled; pixel AUROC and AP, mean of the categories. The
maps' scale is that of the held-out images without defects. Of each, the weight with the largest sum of image
AUROC and pixel AP is marked. `--stages`: further banks, of these stages of the backbone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from drdc.config.variants import DRDC, FULL, Stored
from drdc.data.manifest import read_manifest
from drdc.data.pictures import Picture, read_picture
from drdc.detection.backends import Backend, PictureFeatures
from drdc.equations.stored_maps import image_score
from drdc.experiment.experiment import Experiment, load_experiment
from drdc.methods.drdc.base import remember
from drdc.methods.drdc.predictor import DrdcPredictor
from drdc.models.backbone import FeatureExtractor
from drdc.results.heatmaps import DrdcReading
from drdc.results.layout import Layout
from drdc.results.predictions import fuse, statistics
from drdc.runtime.batching import chunks
from drdc.runtime.devices import torch_device
from drdc.stages.prepare import root_of
from drdc.stages.self_check import drawn_defects, read_shown
from drdc.training.job import Images

BASES = ("transformer", "memory")  # of the trained model
Mask = NDArray[np.bool_]


class Tried:
    """Held-out images without and with defects, and what the models of an experiment predict of them.

    Attributes:
        predictor: of the trained models.
        records: its predictions, (N,).
        features: of the backbone, (N, C, h, w).
        masks: (N, H, H), true on a defect.
        category: (N,).
    """

    def __init__(self, experiment: Experiment, defects: int) -> None:
        self.layout, size = Layout(experiment.experiment), experiment.dataset.image_size
        table = read_manifest(self.layout.manifest)
        held_out, root = table[table.split == "val"], root_of(self.layout, experiment.dataset)
        pictures, masks, category = [], [], []
        for row in held_out.itertuples():
            pictures.append(read_picture(read_shown(root, row)))
            masks.append(np.zeros((size, size), bool))
            category.append(row.category)
        for row, drawn in drawn_defects(held_out, root, defects):
            pictures.append(read_picture(drawn.image))
            masks.append(np.asarray(Image.fromarray(drawn.mask).resize((size, size))))
            category.append(row.category)
        self.masks, self.category = np.stack(masks), np.array(category)
        stored, seed = Stored(name=FULL, model="diffusion", detailed=True), experiment.seeds[0]
        self.predictor = DrdcPredictor.load(self.layout, seed, size, experiment.sampling, stored)
        self.records, self.features = _predicted(self.predictor, experiment, pictures)

    def remember(self, experiment: Experiment, stages: list[int]) -> None:
        """Replace the base maps of the memory bank by those of a bank of these stages."""
        images = Images.read(self.layout, self.layout.features, "features")
        base = experiment.base.model_copy(update={"memory_stages": stages})
        remember(self.predictor.base, images, experiment.backbone, base, experiment.seeds[0])
        for places in chunks(np.arange(len(self.records)), self.predictor.batch_size):
            self.predictor.store_base_maps(self.records, places, self.features[places], "memory")

    def measure(self, experiment: Experiment, base: str, centred: bool, weight: float) -> list[float]:
        """Image AUROC and pooled, pixel AUROC and AP."""
        changes = {"base": base, "centred": centred, "weight": weight}
        fusion = experiment.fusion.model_copy(update=changes)
        defective: Mask = np.asarray(self.masks.any((1, 2)))
        scale = statistics([self.records], ~defective, fusion)
        parts = chunks(np.arange(len(self.records)))
        maps = np.concatenate([fuse(self.records[part], fusion, scale).drdc for part in parts])
        scores = image_score(maps, fusion.pool_size)

        def mean(
            measure: Callable[[Mask, NDArray[np.float32]], float], wanted: Mask, found: NDArray
        ) -> float:
            own = [self.category == name for name in sorted(set(self.category))]
            return float(np.mean([measure(wanted[each].ravel(), found[each].ravel()) for each in own]))

        return [
            mean(roc_auc_score, defective, scores),
            roc_auc_score(defective, scores),
            mean(roc_auc_score, self.masks, maps),
            mean(average_precision_score, self.masks, maps),
        ]


@torch.inference_mode()
def _predicted(
    predictor: DrdcPredictor, experiment: Experiment, pictures: list[Picture]
) -> tuple[NDArray[np.void], Tensor]:
    """Predictions and features of the backbone."""
    extract = PictureFeatures(experiment.backbone, FeatureExtractor(experiment.backbone).to(torch_device()))
    backend = Backend(DRDC, predictor, extract, DrdcReading(experiment.fusion, {}, parts=False), usual=0.0)
    found, features = [], []
    for places in chunks(np.arange(len(pictures)), predictor.batch_size):
        own = [pictures[place] for place in places]
        features.append(extract(own))
        found.append(backend.records(own, features[-1]))
    records = np.concatenate(found)
    records["row"] = np.arange(len(records))
    return records, torch.cat(features)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config")
    parser.add_argument("--weights", type=float, nargs="+", default=[step / 10 for step in range(1, 11)])
    parser.add_argument("--defects", type=int, default=6)
    parser.add_argument("--stages", nargs="+", default=[])
    options = parser.parse_args()
    experiment = load_experiment(options.config)
    tried = Tried(experiment, options.defects)
    print("base         diffusion map  λ     image AUROC  pooled  pixel AUROC  pixel AP")
    for bank in (*BASES, *options.stages):
        if bank not in BASES:
            tried.remember(experiment, [int(stage) for stage in bank.split(",")])
        for centred in (False, True):
            _print(tried, experiment, bank, centred, options.weights)


def _print(tried: Tried, experiment: Experiment, shown: str, centred: bool, weights: list[float]) -> None:
    """A line for each weight; `shown`: a base map, or the stages of the bank that was made last."""
    base = shown if shown in BASES else "memory"
    rows = {weight: tried.measure(experiment, base, centred, weight) for weight in weights}
    best = max(rows, key=lambda weight: rows[weight][0] + rows[weight][3])
    for weight, row in rows.items():
        image, pooled, pixel, ap = (100 * value for value in row)
        print(
            f"{shown:11}  {'centred' if centred else 'as it is':13}  {weight:<4g}  "
            f"{image:11.1f}  {pooled:6.1f}  {pixel:11.1f}  {ap:8.1f}{'  *' * (weight == best)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
