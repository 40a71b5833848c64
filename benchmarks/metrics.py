"""Time and error of the pixel metrics of one category, ours next to those that a user would choose instead.

    python benchmarks/metrics.py --maps 100 --size 224

Every row is measured in this one run on the same maps (lognormal scores, square defects in half of them).
The error column is the distance to scikit-learn; torchmetrics takes part only if it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from drdc.evaluation.evaluator import CategoryEvaluator

Result = dict[str, float]
Method = Callable[[NDArray[np.float32], NDArray[np.bool_]], Result]


def sample(maps: int, size: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(N, S, S) float32 scores and (N, S, S) bool masks."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((maps, size, size), dtype=bool)
    masks[: (maps + 1) // 2, size // 4 : size // 2, size // 4 : size // 2] = True
    scores = rng.lognormal(0.0, 1.0, masks.shape) * np.where(masks, 3.0, 1.0)
    return scores.astype(np.float32), masks


def ours(scores: NDArray[np.float32], masks: NDArray[np.bool_]) -> Result:
    """All seven metrics, in batches of 8 maps."""
    evaluator = CategoryEvaluator(has_masks=True)
    for first in range(0, len(scores), 8):
        part, mask = scores[first : first + 8], masks[first : first + 8]
        evaluator.update(part, mask, part.max(axis=(1, 2)), mask.any(axis=(1, 2)))
    results = evaluator.results()
    return {"auroc": results["pixel_auroc"].value, "ap": results["pixel_ap"].value}


def scikit_learn(scores: NDArray[np.float32], masks: NDArray[np.bool_]) -> Result:
    """AUROC and AP of all pixels at once."""
    flat, labels = scores.ravel(), masks.ravel()
    return {"auroc": roc_auc_score(labels, flat), "ap": average_precision_score(labels, flat)}


def torchmetrics(scores: NDArray[np.float32], masks: NDArray[np.bool_]) -> Result:
    """Exact AUROC and AP; scores scaled into [0, 1], since it applies a sigmoid to any others."""
    torch = importlib.import_module("torch")
    functional = importlib.import_module("torchmetrics.functional.classification")
    flat, labels = (
        torch.from_numpy(scores.ravel() / scores.max()),
        torch.from_numpy(masks.ravel().astype(int)),
    )
    auroc = functional.binary_auroc(flat, labels, validate_args=False)
    return {"auroc": float(auroc), "ap": float(functional.binary_average_precision(flat, labels))}


def best_of(
    method: Method, scores: NDArray[np.float32], masks: NDArray[np.bool_], repeats: int
) -> tuple[float, Result]:
    """Shortest wall time in seconds, and the result."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = method(scores, masks)
        times.append(time.perf_counter() - start)
    return min(times), result


def main() -> None:
    """Measure every installed method and print one row each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--maps", type=int, default=100, help="number of maps (default 100)")
    parser.add_argument("--size", type=int, default=224, help="side of a map in pixels (default 224)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs per method, the shortest counts (default 3)"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    scores, masks = sample(arguments.maps, arguments.size, arguments.seed)
    methods = [scikit_learn, ours]
    if importlib.util.find_spec("torchmetrics"):
        methods.append(torchmetrics)
    measured = {method: best_of(method, scores, masks, arguments.repeats) for method in methods}
    base_time, truth = measured[scikit_learn]
    size = arguments.size
    print(f"{arguments.maps} maps of {size} x {size}; ours: all seven metrics, others: AUROC and AP")
    print(f"{'method':<14}{'seconds':>10}{'ratio':>8}  error")
    for method, (seconds, result) in measured.items():
        errors = ", ".join(f"{name} {abs(value - truth[name]):.1e}" for name, value in result.items())
        print(f"{method.__name__:<14}{seconds:>10.2f}{seconds / base_time:>8.2f}  {errors}")


if __name__ == "__main__":
    main()
