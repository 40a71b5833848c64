"""Figure of Cohen's d: how far apart the image scores of normal and anomalous test images lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.variants import COMPARED
from drdc.reporting.declared import figure
from drdc.reporting.described import NONE, Methods
from drdc.reporting.figures import (
    WIDTH,
    label_of,
    legend,
    looks,
    new_figure,
    plain,
    save,
)
from drdc.reporting.formats import FAILED
from drdc.reporting.lost import NOTHING, Failed, Lost, why_lost, with_lost
from drdc.reporting.separation import ALL, classes, cohens_d, lost_images, scores_of
from drdc.runtime.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHIFT = 0.14  # of a row, up and down: base and DRDC
ROW, TALLER_ROW, LEGEND_ROW = 0.27, 0.36, 0.19  # inches; the second with further methods
ENTRIES = 4  # of the legend in a row


@figure(
    "separation",
    of="image_scores",
    heading="Separation of normal and anomalous images, drawn.",
    caption="The difference of their means in standard deviations (Cohen's d); further right is better.",
)
def separation(
    image_scores: pd.DataFrame, path: Path, described: Methods = NONE, failed: Failed = NOTHING
) -> None:
    """Cohen's d between anomalous and normal test images per category, base joined to DRDC.

    Sorted by DRDC's; the row of all categories together is last. Values: `effect_sizes`; bars: one standard
    deviation over seeds, of base and DRDC. Further methods of the configuration have small hollow markers.
    `path`: the PNG, 1200 pixels wide. Raises `UserError` as `effect_sizes` does.
    """
    save(draw_separation(effect_sizes(image_scores, described, failed), described), path)


def effect_sizes(
    image_scores: pd.DataFrame, described: Methods = NONE, failed: Failed = NOTHING
) -> pd.DataFrame:
    """Cohen's d of the image scores: category, method, mean, std (ddof = 1), seeds (their count), note.

    `separation.cohens_d` of each seed's test images, then mean and std over the seeds. Of several categories
    a last one, "all together", pools all images. NaN, and the reason as a note, where a seed lacks the
    category, or any of all together; `failed`: what is lacking. Raises `UserError` as `tested` does.
    """
    frames = tested(image_scores, described)
    gone = lost_images(frames, failed)
    rows = []
    for name, parts in by_category(frames, gone):
        for method, part in parts.items():
            why = why_lost(gone[method].values(), None if name == ALL else name)
            test = part.iloc[:0] if why else part[part["split"] == "test"]
            values = [cohens_d(*classes(one)) for _, one in test.groupby("seed")]
            rows.append((name, method, np.mean(values or [nan]), _spread(values), len(values), why))
    return pd.DataFrame(rows, columns=["category", "method", "mean", "std", "seeds", "note"])


def tested(image_scores: pd.DataFrame, described: Methods) -> dict[str, pd.DataFrame]:
    """`separation.scores_of`; UserError where there is no test image."""
    frames = scores_of(image_scores, described)
    if not any((frame["split"] == "test").any() for frame in frames.values()):
        raise UserError("", "image_scores.csv has no test image", "run the score step again")
    return frames


def by_category(
    frames: Mapping[str, pd.DataFrame], gone: Mapping[str, Mapping[str, Lost]]
) -> Iterator[tuple[str, dict[str, pd.DataFrame]]]:
    """Each category with test images and each method's rows of it, then all together if there are several.

    `gone`: those that are lost.
    """
    tests = (frame.loc[frame["split"] == "test", "category"].unique() for frame in frames.values())
    names = with_lost(tests, gone)
    for name in names:
        yield name, {method: frame[frame["category"] == name] for method, frame in frames.items()}
    if len(names) > 1:
        yield ALL, dict(frames)


def draw_separation(sizes: pd.DataFrame, described: Methods = NONE) -> Figure:
    """The figure that `separation` writes, of the numbers that `effect_sizes` returns."""
    table = {str(m): own.set_index("category") for m, own in sizes.groupby("method", sort=False)}
    names = _sorted(table["drdc" if "drdc" in table else next(iter(table))]["mean"])
    further = [method for method in table if method not in COMPARED]
    lines = -(-len(table) // ENTRIES) - 1
    height = (TALLER_ROW if further else ROW) * len(names) + 1.1 + LEGEND_ROW * lines
    figure = new_figure(WIDTH, height)
    axes = figure.subplots()
    plain(axes)
    places, seeds = -np.arange(len(names)), int(sizes["seeds"].max())
    shift = SHIFT if seeds > 1 else 0.0  # so that the bars of the two do not cover each other
    heights = {"base": places + shift, "drdc": places - shift}
    ends = {method: table[method].reindex(names) for method in COMPARED if method in table}
    if len(ends) == len(COMPARED):
        axes.plot([e["mean"] for e in ends.values()], list(heights.values()), color="0.7", lw=2.0, zorder=1)
    look = looks(table, described)
    for method, values in ends.items():
        axes.errorbar(
            values["mean"], heights[method], xerr=values["std"].fillna(0.0), fmt=look[method].marker,
            color=look[method].colour, ms=5, elinewidth=1.0, capsize=2.0 * (seeds > 1),
            label=label_of(method, int(values["seeds"].max()), seeds),
        )  # fmt: skip
    for method in further:
        axes.plot(
            table[method]["mean"].reindex(names), places, look[method].marker, color=look[method].colour,
            ms=4.5, mfc="none", mew=1.1, zorder=1.5,
            label=label_of(method, int(table[method]["seeds"].max()), seeds),
        )  # fmt: skip
    for place, name in enumerate(names):
        absent = [values["note"][name] for values in ends.values() if pd.isna(values["mean"][name])]
        if absent:
            words = FAILED if any(absent) else "not defined"
            axes.text(0.0, -place, f" {words}", va="center", size=8)
    _dress(axes, names, places, seeds, bool(further))
    return figure


def _sorted(means: pd.Series[float]) -> list[str]:
    """The categories from the largest to the smallest, all together at the end."""
    ordered = means.drop(ALL, errors="ignore").sort_values(ascending=False, kind="stable")
    return [*map(str, ordered.index), *([ALL] if ALL in means else [])]


def _dress(axes: Axes, names: list[str], places: NDArray[np.int_], seeds: int, further: bool) -> None:
    from matplotlib.lines import Line2D

    axes.axvline(0.0, color="0.4", lw=1.0)
    axes.set_yticks(places, names, parse_math=False)
    axes.set_ylim(places[-1] - 0.6, 0.6)
    if ALL in names:
        axes.axhline(places[-1] + 0.5, color="0.4", lw=0.8)
        axes.get_yticklabels()[-1].set_fontweight("bold")
    axes.set_ylabel("category", fontsize=9)
    whose = " (base, DRDC)" if further else ""
    spread = f"\nbars{whose}: ± standard deviation over {seeds} seeds" if seeds > 1 else ""
    words = f"Cohen's d: difference of anomalous and normal test images\nin standard deviations{spread}"
    axes.set_xlabel(words, fontsize=8.5)
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: isinstance(handles[i], Line2D))  # those with bars first
    legend(
        axes, [handles[i] for i in order], [labels[i] for i in order], loc="lower left",
        bbox_to_anchor=(-0.2, 1.0), ncols=ENTRIES if further else 2,
    )  # fmt: skip


def _spread(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else nan
