"""How far apart the scores of normal and anomalous images are, and what a threshold set beforehand finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.config.variants import COMPARED
from drdc.evaluation.calibration import RATE, members, needed, threshold
from drdc.reporting.aggregate import in_paper_order, over_seeds, reason_notes
from drdc.reporting.declared import table
from drdc.reporting.described import NONE, Methods, compared, further, name_of
from drdc.reporting.formats import Cell, Column, Table
from drdc.reporting.lost import NOTHING, Failed, Lost, lost, why_lost, with_lost
from drdc.results.scores import typed
from drdc.runtime.errors import UserError

Floats = NDArray[np.float64]
PERCENT = f"{100 * RATE:g} %"
ALL = "all together"
COLUMNS = (
    Column("overlap"),
    Column("Cohen's d", decimals=2, unit=""),
    Column("detection rate"),
    Column("false alarm rate"),
    Column("detection rate, one threshold"),
    Column("false alarm rate, one threshold"),
)
NOTES = (
    "overlap: false alarm rate plus miss rate at the threshold where their sum is smallest; 0 %: separated, "
    "100 %: no threshold is better than none; with few images it is too small.",
    "Cohen's d: difference of the two means over the pooled standard deviation.",
    f"threshold: that of `drdc detect`, which a normal image exceeds with a chance of at most {PERCENT}; "
    "from the held-out normal images that are most like the same category as the image; detection rate: "
    "anomalous test images above it; false alarm rate: normal test images above it.",
    "one threshold: the same of all categories, from all held-out normal images.",
    f"{ALL}: scores of all categories pooled.",
)


@table(
    "separation",
    of="image_scores",
    heading="Separation of normal and anomalous images, in numbers.",
    caption="And what a threshold set on held-out normal images finds.",
)
def separation(image_scores: pd.DataFrame, described: Methods = NONE, failed: Failed = NOTHING) -> Table:
    """Overlap, Cohen's d, detection and false alarm rate of the image scores of each method.

    Per category and over all categories pooled, each mean ± standard deviation over seeds. Definitions:
    `overlap`, `cohens_d`, `limits`. `image_scores`, errors: `scores_of`. `failed`: what is lacking there; a
    seed that lacks a category has no values of all together, and no threshold that needs its images.
    """
    frames = scores_of(image_scores, described)
    gone = lost_images(frames, failed)
    first = next(iter(frames.values()))
    categories = with_lost((frame["category"].unique() for frame in frames.values()), gone)
    seeds = {
        method: {str(seed): part for seed, part in frame.groupby("seed")} for method, frame in frames.items()
    }
    rows = tuple(
        (f"{name}: {name_of(method)}", _cells(seeds[method], category, gone[method]))
        for name, category in [*zip(categories, categories, strict=True), (ALL, None)]
        for method in frames
    )
    reasons = {(c.label, label): cells[i].note for label, cells in rows for i, c in enumerate(COLUMNS)}
    counts = {method: len(parts) for method, parts in seeds.items()}
    notes = (
        _spread(counts), *NOTES, *_pooled(first), *without_scores(frames, described), *reason_notes(reasons),
    )  # fmt: skip
    caption = "Separation of the image scores of normal and anomalous images (%)"
    many = len(frames)
    return Table(caption, "category", COLUMNS, rows, notes, best="none", group=many, footer=many)


def scores_of(image_scores: pd.DataFrame, described: Methods) -> dict[str, pd.DataFrame]:
    """The image scores of base, DRDC and the methods of the configuration, in this order; of those with some.

    Args:
        image_scores: rows of image_scores.csv with the columns seed, method, category, group, split (test |
            val = held-out normal images), label (0 | 1) and score (higher = more anomalous).

    Raises:
        UserError: no rows of these methods, missing columns, or scores that are not finite.
    """
    texts = ("seed", "method", "category", "group", "split")
    frame = typed(image_scores, texts, ("label", "score"), "image_scores.csv")
    frames = {str(method): part for method, part in frame.groupby("method", sort=False)}
    methods = compared(described, frames)
    if not methods:
        raise UserError("", "image_scores.csv has no scores of base or DRDC", "run the score step again")
    if not all(np.isfinite(frames[method]["score"]).all() for method in methods):
        raise UserError("", "image_scores.csv has NaN or infinite scores", "run the score step again")
    return {method: frames[method] for method in methods}


def lost_images(frames: Mapping[str, pd.DataFrame], failed: Failed) -> dict[str, dict[str, Lost]]:
    """`lost` of the test images."""
    return lost({method: frame[frame["split"] == "test"] for method, frame in frames.items()}, failed)


def of_first_seed(frames: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The rows of the experiment's first seed, of which detectors and self-checks are; of methods with some.

    `frames`: as `scores_of` returns them, in the order of image_scores.csv, which is that of the seeds.
    """
    first = next(iter(frames.values()))["seed"].iloc[0]
    own = {method: frame[frame["seed"] == first] for method, frame in frames.items()}
    return {method: frame for method, frame in own.items() if len(frame)}


