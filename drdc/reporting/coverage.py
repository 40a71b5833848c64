"""Figure of the false alarms of each category: one threshold for all, or one for each group of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.names import ALL as WHOLE
from drdc.config.variants import DRDC
from drdc.evaluation.calibration import RATE, by_group, needed, smallest_rate
from drdc.reporting.aggregate import in_paper_order
from drdc.reporting.declared import figure
from drdc.reporting.described import NONE
from drdc.reporting.figures import OURS, WIDTH, legend, new_figure, no_figure, plain, save
from drdc.reporting.lost import NOTHING, Failed, why_lost
from drdc.reporting.separation import ALL, lost_images, of_first_seed, scores_of
from drdc.runtime.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPLITS = 500
ONE, OWN = "one threshold for all", "threshold of the group"
LOOK = {ONE: ("0.45", "s"), OWN: (OURS["drdc"].colour, "o")}
ROW, SHIFT = 0.36, 0.13  # inches; of a row
NAMES = ["category", "threshold", "rate", "low", "high", "asked", "images", "splits"]


@figure(
    "coverage",
    of="image_scores",
    heading="False alarms with one threshold, and with one for each group.",
    section="thresholds",
    caption="""
    Normal images of DRDC, held-out and test, split again and again: one half sets the thresholds, and
    those of the other half above them are counted. The dashed line is the rate that was asked for: 5 %, or
    where two fifths of a category's images are too few for that, the smallest that these allow.
    """,
)
def coverage(image_scores: pd.DataFrame, path: Path, failed: Failed = NOTHING) -> None:
    """Rates of false alarms over random splits of all normal images, see `coverage_data`.

    Bars: the middle 90 % of the splits. `path`: the PNG, 1200 pixels wide; the numbers are written next to
    it, as `coverage.csv`. Where the normal images are too few, or lack those of a category because it
    `failed`, it says so.
    """
    data = coverage_data(image_scores, failed)
    if data.empty:
        _, why = _normal(image_scores, failed)
        few = f"A threshold needs {needed(RATE)} normal images, and half of them are fewer."
        no_figure(f"A category has no images: {why}." if why else few, path)
    else:
        save(draw_coverage(data), path)
    with atomic(path.with_suffix(".csv")) as part:
        data.to_csv(part, index=False)


def coverage_data(image_scores: pd.DataFrame, failed: Failed = NOTHING) -> pd.DataFrame:
    """Rates of false alarms of DRDC's first seed: a row for each category, and all together, and threshold.

    Each of `SPLITS` splits draws one half of the normal images of all categories, which give the thresholds
    at the rate that is asked for, as `drdc detect` has them: one of all, and one of each group
    (`drdc.evaluation.groups`). The rate is that of the other half. No image has a part in both, so the mean
    over splits is at most the rate in every group, up to the noise of so many images.

    Returns:
        category, threshold (`ONE`, `OWN`), rate (mean over splits), low and high (5th and 95th percentile),
        asked (`RATE`, or the rate for which two fifths of each category's images suffice by themselves),
        images (normal ones), splits; empty where half of the images are too few, or those of a category are
        lacking.
    """
    normal, why = _normal(image_scores, failed)
    scores, groups = normal["score"].to_numpy(float), normal["group"].to_numpy(str)
    categories = normal["category"].to_numpy(str)
    half = len(scores) // 2
    if why or half < needed(RATE):
        return pd.DataFrame(columns=NAMES)
    fewest = int(np.unique(categories, return_counts=True)[1].min())
    asked = max(RATE, smallest_rate(max(1, 2 * fewest // 5)))
    places = {name: categories == name for name in in_paper_order(set(categories.tolist()))}
    places |= {ALL: np.ones(len(scores), dtype=bool)} if len(places) > 1 else {}
    rates: dict[tuple[str, str], list[float]] = {(name, kind): [] for name in places for kind in (ONE, OWN)}
    rng = np.random.default_rng(0)
    for _ in range(SPLITS):
        order = rng.permutation(len(scores))
        known, new = order[:half], order[half:]
        for kind, above in _alarms(scores, groups, known, asked).items():
            for name, own in places.items():
                if own[new].any():
                    rates[name, kind].append(float(above[new][own[new]].mean()))
    return pd.DataFrame(
        [
            (name, kind, np.mean(found), *np.quantile(found, [0.05, 0.95]), asked, places[name].sum(), SPLITS)
            for (name, kind), found in rates.items()
        ],
        columns=NAMES,
    )


def _normal(image_scores: pd.DataFrame, failed: Failed) -> tuple[pd.DataFrame, str]:
    """The normal images of DRDC's first seed, and why those of a category are lacking, "" if none is."""
    every = scores_of(image_scores, NONE)
    rows = of_first_seed(every)
    method = DRDC if DRDC in rows else next(iter(rows))
    chosen = rows[method]
    gone = lost_images(every, failed)[method].get(chosen["seed"].iloc[0], {})
    return chosen[chosen["label"] == 0], why_lost([gone], None)


def _alarms(
    scores: NDArray[np.float64], groups: NDArray[np.str_], known: NDArray[np.intp], asked: float
) -> dict[str, NDArray[np.bool_]]:
    """Which of all scores are above each kind of threshold from the known ones."""
    names, places = np.unique(groups, return_inverse=True)
    limits = by_group(scores[known], groups[known], asked, names.tolist())
    own = np.array([limits[name] for name in names.tolist()])
    return {ONE: scores > limits[WHOLE], OWN: scores > own[places]}


def draw_coverage(data: pd.DataFrame) -> Figure:
    """The figure that `coverage` writes, of the numbers that `coverage_data` returns."""
    names = list(dict.fromkeys(data["category"]))
    drawn = new_figure(WIDTH, ROW * len(names) + 1.1)
    axes = drawn.subplots()
    plain(axes)
    for (kind, (colour, marker)), shift in zip(LOOK.items(), (SHIFT, -SHIFT), strict=True):
        own = data[data["threshold"] == kind].set_index("category").loc[names]
        ends = 100 * np.abs(own[["low", "high"]].to_numpy().T - own["rate"].to_numpy())
        axes.errorbar(
            100 * own["rate"], shift - np.arange(len(names)), xerr=ends, fmt=marker, color=colour, ms=5,
            elinewidth=1.0, capsize=2.0, label=kind,
        )  # fmt: skip
    asked = 100 * float(data["asked"].iloc[0])
    axes.axvline(asked, color="0.4", lw=1.0, ls="--")
    axes.set_yticks(-np.arange(len(names)), names, parse_math=False)
    axes.set_ylim(0.6 - len(names), 0.6)
    axes.set_xlim(left=0)
    axes.set_ylabel("category", fontsize=9)
    axes.set_xlabel(
        f"false alarms among normal images (%)\nmean and middle 90 % of {SPLITS} splits; "
        f"dashed: {asked:.3g} %, asked for",
        fontsize=8.5,
    )
    legend(axes, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    return drawn
