"""How the regions of the ground truth change at the size of the heatmaps."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from drdc.data.masks import nearest
from drdc.data.problems import Problem
from drdc.data.samples import Sample
from drdc.evaluation.evaluator import EIGHT_NEIGHBOURS


class Regions(NamedTuple):
    """The regions of a mask, and how they change in a smaller one.

    Attributes:
        regions: 8-connected regions of the mask, as AUPRO counts them.
        vanished: those without any pixel in the smaller mask.
        split: those in several parts there.
        merged: those that touch another one there.
        left: regions of the smaller mask.
    """

    regions: int
    vanished: int
    split: int
    merged: int
    left: int


def regions_after(mask: NDArray[np.bool_], size: int) -> Regions:
    """How the regions of an (H, W) bool mask change if it is resized to (size, size) by nearest neighbour."""
    before, count = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
    small = nearest(before.astype(np.int32), size)
    after, left = ndimage.label(small > 0, structure=EIGHT_NEIGHBOURS)
    pairs = np.unique(np.stack([small[small > 0], after[small > 0]]), axis=1)
    pieces = np.bincount(pairs[0], minlength=count + 1)[1:]
    joined = np.bincount(pairs[1], minlength=left + 1) > 1
    merged = len(np.unique(pairs[0][joined[pairs[1]]]))
    return Regions(count, int((pieces == 0).sum()), int((pieces > 1).sum()), merged, left)


def write_regions(found: Iterable[tuple[Sample, Regions | None]], path: Path) -> None:
    """Write a row for each anomalous image, with empty counts where it has no mask."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "category", "defect_type", *Regions._fields))
        for sample, regions in found:
            if sample.label:
                counts = regions or [""] * len(Regions._fields)
                writer.writerow((sample.path, sample.category, sample.defect_type, *counts))


def vanished(found: Iterable[tuple[Sample, Regions | None]], size: int) -> Iterator[Problem]:
    """The masks that have marked pixels, but none at (size, size)."""
    for sample, regions in found:
        if regions and regions.regions and not regions.left:
            text = f"no pixel of the mask is left at {size} x {size}: all pixels of its image count as normal"
            fix = "raise dataset.image_size, or read the pixel metrics with that in mind"
            yield Problem("mask-vanishes", sample.category, sample.mask, text, fix)
