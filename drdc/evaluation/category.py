"""One category's test images -> rows of metrics, image scores, curves and defect types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.names import ALL
from drdc.evaluation.evaluator import NO_MASKS, CategoryEvaluator
from drdc.evaluation.metrics import LEVELS, METRICS, POOLED, Declaration, Level, Metric, auroc
from drdc.evaluation.ranking_curve import RankingCurve, ranked_auroc
from drdc.runtime.finite import refuse_not_finite

IMAGE_COLUMNS = ("row", "path", "category", "group", "split", "defect_type", "label", "method", "score")
DEFECT_COLUMNS = ("method", "category", "defect_type", "images", "metric", "value", "note")
CURVE_COLUMNS = ("method", "category", "level", "recall", "precision", "fpr")

#: Capacity of what is kept of all categories together: exact up to 25 million pixels, in 0.1 GB a method.
POOLED_ROWS = 2**20

Row = dict[str, Any]
Floats = NDArray[np.floating]


def has_masks(about: pd.DataFrame) -> bool:
    """Whether there are masks for these test images, rows of the manifest."""
    anomalous = about[about.label == 1]
    return anomalous.empty or bool((anomalous["mask"] != "").any())


def undefined_rows(category: str, methods: Iterable[str], note: str) -> list[Row]:
    """Every metric of some methods without a value, for one reason."""
    return [
        {"category": category, "method": method, **_result(name, Metric(np.nan, note))}
        for method in methods
        for name in METRICS
    ]


def means(scores: pd.DataFrame) -> str:
    """Means over categories for a log: a row a method, a column a metric, and of how many categories.

    Args:
        scores: rows with method, metric and value.
    """
    values = scores.groupby(["method", "metric"], sort=False)["value"].agg(["mean", "count", "size"])
    texts = [
        "n/d" if not count else f"{mean:.4f}" if count == size else f"{mean:.4f} ({count:.0f} of {size:.0f})"
        for mean, count, size in values.to_numpy(float)
    ]
    table = pd.Series(texts, values.index).unstack()
    return str(table.loc[scores["method"].unique(), list(METRICS)].to_string())


class CategoryEvaluation:
    """Everything measured on one category, filled batch by batch.

    Its memory does not grow with the images, but for their image scores and 4 bytes for each defect pixel.

    Args:
        category: its name.
        methods: names of those that are measured.
        has_masks: whether the dataset has ground-truth masks for it, see `has_masks`.
        compared: those of them with curves and defect types, not metrics alone.
    """

    def __init__(
        self,
        category: str,
        methods: Iterable[str],
        has_masks: bool,
        compared: Iterable[str],
    ) -> None:
        self.category, self.has_masks, self.compared = category, has_masks, tuple(compared)
        self._methods = {method: CategoryEvaluator(has_masks) for method in methods}
        self._defect_pixels: dict[tuple[str, str], RankingCurve] = {}
        self.image_rows: list[Row] = []

    def update(
        self,
        about: pd.DataFrame,
        masks: NDArray[np.bool_],
        maps: Mapping[str, Floats],
        scores: Mapping[str, Floats],
        pixel_thresholds: Mapping[str, Floats] | None = None,
    ) -> None:
        """Add a batch of B test images. Pixels of anomalous images without a mask are left out as unknown.

        Args:
            about: their rows of the manifest, with their `group`.
            masks: (B, H, W), true on defects.
            maps: for each method (B, H, W) finite anomaly scores of the pixels.
            scores: for each method (B,) finite anomaly scores of the images.
            pixel_thresholds: for each method that has them (B,), see `CategoryEvaluator`.

        Raises:
            UserError: a score is NaN or infinite; names the images.
        """
        known = ((about.label == 0) | (about["mask"] != "")).to_numpy()
        for method, evaluator in self._methods.items():
            what = f"the scores of {method} are"
            refuse_not_finite(what, [maps[method], scores[method]], about.path, "predict these images again")
            limits = (pixel_thresholds or {}).get(method)
            evaluator.update(maps[method], masks, scores[method], about.label.to_numpy(), known, limits)
        self.image_rows += image_rows(about, scores)
        for defect in set(about.defect_type[(about.label == 1) & known]) if self.has_masks else ():
            chosen = (about.defect_type == defect).to_numpy() & known
            for method in self.compared:
                curve = self._defect_pixels.setdefault((method, defect), RankingCurve(unit="pixels"))
                curve.update(maps[method][chosen], masks[chosen])

    def curve(self, method: str, level: Level) -> RankingCurve:
        """The scores of all images or pixels so far."""
        evaluator = self._methods[method]
        return evaluator.images if level == "image" else evaluator.pixels

    def metric_rows(self) -> list[Row]:
        """category, method, metric, value, note."""
        return [
            {"category": self.category, "method": method, **_result(name, metric)}
            for method, evaluator in self._methods.items()
            for name, metric in evaluator.results().items()
        ]

    def curve_rows(self) -> list[Row]:
        """method, category, level (image, pixel), recall, precision, fpr; one row a threshold."""
        return [
            {"method": method, "category": self.category, "level": level}
            | dict(zip(points, map(float, values), strict=True))
            for method in self.compared
            for level in LEVELS
            for points in [self.curve(method, level).points()]
            for values in zip(*points.values(), strict=True)
        ]

    def defect_rows(self) -> list[Row]:
        """method, category, defect_type, images, metric, value, note.

        `image_auroc` ranks the images of one type among the category's good ones; `pixel_auroc` ranks the
        pixels of the images of this type. A category without anomalous images has one type, "", and reasons.
        """
        images = pd.DataFrame(self.image_rows, columns=list(IMAGE_COLUMNS))
        rows: list[Row] = []
        for defect in sorted(set(images.defect_type[images.label == 1])) or [""]:
            own = (images.defect_type == defect) & (images.label == 1)
            ranked = images[own | (images.label == 0)]
            for method in self.compared:
                mine = ranked[ranked.method == method]
                pixels = self._defect_pixels.get((method, defect))
                why = NO_MASKS if defect else "not defined: no anomalous images"
                located = Metric(np.nan, why) if pixels is None else pixels.measure(auroc)
                head = {
                    "method": method,
                    "category": self.category,
                    "defect_type": defect,
                    "images": sum(mine.label == 1),
                }
                ranking = ranked_auroc(mine.score, mine.label, "images")
                rows.append(head | _result("image_auroc", ranking))
                rows.append(head | _result("pixel_auroc", located))
        return rows


class PooledCurves:
    """The scores of all categories together: how well one threshold for all of them can do.

    Args:
        methods: whose.
    """

    def __init__(self, methods: Iterable[str]) -> None:
        self._curves = {
            (method, level): RankingCurve(POOLED_ROWS, unit=f"{level}s")
            for method in methods
            for level in LEVELS
        }
        self._without_masks = False

    def add(self, evaluation: CategoryEvaluation) -> None:
        """All scores of a category."""
        self._without_masks |= not evaluation.has_masks
        for (method, level), curve in self._curves.items():
            curve.merge(evaluation.curve(method, level))

    def metric_rows(self, missing: str = "") -> list[Row]:
        """category, method, metric, value, note, of each of `POOLED`.

        `missing`: why a category is not among them, "" if all are.
        """
        return [
            {
                "category": ALL,
                "method": method,
                **_result(name, Metric(np.nan, missing) if missing else self._measured(method, metric)),
            }
            for method in dict.fromkeys(method for method, _ in self._curves)
            for name, metric in POOLED.items()
        ]

    def _measured(self, method: str, metric: Declaration) -> Metric:
        if metric.needs_masks and self._without_masks:
            return Metric(np.nan, NO_MASKS)
        return self._curves[method, metric.level].measure(metric.compute)


def image_rows(about: pd.DataFrame, scores: Mapping[str, Floats]) -> list[Row]:
    """`IMAGE_COLUMNS` for each image and method; `about`: rows of the manifest, with the images' `group`."""
    facts = about[["path", "category", "group", "split", "defect_type", "label"]].assign(row=about.index)
    frames = [facts.assign(method=method, score=own)[list(IMAGE_COLUMNS)] for method, own in scores.items()]
    return [
        {str(key): value for key, value in row.items()} for own in frames for row in own.to_dict("records")
    ]


def _result(name: str, metric: Metric) -> Row:
    return {"metric": name, "value": metric.value, "note": metric.note}
