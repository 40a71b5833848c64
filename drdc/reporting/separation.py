"""How far apart the scores of normal and anomalous images lie, and what a threshold set beforehand finds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.errors import UserError
from drdc.evaluation import COMPARED
from drdc.reporting.formats import Cell, Column, Table
from drdc.reporting.measured import METHODS, in_paper_order, over_seeds, reason_notes, typed

Floats = NDArray[np.float64]
BINS = 20
ALARMS = 5  # percent of the held-out normal images that exceed the threshold
ALL = "all together"
COLUMNS = (
    Column("overlap"),
    Column("Cohen's d", decimals=2, unit=""),
    Column("detection rate"),
    Column("false alarm rate"),
)
NOTES = (
    f"overlap: shared part of good and anomalous test images over {BINS} bins that hold equally many of "
    "them; 0 % is apart, 100 % is the same; with few images it comes out too small.",
    "Cohen's d: difference of the two means over the pooled standard deviation.",
    f"threshold: exceeded by {ALARMS} % of the held-out normal images (rounded down to whole images), which "
    "are no test images; detection rate: anomalous test images above it; false alarm rate: good test images "
    "above it.",
    f"{ALL}: scores of all categories pooled, with one threshold.",
)


def separation(image_scores: pd.DataFrame) -> Table:
    """Overlap, Cohen's d, detection and false alarm rate of the image scores of base and DRDC.

    Per category and over all categories pooled, each mean ± standard deviation over seeds. `image_scores`:
    rows of image_scores.csv with the columns seed, category, split (test | val = held-out normal images),
    label (0 | 1), base and drdc (scores, higher = more anomalous). Definitions: `overlap`, `cohens_d`,
    `threshold`. Raises `UserError` for no rows, missing columns or scores that are not finite.
    """
    frame = typed(image_scores, ("seed", "category", "split"), ("label", *COMPARED), "image_scores.csv")
    if frame.empty or not np.isfinite(frame[list(COMPARED)]).all(axis=None):
        raise UserError("image_scores.csv must hold finite scores for at least one image; score it again.")
    parts = {c: frame[frame["category"] == c] for c in in_paper_order(frame["category"].unique())}
    rows = tuple(
        (f"{name}: {METHODS[method]}", _cells(part, method))
        for name, part in (parts | {ALL: frame}).items()
        for method in COMPARED
    )
    seeds = frame["seed"].nunique()
    spread = f"mean ± standard deviation over {seeds} seeds." if seeds > 1 else "one seed, hence no spread."
    reasons = {(c.label, label): cells[i].note for label, cells in rows for i, c in enumerate(COLUMNS)}
    notes = (spread, *NOTES, *reason_notes(reasons))
    caption = "Separation of the image scores of good and anomalous images (%)"
    return Table(caption, "category", COLUMNS, rows, notes, best="none", group=2, footer=len(COMPARED))


def overlap(normal: Floats, anomalous: Floats, bins: int = BINS) -> float:
    """Overlap coefficient of two samples, Σ_k min(p_k, q_k), in [0, 1].

    p_k and q_k are the shares of (N,) `normal` and (M,) `anomalous` in bin k of `bins` bins that hold equally
    many of all values: a few extreme scores change nothing, and neither does a monotone function of them.
    """
    edges = np.unique(np.quantile(np.concatenate([normal, anomalous]), np.linspace(0, 1, bins + 1)))
    if len(edges) == 1:  # all values are the same
        return 1.0
    shares = [np.histogram(values, edges)[0] / len(values) for values in (normal, anomalous)]
    return float(np.minimum(*shares).sum())


def cohens_d(normal: Floats, anomalous: Floats) -> float:
    """Standardised mean difference, (mean(anomalous) − mean(normal)) / s.

    s² = ((N − 1) s_N² + (M − 1) s_M²) / (N + M − 2), with the samples' variances (ddof = 1). NaN when s is 0
    or a sample has fewer than two values.
    """
    n, m = len(normal), len(anomalous)
    if min(n, m) < 2:
        return float("nan")
    pooled = ((n - 1) * normal.var(ddof=1) + (m - 1) * anomalous.var(ddof=1)) / (n + m - 2)
    return float((anomalous.mean() - normal.mean()) / np.sqrt(pooled)) if pooled > 0 else float("nan")


def threshold(held_out: Floats) -> float:
    """The lowest of (K,) `held_out` scores that at most `ALARMS` % of them exceed.

    That is the (⌊K · ALARMS / 100⌋ + 1)-th highest score; with fewer than 20 images the highest.
    """
    return float(np.sort(held_out)[::-1][len(held_out) * ALARMS // 100])


def _cells(rows: pd.DataFrame, method: str) -> tuple[Cell, ...]:
    each_seed = [_one_seed(part, method) for _, part in rows.groupby("seed")]
    return tuple(_merged(cells) for cells in zip(*each_seed, strict=True))


def _one_seed(rows: pd.DataFrame, method: str) -> tuple[Cell, ...]:
    """The four measures of one seed's images, in the order of `COLUMNS`."""
    test, scores = rows["split"] == "test", rows[method].to_numpy()
    normal = scores[test & (rows["label"] == 0)]
    anomalous = scores[test & (rows["label"] == 1)]
    held_out = scores[rows["split"] == "val"]
    no_normal = "" if len(normal) else "no good test image"
    no_anomalous = "" if len(anomalous) else "no anomalous test image"
    no_threshold = "" if len(held_out) else "no held-out normal image"
    if no_normal or no_anomalous:
        apart = [Cell(note=no_normal or no_anomalous)] * 2
    else:
        d = cohens_d(normal, anomalous)
        why = "fewer than two images of a kind, or all scores the same" if np.isnan(d) else ""
        apart = [Cell(100 * overlap(normal, anomalous)), Cell(d, note=why)]
    limit = np.nan if no_threshold else threshold(held_out)
    detected = _rate(anomalous, limit, no_threshold or no_anomalous)
    return *apart, detected, _rate(normal, limit, no_threshold or no_normal)


def _rate(scores: Floats, limit: float, why: str) -> Cell:
    return Cell(note=why) if why else Cell(100 * float(np.mean(scores > limit)))


def _merged(cells: Sequence[Cell]) -> Cell:
    """One cell from those of all seeds."""
    why = next((cell.note for cell in cells if cell.note), "")
    return over_seeds(pd.Series([cell.mean for cell in cells]), why)
