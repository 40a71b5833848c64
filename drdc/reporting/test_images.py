"""Test images of one run with all that was computed from them, for galleries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.sections import Fusion
from drdc.config.variants import FULL
from drdc.data.manifest import read_manifest
from drdc.evaluation.category import COMPARED
from drdc.reporting.gallery import Shown
from drdc.results.layout import Layout
from drdc.results.predictions import batches, fuse, read_method, read_parts, statistics
from drdc.results.scores import read_evidence
from drdc.runtime.files import load_array


class TestImages:
    """The test images of one run of the whole method, and of compared systems beside it.

    Attributes:
        systems: those of the wanted systems that have heatmaps.
        scores: rows of image_scores.csv of the test images, by row of the manifest; a column for each system.
        held_out: the same of the held-out normal images.
    """

    def __init__(self, layout: Layout, seed: int, fusion: Fusion, systems: Iterable[str] = ()) -> None:
        self.fusion, self._table = fusion, read_manifest(layout.manifest)
        images = read_evidence(layout, [seed], "image_scores").set_index("row")
        paths = {name: layout.method(seed, name, ".npy") for name in systems}
        self.systems = [name for name in systems if paths[name].is_file()]
        self._of_systems = {name: read_method(layout, seed, name, self._table) for name in self.systems}
        for name, records in self._of_systems.items():
            images[name] = pd.Series(records["score"].astype(float), records["row"])
        self.scores = images[images["split"] == "test"]
        self.held_out = images[images["split"] == "val"]
        self._parts = read_parts(layout, seed, FULL, self._table, partial=True)
        self._scale = statistics(self._parts, (self._table["split"] == "val").to_numpy(), fusion)
        self._images = load_array(layout.images, len(self._table), "prepare")
        self._masks = load_array(layout.masks, len(self._table), "prepare")

    def shown(self, rows: Sequence[int]) -> Iterator[Shown]:
        """Some test images, in the order of the predictions; a few at a time in memory."""
        for records in self._batches(rows):
            fused = {
                kind: maps.numpy() for kind, maps in vars(fuse(records, self.fusion, self._scale)).items()
            }
            for name, own in self._of_systems.items():
                fused[name] = own["heatmap"][np.searchsorted(own["row"], records["row"])].astype(np.float32)
            for i, row in enumerate(records["row"]):
                about = self.scores.loc[row]
                yield Shown(
                    path=about.path,
                    category=about.category,
                    defect_type=about.defect_type,
                    label=int(about.label),
                    scores={method: float(about[method]) for method in (*COMPARED, *self.systems)},
                    image=np.array(self._images[row]),
                    reconstruction=records["reconstruction"][i],
                    mask=np.array(self._masks[row]),
                    heatmaps={kind: maps[i] for kind, maps in fused.items()},
                )

    def limits(self) -> dict[tuple[str, str], tuple[float, float]]:
        """One colour scale for each category and kind of heatmap.

        From the lowest first percentile of an image to the value that one image in ten exceeds somewhere.
        """
        ends: dict[tuple[str, str], list[NDArray[np.floating]]] = {}
        for shown in self.shown(list(self.scores.index)):
            for kind, heatmap in shown.heatmaps.items():
                low_high = np.array([np.percentile(heatmap, 1), heatmap.max()])
                ends.setdefault((shown.category, kind), []).append(low_high)
        limits = {key: np.array(values) for key, values in ends.items()}
        return {key: (float(e[:, 0].min()), float(np.quantile(e[:, 1], 0.9))) for key, e in limits.items()}

    def _batches(self, rows: Sequence[int]) -> Iterator[NDArray[np.void]]:
        chosen = np.zeros(len(self._table), dtype=bool)
        chosen[list(rows)] = True
        return batches(self._parts, chosen)