def without_scores(frames: Mapping[str, pd.DataFrame], described: Methods) -> list[str]:
    """A note on the methods that should be compared and have no scores of images."""
    absent = [name_of(name) for name in (*COMPARED, *further(described)) if name not in frames]
    return [f"without image scores, because scoring failed: {', '.join(absent)}."] if absent else []


def overlap(normal: Floats, anomalous: Floats) -> float:
    """1 − sup (F_normal − F_anomalous) in [0, 1], the one-sided distance of Smirnov of two samples.

    The smallest sum of false alarm rate and miss rate of any threshold: 0 where one separates (N,) `normal`
    from higher (M,) `anomalous`, 1 where none does better than chance. Exact with ties, and no increasing
    function of the scores changes it.
    """
    values = np.concatenate([normal, anomalous])
    shares = [np.searchsorted(np.sort(one), values, "right") / len(one) for one in (normal, anomalous)]
    return float(1 - (shares[0] - shares[1]).max(initial=0))


def cohens_d(normal: Floats, anomalous: Floats) -> float:
    """Standardised mean difference, (mean(anomalous) − mean(normal)) / s.

    s² = ((N − 1) s_N² + (M − 1) s_M²) / (N + M − 2), with the samples' variances (ddof = 1). NaN where all
    scores of each sample are the same (s = 0) or a sample has fewer than two values.
    """
    n, m = len(normal), len(anomalous)
    if min(n, m) < 2 or np.ptp(normal) == np.ptp(anomalous) == 0:  # whose variance may be rounded above 0
        return float("nan")
    pooled = ((n - 1) * normal.var(ddof=1) + (m - 1) * anomalous.var(ddof=1)) / (n + m - 2)
    return float((anomalous.mean() - normal.mean()) / np.sqrt(pooled))


def limit(held_out: pd.DataFrame, group: str | None, incomplete: str = "") -> tuple[float, str]:
    """The threshold that `drdc detect` has at `RATE` for images of a group, or why there is none.

    `held_out`: group and score of a method's held-out normal images of all categories, of one seed.
    `group`: None for one threshold of all. `incomplete`: why images of a category are not among them; there
    is no threshold then but of a group by itself.
    """
    names = held_out["group"].to_numpy()
    joined = members(names, RATE, group)
    if incomplete and set(names[joined]) != {group}:
        return np.nan, incomplete
    chosen = held_out.loc[joined, "score"].to_numpy()
    if len(chosen) < needed(RATE):
        few = f"a threshold needs {needed(RATE)} held-out normal images, and there are {len(chosen)}"
        return np.nan, incomplete or few
    return threshold(chosen, RATE), ""


