"""What the scored runs of an experiment left, with every run that failed named as such."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import nan
from pathlib import Path

import pandas as pd

from drdc.config.variants import FULL, Variant, predicted_parts
from drdc.results.layout import Layout
from drdc.runtime.digests import verify
from drdc.runtime.errors import UserError
from drdc.runtime.files import artefact, write_whole

NAMES = ("path", "category", "split", "defect_type", "method", "variant", "level", "metric", "note", "device")

TEXTS = ("experiment", "method", "variant", "seed", "category", "metric", "note")

Run = tuple[Variant, int]
MethodRun = tuple[str, int]


def read_runs(layout: Layout, runs: Iterable[Run], methods: Iterable[MethodRun] = ()) -> pd.DataFrame:
    """The metrics of several runs, (variant, seed), one below the other: text as text, values as numbers.

    After them those of compared `methods`, (name, seed).

    A run without a file has all its methods, categories and metrics, no values, and the note
    `failed; see <log>`.

    Raises:
        UserError: the whole method was scored with no seed.
    """
    frames, absent = [], []
    for variant, seed in runs:
        path = layout.seed_scores(seed, variant.name)
        if path.is_file():
            frames.append(_scores(path))
        else:
            absent.append((variant, seed))
    pattern = next((frame for frame in frames if set(frame["variant"]) == {FULL}), None)
    if pattern is None:
        raise UserError(f"results of {layout.experiment}", "nothing was scored yet", "run `drdc score` first")
    frames += [_failed(layout, pattern, *run) for run in absent]
    frames += [_method(layout, pattern, *run) for run in methods]
    return pd.concat(frames, ignore_index=True)


def read_evidence(layout: Layout, seeds: list[int], kind: str) -> pd.DataFrame:
    """`image_scores`, `curves` or `defects` of all seeds that have them; UserError where none has."""
    paths = [path for seed in seeds if (path := layout.seed_evidence(seed, kind)).is_file()]
    if not paths:
        raise UserError(layout.seed_evidence(seeds[0], kind), "is missing", "run `drdc score` first")
    return numeric(pd.concat([read_table(path) for path in paths], ignore_index=True))


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a csv that a later stage reads with `read_table`; UserError where the disk is full."""
    with artefact(path) as temporary:
        write_whole(temporary, frame.to_csv(index=False).encode())


def read_table(path: Path, stage: str = "score") -> pd.DataFrame:
    """A csv that `stage` wrote, every column as text; UserError where it is missing, damaged or changed."""
    verify(path, stage)
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(
            path, f"cannot be read ({error})", "remove it and run the same command again"
        ) from None


def numeric(frame: pd.DataFrame) -> pd.DataFrame:
    """Numbers as numbers, all columns that hold names or reasons as text."""
    return frame.assign(**{str(name): pd.to_numeric(frame[name]) for name in frame if name not in NAMES})


def typed(frame: pd.DataFrame, texts: Sequence[str], numbers: Sequence[str], name: str) -> pd.DataFrame:
    """`frame` with the columns `texts` as text and `numbers` as floats, NaN where empty.

    `name`: the file the rows are from. Raises `UserError` for a missing column or a text that is no number.
    """
    absent = [column for column in (*texts, *numbers) if column not in frame]
    if absent:
        raise UserError(name, f"column {', '.join(absent)} is missing", "run the step that writes it again")
    changed: dict[str, pd.Series | list[float]] = {
        column: frame[column].fillna("").astype(str) for column in texts
    }
    for column in numbers:
        try:
            changed[column] = [nan if value == "" else float(value) for value in frame[column]]
        except (TypeError, ValueError) as error:
            wrong = f"column {column} holds something that is not a number ({error})"
            raise UserError(name, wrong, "run the step that writes it again") from error
    return frame.assign(**changed)


def failure_note(log: Path) -> str:
    """What stands in place of a number whose job failed."""
    return f"failed; see {log}"


def failed_before(layout: Layout, variant: Variant, seed: int, categories: list[str]) -> Path | None:
    """The log of the first job that a run needs and that left no result; None where all did."""
    for kind in ("base", variant.model):
        if not layout.model(seed, kind).is_file():
            return layout.log(f"train_{kind}.seed{seed}")
    for part in predicted_parts(variant.predictions, categories):
        if not layout.predictions(seed, variant.predictions, part).is_file():
            return layout.log(f"predict.seed{seed}.{variant.predictions}.{part}")
    return None


def method_failed_before(layout: Layout, name: str, seed: int) -> Path | None:
    """`failed_before` for a compared method."""
    if not layout.model(seed, f"methods/{name}").is_file():
        return layout.log(f"train_system.seed{seed}.{name}")
    if not layout.method(seed, name, ".npy").is_file():
        return layout.log(f"predict_system.seed{seed}.{name}")
    return None


def _scores(path: Path, stage: str = "score") -> pd.DataFrame:
    return typed(read_table(path, stage), TEXTS, ("value",), str(path))


def _method(layout: Layout, pattern: pd.DataFrame, name: str, seed: int) -> pd.DataFrame:
    """The metrics of a compared method; where it failed, all its cells with that note."""
    if (path := layout.method(seed, name, ".csv")).is_file():
        return _scores(path, "score-system")
    log = method_failed_before(layout, name, seed) or layout.log(f"score_system.seed{seed}.{name}")
    rows = pattern[pattern["method"] == "drdc"]
    return rows.assign(method=name, seed=str(seed), value=nan, note=failure_note(log))


def _failed(layout: Layout, pattern: pd.DataFrame, variant: Variant, seed: int) -> pd.DataFrame:
    rows = pattern if variant.name == FULL else pattern[pattern["method"] == "drdc"]
    log = failed_before(layout, variant, seed, sorted(set(pattern["category"])))
    log = log or layout.log(f"score.seed{seed}.{variant.name}")
    return rows.assign(variant=variant.name, seed=str(seed), value=nan, note=failure_note(log))
