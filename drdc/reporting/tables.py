"""The tables of the report, made from tidy scores and never typed; the paper's numbers stand beside ours.

Scores are fractions in [0, 1] (scores.csv); tables are in percent, like the paper's. A value is the mean over
seeds ± the standard deviation (ddof = 1); a mean row averages the categories of each seed first, unweighted.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import pandas as pd

from drdc.errors import UserError
from drdc.reporting.formats import Cell, Column, Table, write
from drdc.reporting.paper import paper_values

__all__ = ["Table", "measure", "read_scores", "summary", "table1", "table2", "table3", "write"]

MEAN = "mean"
METHODS = {"random_map": "random map", "base": "base", "diffusion": "diffusion", "drdc": "DRDC"}
TRAINED = ("base", "diffusion", "drdc")
SCALES = ("1", "1/2", "1/4", "1/8", "1/16")
METRICS = {
    "image_auroc": "Image AUROC",
    "image_ap": "Image AP",
    "image_f1max": "Image F1-max",
    "pixel_auroc": "Pixel AUROC",
    "pixel_ap": "Pixel AP",
    "pixel_f1max": "Pixel F1-max",
    "pixel_aupro": "Pixel AUPRO",
}
PAPER_METHODS = {"UniAD": "UniAD (paper)", "DiAD": "DiAD (paper)", "DRDC": "DRDC (paper)"}
BOLD = "bold: best of ours."
NEEDED = ("experiment", "method", "variant", "seed", "category", "metric", "value", "note")


@dataclass(frozen=True)
class Measured:
    """Our values of one metric: `cells[method][category or "mean"]`, and why some are not defined."""

    cells: dict[str, dict[str, Cell]]
    categories: tuple[str, ...]
    notes: tuple[str, ...]


def read_scores(paths: Iterable[Path]) -> pd.DataFrame:
    """The rows of several scores.csv files one below the other, categories such as "01" kept as text.

    Raises `UserError` for a missing file, a missing column or a value that is not a number.
    """
    return pd.concat([_read_scores(Path(path)) for path in paths], ignore_index=True)


def table1(scores: pd.DataFrame) -> Table:
    """Table 1: pixel AUROC of the ground-truth mask itself after being scaled down and up again (Sec. 3.2).

    `scores`: tidy scores of one experiment with the methods oracle_mask@1 ... oracle_mask@1/16.
    Raises `UserError` when none of them is there.
    """
    methods = tuple(f"oracle_mask@{scale}" for scale in SCALES)
    ours = measure(scores, "pixel_auroc", methods)
    printed = paper_values(1).set_index("method")["value"].to_dict()
    rows = tuple(
        (scale, (ours.cells.get(method, {}).get(MEAN, Cell()), Cell(printed[method])))
        for scale, method in zip(SCALES, methods, strict=True)
    )
    columns = (Column("ours"), Column("paper (MVTec AD)", "paper"))
    caption = f"Mean pixel AUROC (%) of the ground-truth mask scaled down and up again: {_experiment(scores)}"
    notes = (_seed_note(ours), *ours.notes, "paper: printed mean over the 15 categories of MVTec AD.")
    return Table(caption, "scaling size", columns, rows, notes, decimals=2, best="none")


def table2(scores: pd.DataFrame, dataset: str | None = None) -> Table:
    """Table 2 (for BTAD: Table 4): image AUROC per category, ours beside the paper's.

    `scores`: tidy scores of one experiment. `dataset`: "mvtec" or "btad" for the paper's columns, any other
    name for none; by default they appear when every category is one of the paper's.
    Raises `UserError` when no trained method (base, diffusion, drdc) is there.
    """
    return _per_category(scores, "image_auroc", dataset)


def table3(scores: pd.DataFrame, dataset: str | None = None) -> Table:
    """Table 3 (for BTAD: Table 4): pixel AUROC per category, ours beside the paper's; arguments: `table2`."""
    return _per_category(scores, "pixel_auroc", dataset)


