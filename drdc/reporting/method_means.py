"""Mean scores of several methods or variants of them, compared on the same seeds and categories."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import nan

import pandas as pd

from drdc.config.names import ALL
from drdc.reporting.aggregate import METRICS, check_fractions, reason
from drdc.reporting.formats import FAILED
from drdc.results.scores import TEXTS, typed
from drdc.runtime.errors import UserError

UNDEFINED = "not defined"  # how the note begins where a metric is defined for no category
NUMBERS = ("mean", "std", "seeds")
KEYS = ("experiment", "method", "variant", "seed", "category", "metric")


def method_means(
    scores: pd.DataFrame,
    methods: Sequence[tuple[str, str]],
    metrics: Sequence[str],
    seeds: Collection[str] | None = None,
) -> pd.DataFrame:
    """Means over categories, then over seeds, of several methods.

    A category counts where any method has a value or failed; where none has, it is left out for all. A method
    that lacks a value which counts has a NaN mean and a note.

    Args:
        scores: tidy scores of one experiment, fractions in [0, 1].
        methods: (method, variant) pairs of scores.csv.
        metrics: names of metrics.
        seeds: seeds to compare on; by default those for which every method that is there has rows.

    Returns:
        One row per metric and pair: method, variant, metric, mean, std (fractions; ddof = 1, NaN for one
        seed), seeds (their count), categories (how many count, as "4" or "3 of 4"), note.

    Raises:
        UserError: a column is missing, a value is duplicate or not a fraction, the scores contain none of
            the methods, or these share no seed.
    """
    frame = _rows_of(scores, methods)
    total = frame["category"].nunique()
    chosen = _shared_seeds(frame) if seeds is None else sorted(set(seeds))
    rows = []
    for metric in metrics:
        part = frame[(frame["metric"] == metric) & frame["seed"].isin(chosen)]
        counts = part["value"].notna() | part["note"].str.startswith(FAILED)
        categories = sorted(part.loc[counts, "category"].unique())
        over = f"{len(categories)}" if len(categories) == total else f"{len(categories)} of {total}"
        for method, variant in methods:
            own = part[(part["method"] == method) & (part["variant"] == variant)]
            *numbers, why = _mean(own, categories, chosen) if categories else (nan, nan, 0, _undefined(part))
            rows.append((method, variant, metric, *numbers, over, why))
    return pd.DataFrame(rows, columns=["method", "variant", "metric", *NUMBERS, "categories", "note"])


def over_categories(means: pd.DataFrame) -> str:
    """Over how many categories the means of each metric are, in words: rows with metric and categories."""
    counts = means.drop_duplicates("metric").set_index("metric")["categories"]
    if counts.nunique() > 1:
        return (
            ", ".join(f"{METRICS[str(metric)]} over {count}" for metric, count in counts.items())
            + " categories"
        )
    return f"over {counts.iloc[0]} categor{'y' if counts.iloc[0] == '1' else 'ies'}"


def _rows_of(scores: pd.DataFrame, methods: Sequence[tuple[str, str]]) -> pd.DataFrame:
    frame = typed(scores, TEXTS, ("value",), "scores.csv")
    frame = frame[frame["category"] != ALL]
    frame = frame[pd.MultiIndex.from_frame(frame[["method", "variant"]]).isin(list(methods))]
    if frame.empty:
        raise UserError("", f"The scores contain none of {_names(methods)}", "score them first")
    experiments = sorted(frame["experiment"].unique())
    if len(experiments) > 1:
        raise UserError(
            "", f"The scores mix the experiments {', '.join(experiments)}", "draw one figure for each"
        )
    check_fractions(frame, KEYS, "scores")
    return frame


def _names(methods: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{method} {variant}" for method, variant in methods)


def _shared_seeds(frame: pd.DataFrame) -> list[str]:
    """The seeds, failed ones too, that all methods share."""
    seeds = {pair: set(part["seed"]) for pair, part in frame.groupby(["method", "variant"])}
    shared = set.intersection(*seeds.values())
    if not shared:
        names = _names([(str(method), str(variant)) for method, variant in seeds])
        raise UserError("", f"The scores of {names} share no seed", "score them for at least one common seed")
    return sorted(shared)


def _undefined(part: pd.DataFrame) -> str:
    """Why a metric is defined for no category: its notes."""
    notes = dict.fromkeys(note.removeprefix(f"{UNDEFINED}: ") for note in part["note"] if note)
    return f"{UNDEFINED}: {'; '.join(notes) or 'no score'}"


def _mean(own: pd.DataFrame, categories: list[str], seeds: list[str]) -> tuple[float, float, int, str]:
    """Mean and spread over seeds of the mean over categories, the number of seeds, and why there is none."""
    grid = own.pivot(index="seed", columns="category", values="value")
    grid = grid.reindex(index=seeds, columns=categories)
    reasons = dict.fromkeys(reason(grid[c], own[own["category"] == c]) for c in categories)
    why = "; ".join(filter(None, reasons))
    if why:
        return nan, nan, 0, why
    per_seed = grid.mean(axis=1)
    return float(per_seed.mean()), float(per_seed.std(ddof=1)), len(seeds), ""
