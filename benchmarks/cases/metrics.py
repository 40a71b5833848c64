"""Metrics of one category next to scikit-learn, torchmetrics, anomalib and ADEval.

The scores are log-normal noise, larger on square defects in half of the maps: hardly two are equal, which is
the slowest case. The truth that the errors refer to comes from one sort of all pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from unittest.mock import patch

import numpy as np
import psutil
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, roc_auc_score

from drdc.evaluation.evaluator import CategoryEvaluator

from ..harness import Contestant, Race, Size, installed

Scores = NDArray[np.float32]
Masks = NDArray[np.bool_]
Result = dict[str, float]
Method = Callable[[Scores, Masks], Result]
#: Maps, their side, rounds, and the limit of ours. More pixels than `MOST` are for those that need seconds.
SIZES = ((83, 224, 3, "≤ 60 ms"), (8, 1024, 1, ""), (83, 1024, 2, "≤ 2.5 s"))
TINY = ((4, 32, 1, ""),)
MOST = 10_000_000
#: Of memory that a pixel needs here, most of them for the truth.
BYTES = 80


def races(size: Size) -> Iterator[Race]:
    for maps, side, rounds, wanted in TINY if size.tiny else SIZES:
        if BYTES * maps * side**2 > psutil.virtual_memory().available:
            print(f"{maps} maps of {side} × {side} need more memory than is free: left out", file=sys.stderr)
            continue
        yield _race(*sample(maps, side), rounds, wanted)


def _race(scores: Scores, masks: Masks, rounds: int, wanted: str) -> Race:
    true = truth(scores, masks)

    def contestant(
        name: str, of: str, package: str, method: Method, wanted: str = "", note: str = ""
    ) -> Contestant:
        run = installed(package, partial(method, scores, masks))
        error = partial(_error, true)
        return Contestant(f"{name} ({of})", run, error, wanted=wanted, note=note)

    contestants = [
        contestant("drdc", "all seven", "drdc", ours, wanted=wanted),
        contestant("ADEval", "AUROC, AP, AUPRO", "adeval", adeval, note="1,000 bins"),
        contestant("scikit-learn", "AUROC, AP", "sklearn", scikit_learn),
        contestant("torchmetrics", "AUROC, AP", "torchmetrics", torchmetrics),
        contestant("anomalib", "AUROC, F1-max, AUPRO", "anomalib", anomalib),
    ]
    maps, size, _ = scores.shape
    what = f"{maps} maps of {size} × {size}"
    if scores.size <= MOST:
        return Race(what, "category", contestants, rounds=rounds)
    return Race(f"{what} (the others take minutes)", "category", contestants[:2], rounds=rounds)


def sample(maps: int, size: int) -> tuple[Scores, Masks]:
    """(N, S, S) scores and masks."""
    masks = np.zeros((maps, size, size), dtype=bool)
    masks[: (maps + 1) // 2, size // 4 : size // 2, size // 4 : size // 2] = True
    scores = np.exp(np.random.default_rng(0).standard_normal(masks.shape, dtype=np.float32))
    scores[masks] *= 3
    return scores, masks


def truth(scores: Scores, masks: Masks) -> Result:
    """The pixel metrics by their definitions, with every distinct score as a threshold."""
    order = np.argsort(scores, axis=None)[::-1]
    ends = np.append(np.flatnonzero(np.diff(scores.ravel()[order])), scores.size - 1)
    true = np.cumsum(masks.ravel()[order])[ends]
    called = ends + 1
    overlap = np.cumsum(_region_weights(masks).ravel()[order])[ends]
    recall, precision = true / true[-1], true / called
    rate = (called - true) / (called[-1] - true[-1])
    return {
        "pixel_auroc": _area(rate, recall, 1.0),
        "pixel_ap": float(np.sum(np.diff(recall, prepend=0) * precision)),
        "pixel_f1max": float(np.max(2 * true / (called + true[-1]))),
        "pixel_aupro": _area(rate, overlap / overlap[-1], 0.3) / 0.3,
    }


def _region_weights(masks: Masks) -> NDArray[np.float64]:
    """Every defect pixel's share of its 8-connected region."""
    weights = np.zeros(masks.shape)
    for mask, own in zip(masks, weights, strict=True):
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        for number in range(1, count + 1):
            own[regions == number] = 1 / np.count_nonzero(regions == number)
    return weights


def _area(x: NDArray[np.float64], y: NDArray[np.float64], limit: float) -> float:
    """Below the polyline that begins at (0, 0), up to `limit`."""
    x, y = np.append(0.0, x), np.append(0.0, y)
    inside = x <= limit
    x, y = np.append(x[inside], limit), np.append(y[inside], np.interp(limit, x, y))
    return float(np.trapezoid(y, x))


def _error(true: Result, found: Result) -> float:
    return max(abs(found[name] - true[name]) for name in found.keys() & true.keys())


def ours(scores: Scores, masks: Masks) -> Result:
    evaluator = CategoryEvaluator(has_masks=True)
    for first in range(0, len(scores), 8):
        part, mask = scores[first : first + 8], masks[first : first + 8]
        evaluator.update(part, mask, part.max(axis=(1, 2)), mask.any(axis=(1, 2)))
    return {name: metric.value for name, metric in evaluator.results().items()}


def scikit_learn(scores: Scores, masks: Masks) -> Result:
    flat, labels = scores.ravel(), masks.ravel()
    return {
        "pixel_auroc": roc_auc_score(labels, flat),
        "pixel_ap": average_precision_score(labels, flat),
    }


def torchmetrics(scores: Scores, masks: Masks) -> Result:
    """Scores scaled into [0, 1], since it applies a sigmoid to any others."""
    torch, functional = import_module("torch"), import_module("torchmetrics.functional.classification")
    flat, labels = (
        torch.from_numpy(scores.ravel() / scores.max()),
        torch.from_numpy(masks.ravel().astype(int)),
    )
    return {
        "pixel_auroc": float(functional.binary_auroc(flat, labels, validate_args=False)),
        "pixel_ap": float(functional.binary_average_precision(flat, labels)),
    }


def anomalib(scores: Scores, masks: Masks) -> Result:
    torch, metrics = import_module("torch"), import_module("anomalib.metrics")
    batch = import_module("anomalib.data").ImageBatch(
        image=torch.zeros(1).expand(len(scores), 3, *scores.shape[1:]),
        anomaly_map=torch.from_numpy(scores),
        gt_mask=torch.from_numpy(masks),
    )
    found = {}
    for name, kind in (("auroc", "AUROC"), ("f1max", "F1Max"), ("aupro", "AUPRO")):
        metric = getattr(metrics, kind)(fields=["anomaly_map", "gt_mask"])
        metric.update(batch)
        found[f"pixel_{name}"] = float(metric.compute())
    return found


def adeval(scores: Scores, masks: Masks) -> Result:
    """It calls `numpy.trapz`, which NumPy 2.4 no longer has."""
    bounds = float(scores.min()), float(scores.max())
    accumulator = import_module("adeval").EvalAccumulator(*bounds, *bounds)
    accumulator.add_anomap_batch(scores, masks.astype(np.uint8))
    accumulator.add_image(scores.max(axis=(1, 2)), masks.any(axis=(1, 2)))
    with patch.object(np, "trapz", np.trapezoid, create=True):
        found = accumulator.summary()
    return {"pixel_auroc": found["p_auroc"], "pixel_ap": found["p_aupr"], "pixel_aupro": found["p_aupro"]}
