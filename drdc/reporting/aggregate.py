"""From tidy measurements to cells: mean ± standard deviation over seeds, and a reason where there is none.

Scores are fractions in [0, 1] (scores.csv); cells are in percent, like the paper's. A value is the mean over
seeds ± the standard deviation (ddof = 1); a mean over categories averages those of each seed first,
unweighted.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from drdc.config.names import ALL
from drdc.evaluation import metrics
from drdc.reporting.formats import FAILED, Cell
from drdc.reporting.paper import paper_values
from drdc.results.scores import TEXTS, typed
from drdc.runtime.errors import UserError

MEAN, POOLED = "mean", "pooled"
METHODS = {"random_map": "random map", "base": "base", "diffusion": "diffusion", "drdc": "DRDC"}
#: Headings of all metrics, in the order of the columns, and the names of those that stand at a glance.
METRICS = {name: metric.label for name, metric in metrics.METRICS.items()}
HEADLINE = tuple(name for name, metric in metrics.METRICS.items() if metric.headline)
DIGITS = 9  # of differences in percentage points; what is smaller comes from rounding in the sums
LEFT_OUT = "; left out of our means"


@dataclass(frozen=True)
class Measured:
    """Our values of one metric.

    cells: `cells[method][category or "mean"]`; categories: in the paper's order; notes: why some are not
    defined; grids: per method the values of each seed, (seeds, categories) in percent, NaN where not defined;
    pooled: per method the value of each seed over all categories together, in percent; why_not_pooled: why
    not every seed has one, "" where all have; pooled_approximate: which of them may be off, and how far.
    """

    cells: dict[str, dict[str, Cell]]
    categories: tuple[str, ...]
    notes: tuple[str, ...]
    grids: dict[str, pd.DataFrame]
    pooled: dict[str, "pd.Series[float]"]
    why_not_pooled: dict[str, str]
    pooled_approximate: tuple[str, ...]

    def pooled_cell(self, method: str) -> Cell:
        """The value of `method` over all categories together; empty where the metric is not pooled."""
        if method not in self.pooled:
            return Cell()
        return over_seeds(self.pooled[method], self.why_not_pooled[method])

    @property
    def pooled_notes(self) -> tuple[str, ...]:
        """Why some values over all categories together are not defined, and which may be off."""
        reasons = {(method, POOLED): why for method, why in self.why_not_pooled.items()}
        return (*reason_notes(reasons), *self.pooled_approximate)

    def cell(self, method: str, category: str) -> Cell:
        """The cell of `method` for `category` (or "mean"); one that says "no score" if there is none."""
        return self.cells.get(method, {}).get(category, Cell(note="no score"))


def check_fractions(frame: pd.DataFrame, keys: Sequence[str], name: str) -> None:
    """Raises `UserError` when `keys` repeat or the column value leaves [0, 1]."""
    twice = frame[frame.duplicated(list(keys))]
    if len(twice):
        place = ", ".join(twice.iloc[0][list(keys)].astype(str))
        raise UserError("", f"The {name} have more than one value for {place}", f"give each {name} file once")
    if not frame["value"].dropna().between(0.0, 1.0).all():
        raise UserError("", f"The {name}' column value leaves [0, 1]", f"{name} are fractions, not percent")


def measure(scores: pd.DataFrame, metric: str, methods: Sequence[str]) -> Measured:
    """Cells of one metric for those of `methods` that have scores, per category and for the mean.

    A seed at which everything failed is left out. A category is defined where every other seed of the method
    has a value. The mean is over the categories defined for all methods, so that means can be compared.
    Raises `UserError` when the scores mix experiments, repeat a value, leave [0, 1], or contain none of
    `methods`.
    """
    every, lost = without_failed_seeds(_checked(scores, methods))
    frame = every[every["category"] != ALL]
    categories = in_paper_order(frame["category"].unique())
    frame = frame[frame["metric"] == metric]
    grids = {
        m: frame[frame["method"] == m].pivot(index="seed", columns="category", values="value")
        .reindex(columns=categories).mul(100.0)
        for m in methods if (frame["method"] == m).any()
    }  # fmt: skip
    rows_of = dict(list(frame.groupby(["method", "category"])))
    nothing = frame.iloc[:0]
    reasons = {
        (m, c): reason(grid[c], rows_of.get((m, c), nothing)) for m, grid in grids.items() for c in categories
    }
    somewhere = [m for m in grids if any(not reasons[m, c] for c in categories)]
    shared = [c for c in categories if somewhere and not any(reasons[m, c] for m in somewhere)]
    cells = {}
    for m, grid in grids.items():
        cells[m] = {c: over_seeds(grid[c], reasons[m, c]) for c in categories}
        failed = next((reasons[m, c] for c in categories if reasons[m, c].startswith(FAILED)), "")
        why = "" if m in somewhere and shared else failed or "no category is defined"
        cells[m][MEAN] = over_seeds(grid[shared].mean(axis=1), why)
    notes = (*lost, *reason_notes(reasons, LEFT_OUT), *mean_notes(shared, categories), *approximate(frame))
    together = every[every["metric"] == f"pooled_{metric}"]
    rows_together = {str(m): own for m, own in together.groupby("method", sort=False)}
    pooled = {m: own.set_index("seed")["value"].mul(100.0) for m, own in rows_together.items()}
    why_not_pooled = {m: reason(pooled[m], own) for m, own in rows_together.items()}
    return Measured(cells, categories, notes, grids, pooled, why_not_pooled, approximate(together))


def mean_notes(shared: Sequence[str], categories: Sequence[str]) -> tuple[str, ...]:
    """Over which of the categories means are taken, where that is not all of them."""
    if not shared or len(shared) == len(categories):
        return ()
    absent = ", ".join(category for category in categories if category not in shared)
    return (f"means over {len(shared)} of {len(categories)} categories, without {absent}.",)


def approximate(rows: pd.DataFrame) -> tuple[str, ...]:
    """Which of `rows` (method, category, value, note) may be off: what the notes of defined values say."""
    noted = rows[rows["value"].notna() & (rows["note"] != "")]
    return tuple(
        f"{METHODS.get(str(method), method)}, {category}: {'; '.join(own.unique())}."
        for (method, category), own in noted.groupby(["method", "category"], sort=False)["note"]
    )


def without_failed_seeds(rows: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """`rows` (seed, value, note) without the seeds at which every row failed, and a note on each of those.

    When every seed failed, all rows stay: the table then says "failed".
    """
    failed = rows["value"].isna() & rows["note"].str.startswith(FAILED)
    lost = [seed for seed, all_of_it in failed.groupby(rows["seed"]).all().items() if all_of_it]
    if len(lost) == rows["seed"].nunique():
        return rows, ()
    told = {seed: "; ".join(rows.loc[rows["seed"] == seed, "note"].unique()) for seed in lost}
    notes = [
        f"{FAILED} seed {seed}: {why.removeprefix(f'{FAILED}; ')}{LEFT_OUT}." for seed, why in told.items()
    ]
    return rows[~rows["seed"].isin(lost)], tuple(notes)


def of_shared_seeds(
    rows: pd.DataFrame, by: str, names: Iterable[str]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows of the seeds that all `names` in the column `by` share, and notes on those left out.

    Raises:
        UserError: they share none.
    """
    notes, seeds = [], {}
    for name in names:
        kept, lost = without_failed_seeds(rows[rows[by] == name])
        notes += [f"{name}: {note}" for note in lost]
        seeds[name] = set(kept["seed"])
    shared = set.intersection(*seeds.values())
    if not shared:
        raise UserError(
            "", f"The scores of {', '.join(seeds)} share no seed", "score each for the same seeds"
        )
    extra = {name: sorted(own - shared) for name, own in seeds.items() if own - shared}
    if extra:
        told = "; ".join(f"{name}: {', '.join(own)}" for name, own in extra.items())
        kept_seeds = ", ".join(sorted(shared))
        notes.append(f"compared on the seeds that all share ({kept_seeds}); left out are seeds of {told}.")
    return rows[rows["seed"].isin(shared)], tuple(notes)


