"""Test images of one run with everything computed from them, for galleries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.fusion import Fusion
from drdc.config.variants import COMPARED, FULL
from drdc.results.layout import Layout
from drdc.results.scores import read_scored

if TYPE_CHECKING:
    from drdc.results.heatmaps import Found

Floats = NDArray[np.floating]
Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Shown:
    """One test image with everything computed from it.

    path: of the image in the dataset; category, defect_type: names, "good" for a normal image; label: 1
    anomalous, 0 normal; scores: image score of base, DRDC and the shown methods, higher = more
    anomalous; image, reconstruction: (H, W, 3) RGB; mask: (H, W), True where anomalous; heatmaps: (H, W) of
    each of `HEATMAPS` and of the shown methods, higher = more anomalous.
    """

    path: str
    category: str
    defect_type: str
    label: int
    scores: dict[str, float]
    image: Rgb
    reconstruction: Rgb
    mask: NDArray[np.bool_]
    heatmaps: dict[str, Floats]


class ShownImages:
    """The test images of one run of DRDC, and of other methods.

    Attributes:
        methods: those of the wanted methods that have scores.
        scores: image scores of the test images, by row of the manifest: facts and a column for each method.
        held_out: the same of the held-out normal images.
        untested: categories without test images.
    """

    def __init__(
        self, layout: Layout, seed: int, image_size: int, fusion: Fusion, methods: Iterable[str] = ()
    ) -> None:
        # Planning imports this module too, and needs none of these.
        from drdc.data.manifest import read_manifest
        from drdc.results.heatmaps import Heatmaps
        from drdc.runtime.files import load_array

        self._table = read_manifest(layout.manifest)
        self.methods = [name for name in methods if layout.scored(seed, name, "image_scores").is_file()]
        runs = [(name, seed) for name in (FULL, *self.methods)]
        scores = _by_row(read_scored(layout, runs, "image_scores"))
        self.scores, self.held_out = (scores[scores["split"] == split] for split in ("test", "val"))
        self.untested = sorted(set(self._table.category) - set(self.scores.category))
        self._drdc = Heatmaps.of_drdc(layout, seed, self._table, fusion, partial=True)
        self._others = [Heatmaps.of_method(layout, seed, self._table, name) for name in self.methods]
        count = len(self._table)
        self._images = load_array(layout.images(image_size), count, f"images {image_size}")
        self._masks = load_array(layout.masks, count, "prepare")

    def shown(self, rows: Sequence[int]) -> Iterator[Shown]:
        """Some test images, in the order of the predictions; a few at a time in memory."""
        from drdc.results.predictions import batches

        chosen = np.zeros(len(self._table), dtype=bool)
        chosen[list(rows)] = True
        for records in batches(self._drdc.parts, chosen):
            found = self._found(records)
            for i, row in enumerate(records["row"]):
                about = self.scores.loc[row]
                yield Shown(
                    path=about.path,
                    category=about.category,
                    defect_type=about.defect_type,
                    label=int(about.label),
                    scores={method: float(about[method]) for method in (*COMPARED, *self.methods)},
                    image=np.array(self._images[row]),
                    reconstruction=records["reconstruction"][i],
                    mask=np.array(self._masks[row]),
                    heatmaps={kind: own.maps[i] for kind, own in found.items()},
                )

    def _found(self, records: NDArray[np.void]) -> dict[str, Found]:
        """Heatmaps and scores of all methods for the images of these predictions of DRDC."""
        found = dict(self._drdc.reading(records))
        for heatmaps in self._others:
            (own,) = heatmaps.parts
            found |= heatmaps.reading(own[np.searchsorted(own["row"], records["row"])])
        return found

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


def _by_row(image_scores: pd.DataFrame) -> pd.DataFrame:
    """A row for each image, a column for each method."""
    facts = image_scores.drop_duplicates("row").set_index("row").drop(columns=["seed", "method", "score"])
    return facts.join(image_scores.pivot(index="row", columns="method", values="score"))
