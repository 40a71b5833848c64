"""Problems of a readable ground-truth mask: its marked area, its values, its rotation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drdc.data.masks import NOISE, Mask
from drdc.data.problems import Kind, Problem
from drdc.data.samples import Sample

#: Above this share of the image, a mask marks nearly everything (ours; defects of MVTec AD reach 0.3).
NEARLY_ALL = 0.95
#: A mask counts as marking its border above this share; real defects reach 0.04 in five categories (ours).
BORDER = 0.75


class Coverage(NamedTuple):
    """Shares of a mask's pixels, and of its outermost pixels, that are marked; both in [0, 1]."""

    area: float
    border: float


def coverage(mask: NDArray[np.bool_]) -> Coverage:
    """How much of an (H, W) mask is marked."""
    inner = mask[1:-1, 1:-1]
    border = (mask.sum() - inner.sum()) / (mask.size - inner.size)
    return Coverage(float(mask.mean()), float(border))


def mask_problems(sample: Sample, mask: Mask, covered: Coverage, turned: int) -> Iterator[Problem]:
    """Problems of an anomalous image's mask by itself; `turned`: the image's EXIF orientation."""

    def problem(kind: Kind, text: str, fix: str) -> Problem:
        return Problem(kind, sample.category, sample.mask, text, fix)

    area, border = covered
    if area == 0:
        faint = f": no value is above {NOISE} in a file with lossy compression" if mask.largest else ""
        yield problem("mask-empty", f"the mask of an anomalous image is empty{faint}", "mark the defect")
    elif area == 1 or (area > NEARLY_ALL and border < BORDER):
        yield problem("mask-full", f"the mask marks {_percent(area)} of its image", "mark the defect alone")
    elif mask.coding == "soft":
        text = f"the mask has {mask.values} values instead of two (soft edges, or lossy compression)"
        fix = f"write 0 and 255 as PNG: it is thresholded at half of the largest, {mask.largest:g}"
        yield problem("mask-soft", text, fix)
    if mask.coding == "labels":
        text = f"the mask has {mask.values} values instead of two, read as labels"
        yield problem("mask-labels", text, "write 0 and 255 unless all above 0 are defects")
    if mask.turned != turned:
        text = f"the mask's EXIF orientation is {mask.turned}, its image's {turned}"
        yield problem("mask-turned", text, "make sure that both are upright, or store both upright")


def inverted(masks: Iterable[tuple[Sample, Coverage]]) -> Iterator[Problem]:
    """Masks in which defect and background seem to be swapped.

    Such a mask marks its border (`BORDER`) and either more than half of its image, or most masks of its
    category do so too. One large defect in a category of small ones does not count; one that reaches
    all around and covers more than half does: see `dataset.accept`.
    """
    groups: defaultdict[str, list[tuple[Sample, Coverage]]] = defaultdict(list)
    for sample, covered in masks:
        groups[sample.category].append((sample, covered))
    for category, own in groups.items():
        around = [
            (sample, covered) for sample, covered in own if covered.border >= BORDER and covered.area < 1
        ]
        for sample, covered in around:
            if covered.area > 0.5 or 2 * len(around) > len(own):
                text = f"the mask marks {_percent(covered.area)} of its image and nearly all of its border"
                fix = "it seems inverted: write 0 for normal and 255 for defect"
                yield Problem("mask-inverted", category, sample.mask, text, fix)


def _percent(share: float) -> str:
    return f"{np.floor(1000 * share) / 10:.4g} %"