def in_paper_order(categories: Iterable[str]) -> tuple[str, ...]:
    """The paper's categories in its order, then all others by name."""
    paper = {name: rank for rank, name in enumerate(dict.fromkeys(paper_values(2)["category"]))}
    return tuple(sorted(categories, key=lambda name: (paper.get(name, len(paper)), name)))


def over_seeds(values: "pd.Series[float]", why: str = "") -> Cell:
    """Mean and standard deviation (ddof = 1) of one value per seed; no number when `why` gives a reason."""
    if why:
        return Cell(note=why)
    return Cell(float(values.mean()), float(values.std(ddof=1)), len(values))


def reason(values: "pd.Series[float]", rows: pd.DataFrame) -> str:
    """Why not every seed has a value; "" if all have.

    `values`: one per seed, indexed by seed; `rows`: their rows, with the columns seed, value and note. What
    failed comes first.
    """
    if values.notna().all():
        return ""
    notes = rows.loc[rows["value"].isna(), "note"].replace("", "not defined: no reason given").unique()
    absent = [seed for seed in values.index if seed not in set(rows["seed"])]
    ordered = sorted(notes, key=lambda note: not note.startswith(FAILED))
    return "; ".join([*ordered, *([f"no score for seed {', '.join(absent)}"] if absent else [])])


