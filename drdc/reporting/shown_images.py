"""Test images of one run with everything computed from them, for galleries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.fusion import Fusion
from drdc.config.variants import COMPARED, DRDC, FULL
from drdc.evaluation.calibration import by_group
from drdc.results.layout import Layout
from drdc.results.scores import read_scored
from drdc.runtime.batching import chunks, in_order

Floats = NDArray[np.floating]
Rgb = NDArray[np.uint8]
Made = TypeVar("Made")

BATCH = 16  # images; the maps of more of them leave the processor's caches
#: For each group of images (`drdc.evaluation.groups`) and each kind of heatmap the mean of a normal pixel and
#: the pixel threshold, see `overlay.heat_of`.
Scales = dict[str, dict[str, tuple[float, float]]]


@dataclass(frozen=True)
class Facts:
    """What is known of a test image without its pixels.

    path: of the image in the dataset; category, defect_type: names, "good" for a normal image; group: the
    category that it is most like, as far as a model can tell; label: 1 anomalous, 0 normal, None unknown;
    scores: image score of each shown method, higher = more anomalous; size: width and height in pixels in
    which `boxes` around what was found are given: left, top, width, height.
    """

    path: str
    category: str
    group: str
    defect_type: str
    label: int | None
    scores: dict[str, float]
    size: tuple[int, int] = field(default=(1, 1), kw_only=True)
    boxes: tuple[tuple[int, ...], ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Shown(Facts):
    """One test image with everything computed from it.

    image, reconstruction: (H, W, 3) RGB; mask: (H, W), True where anomalous; heatmaps: (H, W) of each of
    `HEATMAPS` and of the shown methods, higher = more anomalous.
    """

    image: Rgb
    reconstruction: Rgb
    mask: NDArray[np.bool_]
    heatmaps: dict[str, Floats]


class ShownImages:
    """The test images of one run of DRDC, and of other methods.

    Attributes:
        methods: those of the wanted methods that have scores, as they are called here.
        uncalibrated: those of them whose heatmaps were made elsewhere, without the held-out images.
        scores: image scores of the test images, by row of the manifest: facts and a column for each method.
        held_out: the same of the held-out normal images.
        untested: categories without test images.
        failed: those with test images, and without scores of DRDC.
        rows: the test images in the order of the predictions, by row of the manifest.
    """

    def __init__(
        self,
        layout: Layout,
        seed: int,
        image_size: int,
        fusion: Fusion,
        methods: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`methods`: names of other methods, and what they are called here."""
        # Planning imports this module too, and needs none of these.
        from drdc.data.manifest import read_manifest
        from drdc.results.heatmaps import Heatmaps
        from drdc.runtime.files import load_array

        table = read_manifest(layout.manifest)
        self._count = len(table)
        scored = {n: m for n, m in methods.items() if layout.scored(seed, n, "image_scores").is_file()}
        self.methods = list(scored.values())
        runs = [(name, seed) for name in (FULL, *scored)]
        scores = _by_row(read_scored(layout, runs, "image_scores")).rename(columns=scored)
        scores = scores[scores[DRDC].notna()]  # another method may have a category in which DRDC failed
        self.scores, self.held_out = (scores[scores["split"] == split] for split in ("test", "val"))
        self.uncalibrated = [name for name in self.methods if self.held_out[name].isna().any()]
        tested, shown = set(table.category[table.split == "test"]), set(self.scores.category)
        self.untested, self.failed = sorted(set(table.category) - tested), sorted(tested - shown)
        self._drdc = Heatmaps.of_drdc(layout, seed, table, fusion, partial=True)
        self._others = [Heatmaps.of_method(layout, seed, table, *names) for names in scored.items()]
        self._images = load_array(layout.images(image_size), self._count, f"images {image_size}")
        self._masks = load_array(layout.masks, self._count, "prepare")
        predicted = np.concatenate([records["row"] for records in self._drdc.parts])
        self.rows = predicted[np.isin(predicted, self.scores.index)].tolist()

    def facts(self) -> list[Facts]:
        """Those of `rows`, in their order."""
        about = self.scores.loc[self.rows]
        known = about[["path", "category", "group", "defect_type", "label"]].to_dict("records")
        scores = about[[*COMPARED, *self.methods]].to_dict("records")
        return [Facts(**own, scores=each) for own, each in zip(known, scores, strict=True)]

    @property
    def groups(self) -> list[str]:
        """Those of the test images."""
        return sorted(set(self.scores["group"]))

    def shown(self, rows: Sequence[int]) -> Iterator[Shown]:
        """Some test images, in the order of the predictions; a few at a time in memory."""
        return self.each(lambda shown: shown, rows)

    def each(self, make: Callable[[Shown], Made], rows: Sequence[int], workers: int = 1) -> Iterator[Made]:
        """What `make` makes of some test images, in the order of the predictions.

        `workers`: threads; each has a few images in memory.
        """
        facts = dict(zip(self.rows, self.facts(), strict=True))

        def made(records: NDArray[np.void], maps: dict[str, Floats]) -> list[Made]:
            found = []
            for i, row in enumerate(records["row"].tolist()):
                shown = Shown(
                    **vars(facts[row]),
                    image=np.array(self._images[row]),
                    reconstruction=records["reconstruction"][i],
                    mask=np.array(self._masks[row]),
                    heatmaps={kind: own[i] for kind, own in maps.items()},
                )
                found.append(make(shown))
            return found

        for batch in self._batches(made, rows, workers):
            yield from batch

    def scales(self, rate: float, workers: int = 1) -> Scales:
        """The colour scales of the images of each group, as `drdc detect` has them for this rate.

        From the images of `calibrating`: the mean of their pixels, and the threshold that calibrates the
        largest pixels of those of the group to `rate`. Raises UserError where all together are too few.
        """
        found = self._scales(self.held_out, rate, workers)
        if not self.uncalibrated:
            return found
        others = self._scales(self.scores, rate, workers)
        return {
            group: own | {kind: others[group][kind] for kind in self.uncalibrated}
            for group, own in found.items()
        }

    def calibrating(self, method: str) -> pd.DataFrame:
        """The images that give a method's thresholds: held-out ones, or all test images where it has none."""
        return self.scores if method in self.uncalibrated else self.held_out

    def _scales(self, images: pd.DataFrame, rate: float, workers: int) -> Scales:
        """Those that these images give, by row of the manifest."""
        rows: list[int] = []
        peaks: dict[str, list[NDArray[np.float32]]] = {}
        means: dict[str, list[Floats]] = {}
        for found, batch in self._batches(
            lambda records, maps: (records["row"].tolist(), _peaks_and_means(maps)),
            images.index.tolist(),
            workers,
        ):
            rows += found
            for kind, (highest, mean) in batch.items():
                peaks.setdefault(kind, []).append(highest)
                means.setdefault(kind, []).append(mean)
        groups = images.loc[rows, "group"].to_numpy(str)
        usual = {kind: float(np.concatenate(own).mean()) for kind, own in means.items()}
        limits = {
            kind: by_group(np.concatenate(own), groups, rate, self.groups) for kind, own in peaks.items()
        }
        return {name: {kind: (usual[kind], limits[kind][name]) for kind in usual} for name in self.groups}

    def _batches(
        self,
        make: Callable[[NDArray[np.void], dict[str, Floats]], Made],
        rows: Sequence[int],
        workers: int,
    ) -> Iterator[Made]:
        """What `make` makes of a few predictions of DRDC and all methods' heatmaps for them, at a time."""
        chosen = np.zeros(self._count, dtype=bool)
        chosen[list(rows)] = True
        batches = (
            (records, batch)
            for records in self._drdc.parts
            for batch in chunks(np.flatnonzero(chosen[records["row"]]), BATCH)
        )

        def made(place: tuple[NDArray[np.void], NDArray[np.int64]]) -> Made:
            records = place[0][place[1]]
            return make(records, self._maps(records))

        return in_order(made, batches, workers)

    def _maps(self, records: NDArray[np.void]) -> dict[str, Floats]:
        """Heatmaps of all methods for the images of these predictions of DRDC."""
        maps: dict[str, Floats] = dict(self._drdc.reading.maps(records))
        for heatmaps in self._others:
            (own,) = heatmaps.parts
            maps |= heatmaps.reading.maps(own[np.searchsorted(own["row"], records["row"])])
        return maps


def _peaks_and_means(maps: dict[str, Floats]) -> dict[str, tuple[Floats, Floats]]:
    """Of each kind of heatmap, (B, H, W), the largest value and the mean of each image, (B,)."""
    return {kind: (own.max((1, 2)), own.mean((1, 2), dtype=np.float64)) for kind, own in maps.items()}


def _by_row(image_scores: pd.DataFrame) -> pd.DataFrame:
    """A row for each image, a column for each method."""
    facts = image_scores.drop_duplicates("row").set_index("row").drop(columns=["seed", "method", "score"])
    return facts.join(image_scores.pivot(index="row", columns="method", values="score"))
