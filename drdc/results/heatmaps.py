"""Heatmaps and image scores of the methods of a run, from its predictions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.fusion import Fusion
from drdc.config.variants import DRDC, FULL
from drdc.equations.stored_maps import image_score
from drdc.results.layout import Layout
from drdc.results.predictions import Statistics, batches, fuse, read_parts, statistics


class Found(NamedTuple):
    """What a method finds in B images: heatmaps (B, H, W), image scores (B,); higher = more anomalous."""

    maps: NDArray[np.float32]
    scores: NDArray[np.float32]


class Reading(Protocol):
    """What each method finds in some images, from their records, (B,)."""

    def maps(self, records: NDArray[np.void]) -> dict[str, NDArray[np.float32]]:
        """The heatmaps alone, (B, H, W)."""

    def __call__(self, records: NDArray[np.void]) -> dict[str, Found]:
        """The same heatmaps, and the scores."""


@dataclass(frozen=True)
class DrdcReading:
    """Eq. 17 on the stored maps: the base model, the diffusion model, and both fused.

    Attributes:
        fusion: how both maps are fused.
        scale: mean and standard deviation that bring both maps to one scale.
        parts: also the base model's and the diffusion model's maps alone.
    """

    fusion: Fusion
    scale: Statistics
    parts: bool

    def maps(self, records: NDArray[np.void]) -> dict[str, NDArray[np.float32]]:
        fused = vars(fuse(records, self.fusion, self.scale))
        return {method: maps for method, maps in fused.items() if self.parts or method == DRDC}

    def __call__(self, records: NDArray[np.void]) -> dict[str, Found]:
        return {
            method: Found(maps, image_score(maps, self.fusion.pool_size))
            for method, maps in self.maps(records).items()
        }


def stored_type(image_size: int, number: str = "f2") -> np.dtype[np.void]:
    """One image: `row` in the manifest, `heatmap` (H, W), image `score`.

    `number`: of the heatmaps, which are standardised as float16, and their scores float32; heatmaps as they
    were given are float32, and their scores float64, so that different ones stay different.
    """
    score = "f4" if number == "f2" else "f8"
    return np.dtype([("row", "i8"), ("heatmap", number, (image_size,) * 2), ("score", score)])


@dataclass(frozen=True)
class StoredReading:
    """The heatmaps and scores themselves, of the method `name`."""

    name: str

    def maps(self, records: NDArray[np.void]) -> dict[str, NDArray[np.float32]]:
        return {self.name: records["heatmap"].astype(np.float32)}

    def __call__(self, records: NDArray[np.void]) -> dict[str, Found]:
        return {self.name: Found(self.maps(records)[self.name], np.array(records["score"]))}


@dataclass(frozen=True)
class Heatmaps:
    """All heatmaps and scores of a run.

    Attributes:
        parts: its predictions.
        reading: gives heatmaps and scores from them.
        methods: their names.
    """

    parts: Sequence[NDArray[np.void]]
    reading: Reading
    methods: tuple[str, ...]

    @classmethod
    def of_drdc(
        cls,
        layout: Layout,
        seed: int,
        table: pd.DataFrame,
        fusion: Fusion,
        predictions: str = FULL,
        *,
        whole: bool = True,
        partial: bool = False,
    ) -> Heatmaps:
        """Of DRDC, from those `predictions`; `whole`: also of its parts; `partial`: see `read_parts`."""
        return cls.fused(read_parts(layout, seed, predictions, table, partial), table, fusion, whole)

    @classmethod
    def fused(
        cls, parts: Sequence[NDArray[np.void]], table: pd.DataFrame, fusion: Fusion, whole: bool
    ) -> Heatmaps:
        """From predictions; their scale comes from the held-out normal images among them."""
        scale = statistics(parts, (table.split == "val").to_numpy(), fusion)
        return cls(
            parts, DrdcReading(fusion, scale, whole), ("base", "diffusion", DRDC) if whole else (DRDC,)
        )

    @classmethod
    def of_method(
        cls, layout: Layout, seed: int, table: pd.DataFrame, name: str, label: str = ""
    ) -> Heatmaps:
        """Of another method; `label`: what it is called here, if not by its name."""
        shown = label or name
        return cls(read_parts(layout, seed, name, table), StoredReading(shown), (shown,))

    @property
    def scales(self) -> Statistics:
        """Mean and standard deviation of both of DRDC's raw maps over held-out normal images."""
        return self.reading.scale if isinstance(self.reading, DrdcReading) else {}

    def categories(self, table: pd.DataFrame) -> set[str]:
        """Those that were predicted."""
        return set(table.category.iloc[np.concatenate([records["row"] for records in self.parts])])

    def batches(self, chosen: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], dict[str, Found]]]:
        """(rows of the manifest, what each method finds), a few at a time; `chosen`: (N,) for each row."""
        for records in batches(self.parts, chosen):
            yield records["row"], self.reading(records)
