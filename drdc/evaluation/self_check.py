"""How good a model is, as far as synthetic defects in held-out normal images can tell."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from drdc.config.names import ALL
from drdc.evaluation.metrics import Metric
from drdc.evaluation.ranking_curve import ranked_auroc

#: Of each image: the normal ones have kind "" and no share and pixel AUROC.
COLUMNS = ("category", "path", "kind", "share", "score", "threshold", "anomalous", "pixel_auroc")
#: What `summary` measures, with headings.
MEASURES = {
    "image_auroc": "Image AUROC",
    "pixel_auroc": "Pixel AUROC",
    "detection_rate": "detection rate",
}


def image_auroc(normal: ArrayLike, defective: ArrayLike) -> Metric:
    """Of the scores of normal images and of those with a defect."""
    labels = np.repeat([False, True], [np.size(normal), np.size(defective)])
    return ranked_auroc(np.append(normal, defective), labels, "images")


def pixel_auroc(heatmap: np.ndarray, mask: np.ndarray) -> float:
    """Of one image, (H, W) each; NaN where the mask is empty or full."""
    return ranked_auroc(heatmap, mask, "pixels").value


def summary(rows: pd.DataFrame, by: str = "category") -> pd.DataFrame:
    """`MEASURES` as fractions and the number of defects, for each category (or `kind`), and for all.

    The image AUROC ranks a category's defects among its normal images and is then averaged over categories,
    as in the tables; the others are means over defects.

    Args:
        rows: `COLUMNS`.
        by: category or kind.
    """
    normal, defects = rows[rows["kind"] == ""], rows[rows["kind"] != ""]
    names = [*sorted(defects[by].unique()), ALL]
    found = []
    for name in names:
        own = defects if name == ALL else defects[defects[by] == name]
        each = [
            image_auroc(normal.loc[normal["category"] == category, "score"], part["score"]).value
            for category, part in own.groupby("category")
        ]
        measures = (np.nanmean(each), own["pixel_auroc"].mean(), own["anomalous"].mean())
        found.append((name, *measures, len(own)))
    return pd.DataFrame(found, columns=[by, *MEASURES, "defects"]).set_index(by)


def sentence(found: pd.DataFrame) -> str:
    """What `summary` by category says, in one sentence."""
    each = ", ".join(
        f"{name} {100 * rate:.0f} %" for name, rate in found["detection_rate"].items() if name != ALL
    )
    whole = found.loc[ALL]
    return (
        f"finds {100 * whole['detection_rate']:.0f} % of {whole['defects']:.0f} synthetic defects in "
        f"held-out normal images ({each}); image AUROC {100 * whole['image_auroc']:.1f} %, pixel AUROC "
        f"{100 * whole['pixel_auroc']:.1f} %"
    )