def summary(scores: pd.DataFrame) -> Table:
    """All seven metrics at a glance: a row per method, values are means over categories ± spread over seeds.

    `scores`: tidy scores of one experiment. Raises `UserError` when none of the methods is there.
    """
    columns = {metric: measure(scores, metric, tuple(METHODS)) for metric in METRICS}
    present = [m for m in METHODS if any(m in column.cells for column in columns.values())]
    missing = Cell(note="no score")
    rows = tuple(
        (METHODS[m], tuple(c.cells.get(m, {}).get(MEAN, missing) for c in columns.values())) for m in present
    )
    metrics_of: dict[str, list[str]] = defaultdict(list)
    for metric, column in columns.items():
        for note in column.notes:
            metrics_of[note].append(METRICS[metric])
    notes = [f"{', '.join(names)}: {note}" for note, names in metrics_of.items()]
    caption = f"All metrics (%), mean over categories: {_experiment(scores)}"
    heads = tuple(Column(label) for label in METRICS.values())
    return Table(caption, "method", heads, rows, (_seed_note(*columns.values()), BOLD, *notes), best="column")


def measure(scores: pd.DataFrame, metric: str, methods: Sequence[str]) -> Measured:
    """Cells of one metric for those of `methods` that have scores, per category and for the mean.

    A category is defined where every seed of the method has a value. The mean runs over the categories
    defined for all methods alike, so that means can be compared. Raises `UserError` when the scores mix
    experiments, repeat a value, leave [0, 1], or hold none of `methods`.
    """
    frame = _checked(scores, methods)
    categories = _in_paper_order(frame["category"].unique())
    frame = frame[frame["metric"] == metric]
    grids = {
        m: frame[frame["method"] == m].pivot(index="seed", columns="category", values="value")
        .reindex(columns=categories).mul(100.0)
        for m in methods if (frame["method"] == m).any()
    }  # fmt: skip
    reasons = {(m, c): _reason(frame, m, c, grid[c]) for m, grid in grids.items() for c in categories}
    somewhere = [m for m in grids if any(not reasons[m, c] for c in categories)]
    shared = [c for c in categories if somewhere and not any(reasons[m, c] for m in somewhere)]
    cells = {}
    for m, grid in grids.items():
        cells[m] = {c: _cell(grid[c], reasons[m, c]) for c in categories}
        defined = shared if m in somewhere else []
        cells[m][MEAN] = _cell(grid[defined].mean(axis=1), "" if defined else "no category is defined")
    return Measured(cells, categories, _reason_notes(reasons, tuple(grids)))


def _per_category(scores: pd.DataFrame, metric: str, dataset: str | None) -> Table:
    ours = measure(scores, metric, TRAINED)
    theirs, paper_note = _paper_cells(ours.categories, metric, dataset)
    rows = tuple(
        (c, tuple(cells[c] for cells in (*ours.cells.values(), *theirs.values())))
        for c in (*ours.categories, MEAN)
    )
    columns = [Column(f"{METHODS[m]} (ours)") for m in ours.cells]
    columns += [Column(PAPER_METHODS[m], "paper") for m in theirs]
    caption = f"{METRICS[metric]} (%) per category: {_experiment(scores)}"
    notes = (_seed_note(ours), BOLD, *ours.notes, *paper_note)
    return Table(caption, "category", tuple(columns), rows, notes)


def _paper_cells(
    categories: Sequence[str], metric: str, dataset: str | None
) -> tuple[dict[str, dict[str, Cell]], tuple[str, ...]]:
    """The paper's columns for `categories` and the note on them; empty for a dataset it does not have."""
    tables = pd.concat([paper_values(table) for table in (2, 3, 4)])
    tables = tables[tables["metric"] == metric]
    known = {name: set(part["category"]) - {MEAN} for name, part in tables.groupby("dataset")}
    dataset = dataset or next((str(n) for n, names in known.items() if names >= set(categories)), "")
    if dataset not in known:
        return {}, ()
    shown = [c for c in categories if c in known[dataset]]
    complete = len(shown) == len(known[dataset])
    cells = {}
    for method in PAPER_METHODS:
        part = tables[(tables["dataset"] == dataset) & (tables["method"] == method)]
        printed = part.set_index("category")["value"]
        mean = printed[MEAN] if complete else printed[shown].mean()
        cells[method] = {c: Cell(printed.get(c, nan)) for c in categories} | {MEAN: Cell(mean)}
    part_mean = f"its mean is over the shown categories only ({len(shown)} of {len(known[dataset])})"
    how = "its mean is the printed one" if complete else part_mean
    note = f"paper: as printed in DRDC (ECCV 2024), without a spread; UniAD is its base model; {how}."
    return cells, (note,)


