"""Test images of one run with all that was computed from them, for galleries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.sections import Fusion
from drdc.config.variants import FULL
from drdc.reporting.aggregate import COMPARED
from drdc.reporting.gallery import Shown
from drdc.results.layout import Layout
from drdc.results.scores import read_evidence

Floats = NDArray[np.floating]


class ShownImages:
    """The test images of one run of DRDC, as it and some methods of the configuration see them.

    Attributes:
        methods: those of the wanted methods that have heatmaps and scores.
        scores: facts of the test images, by row of the manifest, and a column of scores for each method.
        held_out: the same of the held-out normal images.
        untested: categories without test images.
    """

    def __init__(self, layout: Layout, seed: int, fusion: Fusion, methods: Sequence[str] = ()) -> None:
        from drdc.data.manifest import read_manifest
        from drdc.runtime.files import load_array

        self._table = read_manifest(layout.manifest)
        images = _wide(read_evidence(layout, [seed], "image_scores"))
        self._heatmaps = Heatmaps(layout, seed, fusion, self._table, [m for m in methods if m in images])
        self.methods = self._heatmaps.methods
        self.scores = images[images["split"] == "test"]
        self.held_out = images[images["split"] == "val"]
        self.untested = sorted(set(self._table.category) - set(self.scores.category))
        self._images = load_array(layout.images, len(self._table), "prepare")
        self._masks = load_array(layout.masks, len(self._table), "prepare")

    def shown(self, rows: Sequence[int]) -> Iterator[Shown]:
        """Some test images, in the order of the predictions; a few at a time in memory."""
        for row, heatmaps, reconstruction in self._heatmaps.of(rows):
            about: Any = self.scores.loc[row]
            yield Shown(
                path=about.path,
                category=about.category,
                defect_type=about.defect_type,
                label=int(about.label),
                scores={method: float(about[method]) for method in (*COMPARED, *self.methods)},
                image=np.array(self._images[row]),
                reconstruction=reconstruction,
                mask=np.array(self._masks[row]),
                heatmaps=heatmaps,
            )

    def limits(self) -> dict[tuple[str, str], tuple[float, float]]:
        """One colour scale for each category and kind of heatmap.

        From the lowest first percentile of an image to the value that one image in ten exceeds somewhere.
        """
        ends: dict[tuple[str, str], list[Floats]] = {}
        for shown in self.shown(list(self.scores.index)):
            for kind, heatmap in shown.heatmaps.items():
                low_high = np.array([np.percentile(heatmap, 1), heatmap.max()])
                ends.setdefault((shown.category, kind), []).append(low_high)
        limits = {key: np.array(values) for key, values in ends.items()}
        return {key: (float(e[:, 0].min()), float(np.quantile(e[:, 1], 0.9))) for key, e in limits.items()}


class Heatmaps:
    """The heatmaps of DRDC, of its two parts and of some methods, a few images at a time.

    Attributes:
        methods: those of the wanted methods that have predictions.
    """

    def __init__(
        self, layout: Layout, seed: int, fusion: Fusion, table: pd.DataFrame, methods: Sequence[str]
    ) -> None:
        from drdc.results.predictions import read_parts, statistics
        from drdc.runtime.files import open_array

        self._table, self._fusion = table, fusion
        self._parts = read_parts(layout, seed, FULL, table, partial=True)
        self._scale = statistics(self._parts, (table["split"] == "val").to_numpy(), fusion)
        paths = {name: layout.predictions(seed, name, "all") for name in methods}
        self.methods = [name for name in methods if paths[name].is_file()]
        self._of_methods = {name: open_array(paths[name], "predict") for name in self.methods}

    def of(self, rows: Sequence[int]) -> Iterator[tuple[int, dict[str, Floats], NDArray[np.uint8]]]:
        """Row, heatmaps by name and reconstruction of some images, in the order of the predictions."""
        from drdc.results.predictions import batches, fuse

        wanted = np.zeros(len(self._table), dtype=bool)
        wanted[list(rows)] = True
        for records in batches(self._parts, wanted):
            fused = {
                kind: maps.numpy() for kind, maps in vars(fuse(records, self._fusion, self._scale)).items()
            }
            for name, own in self._of_methods.items():
                fused[name] = own["heatmap"][np.searchsorted(own["row"], records["row"])].astype(np.float32)
            for i, row in enumerate(records["row"]):
                heatmaps = {kind: maps[i] for kind, maps in fused.items()}
                yield int(row), heatmaps, records["reconstruction"][i]


def _wide(image_scores: pd.DataFrame) -> pd.DataFrame:
    """image_scores.csv of one seed by row of the manifest, with a column for each method."""
    facts = image_scores.drop_duplicates("row").set_index("row").drop(columns=["method", "score"])
    return facts.join(image_scores.pivot(index="row", columns="method", values="score"))
