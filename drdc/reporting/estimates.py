"""Figure of the self-check against the truth: do synthetic defects tell what real ones get?"""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from drdc.evaluation.self_check import image_auroc, summary
from drdc.reporting.declared import figure
from drdc.reporting.described import NONE, Methods, name_of
from drdc.reporting.figures import WIDTH, legend, looks, new_figure, no_figure, plain, save
from drdc.reporting.separation import classes, scores_of
from drdc.runtime.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Fewer points have no rank correlation to speak of.
LEAST = 3
HEIGHT, LEGEND_ROW, ENTRIES = 4.8, 0.17, 4  # inches, inches, entries of the legend in a row


@figure(
    "estimates",
    of="estimates",
    heading="Self-check against the truth.",
    section="thresholds",
    caption="""
    Image AUROC on synthetic defects in held-out normal images, and on the test images: a point for each
    method and category of the first seed. On the dashed line the estimate is right; the rank correlation says
    whether it orders methods and categories as the truth does.
    """,
)
def estimates(
    found: Mapping[str, pd.DataFrame], image_scores: pd.DataFrame, path: Path, described: Methods = NONE
) -> None:
    """The numbers of `estimates_data`, drawn, and written next to the PNG as `estimates.csv`.

    Args:
        found: rows of `self_check/<method>.csv` by method.
        image_scores: those of all methods, of the first seed.
        path: the PNG, 1200 pixels wide.
        described: the methods of the configuration.
    """
    data = estimates_data(found, image_scores, described)
    if data.dropna().empty:
        no_figure("No category has both a self-check and anomalous test images.", path)
    else:
        save(draw_estimates(data, described), path)
    with atomic(path.with_suffix(".csv")) as part:
        data.to_csv(part, index=False)


def estimates_data(
    found: Mapping[str, pd.DataFrame], image_scores: pd.DataFrame, described: Methods = NONE
) -> pd.DataFrame:
    """Method, category, and the image AUROC in percent: `estimate` and `truth`, NaN where not defined."""
    scored = scores_of(image_scores, described)
    rows = []
    for method, checked in found.items():
        if method not in scored:
            continue
        own = scored[method]
        test = own[own["split"] == "test"]
        estimated = summary(checked)["image_auroc"]
        for category, part in test.groupby("category"):
            truth = image_auroc(*classes(part)).value
            rows.append((method, str(category), 100 * estimated.get(category, nan), 100 * truth))
    return pd.DataFrame(rows, columns=["method", "category", "estimate", "truth"])


def correlation(data: pd.DataFrame) -> float:
    """Spearman's rank correlation of estimate and truth; NaN for fewer than three points, or equal ones."""
    from scipy.stats import spearmanr

    known = data.dropna()
    if len(known) < LEAST or known["estimate"].nunique() < 2 or known["truth"].nunique() < 2:
        return nan
    return float(spearmanr(known["estimate"], known["truth"]).statistic)


def within_categories(data: pd.DataFrame) -> float:
    """The mean over categories of `correlation` over methods: does the estimate find the better method?"""
    each = [correlation(part) for _, part in data.groupby("category")]
    known = [value for value in each if not isnan(value)]
    return float(np.mean(known)) if known else nan


def draw_estimates(data: pd.DataFrame, described: Methods = NONE) -> Figure:
    """The figure that `estimates` writes, of the numbers that `estimates_data` returns."""
    known, look = data.dropna(), looks(data["method"], described)
    rows = -(-known["method"].nunique() // ENTRIES)
    drawn = new_figure(WIDTH, HEIGHT + LEGEND_ROW * rows)
    axes = drawn.subplots()
    plain(axes)
    for method, own in known.groupby("method", sort=False):
        axes.plot(
            own["estimate"], own["truth"], look[str(method)].marker, color=look[str(method)].colour, ms=5.5,
            mfc="none", mew=1.3, label=name_of(str(method)), clip_on=False,
        )  # fmt: skip
    low = 5 * (known[["estimate", "truth"]].to_numpy().min() // 5)
    axes.plot([low, 100], [low, 100], color="0.5", lw=1.0, ls="--", zorder=0)
    axes.set_aspect("equal")
    axes.set_xlim(low, 100)
    axes.set_ylim(low, 100)
    axes.set_xlabel(f"estimate: image AUROC (%) on synthetic defects\n({_said(known)})", fontsize=8.5)
    axes.set_ylabel("truth: image AUROC (%) on test images", fontsize=8.5)
    legend(drawn, loc="outside upper center", ncols=ENTRIES)
    return drawn


def _said(known: pd.DataFrame) -> str:
    """The rank correlations in words."""
    over, within = correlation(known), within_categories(known)
    texts = [f"{len(known)} points"]
    texts += [] if isnan(over) else [f"rank correlation {over:.2f}"]
    texts += [] if isnan(within) else [f"among methods of a category {within:.2f}"]
    return ", ".join(texts)