def reason_notes(reasons: Mapping[tuple[str, str], str], closing: str = "") -> tuple[str, ...]:
    """One sentence per reason, naming the rows, and the methods where only some are concerned.

    `reasons`: (method, row) -> reason, "" where there is a value; `closing`: the end of each sentence.
    """
    methods = tuple(dict.fromkeys(m for m, _ in reasons))
    rows = list(dict.fromkeys(row for _, row in reasons))
    concerned: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for row in rows:
        for why in dict.fromkeys(reasons.get((m, row), "") for m in methods):
            if why:
                whom = tuple(m for m in methods if reasons.get((m, row)) == why)
                concerned[why, whom].append(row)
    notes = []
    for (why, whom), names in concerned.items():
        who = "" if whom == methods else f" ({', '.join(METHODS.get(m, m) for m in whom)})"
        failed = why.startswith(FAILED)
        where = "everywhere" if failed and names == rows and len(rows) > 1 else ", ".join(names)
        told = why.removeprefix(f"{FAILED}; ").rstrip(".")
        notes.append(f"{FAILED if failed else 'n/d'} {where}{who}: {told}{closing}.")
    return tuple(notes)


def metric_notes(columns: Mapping[str, Measured], pooled: bool = False) -> tuple[str, ...]:
    """The notes of several metrics, each once, with the metrics that it is about unless these are all.

    `pooled`: those on values over all categories together as well.
    """
    metrics_of: dict[str, list[str]] = defaultdict(list)
    for metric, column in columns.items():
        for note in (*column.notes, *(column.pooled_notes if pooled else ())):
            metrics_of[note].append(METRICS[metric])
    return tuple(
        note if len(names) == len(columns) > 1 else f"{', '.join(names)}: {note}"
        for note, names in metrics_of.items()
    )


def seed_note(*measured: Measured) -> str:
    """How many seeds stand behind our values."""
    rows = [item for part in measured for item in part.cells.items()]
    counts = {m: cell.seeds for m, row in rows for cell in row.values() if cell.seeds}
    numbers = set(counts.values())
    if numbers <= {1}:
        return "ours: one seed, hence no spread." if numbers else "ours: no value is defined."
    each = ", ".join(f"{METHODS.get(m, m)} {n}" for m, n in counts.items())
    over = f"{numbers.pop()} seeds" if len(numbers) == 1 else f"seeds ({each})"
    return f"ours: mean ± standard deviation over {over}."


def experiment_name(scores: pd.DataFrame) -> str:
    """The experiment that the scores are of, for captions."""
    return ", ".join(sorted(scores["experiment"].astype(str).unique()))


def _checked(scores: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    """The full variant's rows of `methods`, keys as text; `UserError` for what cannot be a table."""
    frame = scores[(scores["variant"] == "full") & scores["method"].isin(list(methods))]
    if frame.empty:
        raise UserError(
            "", f"The scores contain none of the methods {', '.join(methods)}", "score one of them first"
        )
    frame = typed(frame, TEXTS, ("value",), "scores.csv")
    experiments = sorted(frame["experiment"].unique())
    if len(experiments) > 1:
        raise UserError(
            "", f"The scores mix the experiments {', '.join(experiments)}", "write one table for each"
        )
    check_fractions(frame, ("method", "seed", "category", "metric"), "scores")
    return frame