def limits(held_out: pd.DataFrame, groups: pd.Series[str], incomplete: str = "") -> tuple[Floats, str]:
    """The threshold of each of some images, by their `groups`, (N,), or why there are none; see `limit`."""
    found = {group: limit(held_out, group, incomplete) for group in groups.unique()}
    why = next((reason for _, reason in found.values() if reason), "")
    return groups.map({group: value for group, (value, _) in found.items()}).to_numpy(float), why


def _spread(counts: Mapping[str, int]) -> str:
    """Over how many seeds the values of each method are."""
    numbers = set(counts.values())
    if numbers == {1}:
        return "one seed, hence no spread."
    each = ", ".join(f"{name_of(method)} {count}" for method, count in counts.items())
    over = f"{numbers.pop()} seeds" if len(numbers) == 1 else f"the seeds that each method has ({each})"
    return f"mean ± standard deviation over {over}."


def _pooled(frame: pd.DataFrame) -> list[str]:
    """A note on the categories whose thresholds are not from their own held-out images alone."""
    held_out = frame[frame["split"] == "val"]
    if held_out.empty or held_out["seed"].value_counts().min() < needed(RATE):
        return []
    groups = held_out.loc[held_out["seed"] == held_out["seed"].iloc[0], "group"].to_numpy()
    joined = [
        f"{name} ({np.sum(groups == name)})"
        for name in in_paper_order(frame["category"].unique())
        if set(groups[members(groups, RATE, name)]) != {name}
    ]
    few = f"because some have fewer than {needed(RATE)} held-out normal images"
    return [f"categories that share a threshold, {few}: {', '.join(joined)}."] if joined else []


def _cells(
    seeds: Mapping[str, pd.DataFrame], category: str | None, gone: Mapping[str, Lost]
) -> tuple[Cell, ...]:
    each_seed = [_one_seed(part, category, gone.get(seed, {})) for seed, part in seeds.items()]
    return tuple(_merged(cells) for cells in zip(*each_seed, strict=True))


def _one_seed(rows: pd.DataFrame, category: str | None, gone: Lost) -> tuple[Cell, ...]:
    """The measures of one method's scores of a category, or of all, in the order of `COLUMNS`."""
    failed, incomplete = why_lost([gone], category), why_lost([gone], None)
    held_out, test = rows[rows["split"] == "val"], rows[rows["split"] == "test"]
    test = test if category is None else test[test["category"] == category]
    normal, anomalous = classes(test)
    no_normal = failed or ("" if len(normal) else "no good test image")
    no_anomalous = failed or ("" if len(anomalous) else "no anomalous test image")
    if no_normal or no_anomalous:
        apart = [Cell(note=no_normal or no_anomalous)] * 2
    else:
        d = cohens_d(normal, anomalous)
        why = "fewer than two images of a kind, or all scores of each the same" if np.isnan(d) else ""
        apart = [Cell(100 * overlap(normal, anomalous)), Cell(d, note=why)]
    own, one = limits(held_out, test["group"], incomplete), limit(held_out, None, incomplete)
    rates = []
    bad = test["label"].to_numpy() == 1
    for each, why in (own, one):
        above = test["score"].to_numpy(float) > each
        rates += [_rate(above[bad], why or no_anomalous), _rate(above[~bad], why or no_normal)]
    return *apart, *rates


def classes(test: pd.DataFrame) -> tuple[Floats, Floats]:
    """The scores of the normal and of the anomalous images."""
    scores, labels = test["score"].to_numpy(float), test["label"].to_numpy()
    return scores[labels == 0], scores[labels == 1]


def _rate(above: NDArray[np.bool_], why: str) -> Cell:
    return Cell(note=why) if why else Cell(100 * float(np.mean(above)))


def _merged(cells: Sequence[Cell]) -> Cell:
    """One cell from those of all seeds."""
    why = next((cell.note for cell in cells if cell.note), "")
    return over_seeds(pd.Series([cell.mean for cell in cells]), why)
