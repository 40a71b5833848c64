"""Which reading of Eq. 17 brings about what the paper reports of its fusion, and on which data.

The paper adds both heatmaps with λ = 0.9 and does not say on which scales. As printed, it is the sum of the
raw maps; this project first divides each by its mean over held-out normal images. Four facts of the paper
tell the readings apart: (a) Fig. 2e, (b) and (c) Table 5, (d) Tables 2 and 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import nan

import pandas as pd

from drdc.config.variants import DRDC, FULL, PAPER_WEIGHT, RAW, Sweep, raw_name
from drdc.reporting.ablation import paper_variants
from drdc.reporting.aggregate import METRICS, experiment_name
from drdc.reporting.declared import table
from drdc.reporting.described import NONE, Methods, further, only_ours, sources
from drdc.reporting.formats import Cell, Column, Table
from drdc.reporting.method_means import method_means, over_categories
from drdc.reporting.paper import paper_values

IMAGE, PIXEL = "image_auroc", "pixel_auroc"
BOTH = (IMAGE, PIXEL)
#: Cells of Table 5: with a multi-scale base heatmap, and without the fusion over time and space.
MULTI_SCALE, WITHOUT_STF = "MC+TTC+STF+base", "MC+TTC"
#: Name of DRDC in each reading, and the setting of Fig. 2e that changes its weight.
READINGS = {FULL: "weight", RAW: "raw_weight"}
#: Cell of Table 5 -> its name in each reading.
NAMES: tuple[Callable[[str], str], ...] = (str, raw_name)
ABSENT = Cell(note="not measured")
OFF = Cell(note="not plotted in Fig. 2e, being too low for its axis")

Row = tuple[str, tuple[Cell, ...]]
#: (method, variant, metric) -> mean over categories and seeds in percent, or why there is none.
Means = Callable[[str, str, str], Cell]


@table(
    "readings",
    of="readings",
    heading="Two readings of Eq. 17, against what the paper reports.",
    section="paper",
    caption="""
    The fused map is λ times the diffusion map plus 1 − λ times the base map. Either each map is first
    divided by its mean over held-out normal images (one scale), or not (raw maps). Each row is a fact of
    the paper that tells these apart; differences are in percentage points.
    """,
)
def readings(
    scores: pd.DataFrame, scales: pd.DataFrame, sweeps: Sequence[Sweep], described: Methods = NONE
) -> Table:
    """The facts (a) to (d) in the paper and in both readings.

    Args:
        scores: tidy scores of one experiment: of base and of DRDC in both readings, of Table 5's cells and
            of the weights of Fig. 2e where they were run, and of methods.
        scales: map_scales.csv: `map`, `mean` and `std` of base and diffusion, a row for each and seed.
        sweeps: the panels of Figure 2.

    Raises:
        UserError: as `method_means` does.
    """
    weights = {sweep.setting: sweep for sweep in sweeps if sweep.setting in READINGS.values()}
    means, over = _means(scores, weights, described)
    rows = [
        *(_best(metric, weights, means) for metric in BOTH),
        *(_without_base(metric, weights, means) for metric in BOTH),
        *(_multi_scale(metric, means) for metric in BOTH),
        _without_fusion(means),
        *(row for name in further(described) for row in _refined(name, described, means)),
    ]
    columns = (
        Column("MVTec AD (paper)", "paper", unit=""),
        Column("one scale", unit=""),
        Column("raw maps", unit=""),
    )
    notes = (
        f"ours: means {over}.",
        *_ratio(scales),
        "paper: (a) Fig. 2e; (b) Table 5, multi-scale base heatmap minus DRDC; (c) Table 5 without "
        "spatio-temporal fusion minus UniAD in Table 3; (d) Tables 2 and 3.",
        *sources(only_ours(described)),
    )
    caption = f"Readings of Eq. 17: {experiment_name(scores)}"
    return Table(caption, "fact", columns, tuple(rows), notes, decimals=3, best="none")


def _means(scores: pd.DataFrame, weights: Mapping[str, Sweep], described: Methods) -> tuple[Means, str]:
    """The mean of each method and variant, and over how many categories they are."""
    variants = [read(name) for name in (FULL, MULTI_SCALE, WITHOUT_STF) for read in NAMES]
    variants += [sweep.variant(value) for sweep in weights.values() for value in sweep.values]
    pairs = [(method, FULL) for method in ("base", *further(described))]
    pairs += [(DRDC, name) for name in dict.fromkeys(variants)]
    there = set(zip(scores["method"], scores["variant"], strict=True))
    found = method_means(scores, [pair for pair in pairs if pair in there], BOTH)
    cells = {
        (row["method"], row["variant"], row["metric"]): Cell(100 * row["mean"], note=row["note"])
        for row in found.to_dict("records")
    }

    def mean(method: str, variant: str, metric: str) -> Cell:
        return cells.get((method, variant, metric), ABSENT)

    return mean, over_categories(found)


def _minus(one: Cell, other: Cell) -> Cell:
    """The difference of two means, or why there is none."""
    why = one.note or other.note
    return Cell(note=why) if why else Cell(one.mean - other.mean)


def _curve(metric: str, sweep: Sweep | None, means: Means) -> dict[float, Cell]:
    """Weight -> mean, or why there is none; of those that were measured or failed."""
    if sweep is None:
        return {}
    found = {float(value): means(DRDC, sweep.variant(value), metric) for value in sweep.values}
    return {value: cell for value, cell in found.items() if cell.note != ABSENT.note}


def _best_weight(curve: Mapping[float, Cell]) -> Cell:
    """The weight of the largest mean, of equal ones the smallest; or why there is none."""
    if len(curve) < 2:
        return ABSENT
    lost = next((cell.note for cell in curve.values() if cell.note), "")
    return Cell(note=lost) if lost else Cell(max(sorted(curve), key=lambda value: curve[value].mean))


def _best(metric: str, weights: Mapping[str, Sweep], means: Means) -> Row:
    cells = (_best_weight(_curve(metric, weights.get(name), means)) for name in READINGS.values())
    return f"(a) best λ, {METRICS[metric]}", (Cell(PAPER_WEIGHT), *cells)


def _without_base(metric: str, weights: Mapping[str, Sweep], means: Means) -> Row:
    cells = []
    for name in READINGS.values():
        curve = _curve(metric, weights.get(name), means)
        best = _best_weight(curve)
        cells.append(best if best.note else _minus(curve.get(1.0, ABSENT), curve[best.mean]))
    return f"(a) λ = 1 minus the best, {METRICS[metric]}", (OFF, *cells)


def _multi_scale(metric: str, means: Means) -> Row:
    printed = _table5(MULTI_SCALE, metric) - _table5(FULL, metric)
    ours = (_minus(means(DRDC, n(MULTI_SCALE), metric), means(DRDC, n(FULL), metric)) for n in NAMES)
    return f"(b) multi-scale base map, {METRICS[metric]}", (Cell(printed), *ours)


def _without_fusion(means: Means) -> Row:
    printed = _table5(WITHOUT_STF, PIXEL) - _printed(3, "UniAD", PIXEL)
    base = means("base", FULL, PIXEL)
    ours = (_minus(means(DRDC, name(WITHOUT_STF), PIXEL), base) for name in NAMES)
    return f"(c) without spatio-temporal fusion minus base, {METRICS[PIXEL]}", (Cell(printed), *ours)


def _refined(name: str, described: Methods, means: Means) -> list[Row]:
    """A method that fuses the base map with that of another network, in the column of its own reading."""
    about = described[name]
    if not about.normalisation:
        return []
    rows: list[Row] = []
    for number, metric in ((2, IMAGE), (3, PIXEL)):
        ours = _minus(means(name, FULL, metric), means("base", FULL, metric))
        other = Cell(note="not this method's reading")
        printed = Cell(_printed(number, about.paper_name, metric) - _printed(number, "UniAD", metric))
        cells = (other, ours) if about.normalisation == "none" else (ours, other)
        rows.append((f"(d) {name} minus base, {METRICS[metric]}", (printed, *cells)))
    return rows


def _table5(modules: str, metric: str) -> float:
    """The paper's value in percent of a cell of Table 5."""
    return paper_variants()[modules].values[metric]


def _printed(number: int, method: str, metric: str) -> float:
    """The paper's mean in percent of a method in Table 2 or 3; NaN for one that it does not have."""
    rows = paper_values(number)
    rows = rows[(rows["method"] == method) & (rows["category"] == "mean") & (rows["metric"] == metric)]
    return float(rows["value"].iloc[0]) if len(rows) else nan


def _ratio(scales: pd.DataFrame) -> list[str]:
    """A note on the raw maps' scales."""
    means = scales.groupby("map")["mean"].mean()
    base, diffusion = float(means["base"]), float(means["diffusion"])
    even = base / (base + diffusion)
    return [
        f"means of the raw maps over held-out normal images: base {base:.3g}, diffusion {diffusion:.3g}, "
        f"ratio {base / diffusion:.3g}; with raw maps both have the same mean at λ = {even:.4f}."
    ]