def _read_scores(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path}: there is no such scores file; run the score step first.")
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    absent = [name for name in NEEDED if name not in frame]
    if absent:
        raise UserError(f"{path}: column {', '.join(absent)} is missing; run the score step again.")
    try:
        return frame.assign(value=[float(text or "nan") for text in frame["value"]])
    except ValueError as error:
        raise UserError(f"{path}: column value holds something that is not a number ({error}).") from error


def _checked(scores: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """The full variant's rows of `methods`, keys as text; `UserError` for what cannot be a table."""
    frame = scores[(scores["variant"] == "full") & scores["method"].isin(list(methods))]
    if frame.empty:
        raise UserError(f"The scores hold none of the methods {', '.join(methods)}; score one of them first.")
    frame = frame.assign(**{name: frame[name].astype(str) for name in ("experiment", "seed", "category")})
    experiments = sorted(frame["experiment"].unique())
    if len(experiments) > 1:
        raise UserError(f"The scores mix the experiments {', '.join(experiments)}; make one table for each.")
    twice = frame[frame.duplicated(["method", "seed", "category", "metric"])]
    if len(twice):
        keys = ", ".join(twice.iloc[0][["method", "seed", "category", "metric"]].astype(str))
        raise UserError(f"The scores hold more than one value for {keys}; give each scores file once.")
    if not frame["value"].dropna().between(0.0, 1.0).all():
        raise UserError("The scores' column value leaves [0, 1]; scores are fractions, not percent.")
    return frame.assign(note=frame["note"].fillna("").astype(str))


def _in_paper_order(categories: Iterable[str]) -> tuple[str, ...]:
    """The paper's categories in its order, then all others by name."""
    paper = {name: rank for rank, name in enumerate(dict.fromkeys(paper_values(2)["category"]))}
    return tuple(sorted(categories, key=lambda name: (paper.get(name, len(paper)), name)))


def _cell(values: "pd.Series[float]", reason: str) -> Cell:
    """Mean and spread over seeds of one value per seed, in percent."""
    if reason:
        return Cell(note=reason)
    return Cell(float(values.mean()), float(values.std(ddof=1)), len(values))


def _reason(frame: pd.DataFrame, method: str, category: str, values: "pd.Series[float]") -> str:
    """Why a category has no value for a method: its notes, or the seeds without a score; "" if it has one."""
    if values.notna().all():
        return ""
    rows = frame[(frame["method"] == method) & (frame["category"] == category)]
    notes = rows.loc[rows["value"].isna(), "note"].replace("", "not defined: no reason given").unique()
    absent = [seed for seed in values.index if seed not in set(rows["seed"])]
    return "; ".join([*notes, *([f"no score for seed {', '.join(absent)}"] if absent else [])])


def _reason_notes(reasons: dict[tuple[str, str], str], methods: Sequence[str]) -> tuple[str, ...]:
    """One sentence per reason, naming the categories, and the methods where only some are concerned."""
    concerned: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for category in dict.fromkeys(c for _, c in reasons):
        for reason in dict.fromkeys(reasons[m, category] for m in methods):
            if reason:
                whom = tuple(m for m in methods if reasons[m, category] == reason)
                concerned[reason, whom].append(category)
    notes = []
    for (reason, whom), names in concerned.items():
        who = "" if whom == tuple(methods) else f" ({', '.join(METHODS.get(m, m) for m in whom)})"
        notes.append(f"n/d {', '.join(names)}{who}: {reason.rstrip('.')}; left out of our means.")
    return tuple(notes)


def _seed_note(*measured: Measured) -> str:
    """How many seeds stand behind our values."""
    rows = [item for part in measured for item in part.cells.items()]
    counts = {m: cell.seeds for m, row in rows for cell in row.values() if cell.seeds}
    numbers = set(counts.values())
    if numbers <= {1}:
        return "ours: one seed, hence no spread." if numbers else "ours: no value is defined."
    each = ", ".join(f"{METHODS.get(m, m)} {n}" for m, n in counts.items())
    over = f"{numbers.pop()} seeds" if len(numbers) == 1 else f"seeds ({each})"
    return f"ours: mean ± standard deviation over {over}."


def _experiment(scores: pd.DataFrame) -> str:
    return ", ".join(sorted(scores["experiment"].astype(str).unique()))
