"""The scores of an experiment's runs, with every failed run named as such."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import pandas as pd

from drdc.config.names import ALL
from drdc.config.variants import CONTROLS, DRDC, FULL, ORACLES, RANDOM, Variant, predicted_parts
from drdc.results.benchmarks import is_outdated
from drdc.results.layout import Layout
from drdc.runtime.digests import is_current, verify
from drdc.runtime.errors import UserError, first_line
from drdc.runtime.files import artefact, write_whole

TEXTS = ("experiment", "method", "variant", "seed", "category", "metric", "note")
#: The columns of text in each kind of `SCORED`, and in the other files that are read; all others are numbers.
TEXTS_OF = {
    "scores": TEXTS,
    "image_scores": ("path", "category", "group", "split", "defect_type", "method"),
    "curves": ("method", "category", "level"),
    "defects": ("method", "category", "defect_type", "metric", "note"),
    "map_scales": ("map",),
    "costs": ("method", "variant", "device"),
    "groups": ("category", "split", "group"),
    "study": ("at", "method", "category", "metric"),
    "self_check": ("category", "path", "kind", "config_hash"),
    "losses": (),
    "regions": ("path", "category", "defect_type"),
}

Run = tuple[Variant, int]
MethodRun = tuple[str, int]


def read_runs(layout: Layout, runs: Iterable[Run], methods: Iterable[MethodRun] = ()) -> pd.DataFrame:
    """The metrics of several runs, (variant, seed), one below the other: text as text, values as numbers.

    After them those of other `methods`, (name, seed), of which one may be `CONTROLS`. A run without a file,
    or with one of other images or models, has all its methods, categories and metrics, no values, and the
    note `failed; see <log>`.

    Raises:
        UserError: DRDC was not scored with any seed; as `scored_runs`.
    """
    wanted = [_Wanted(v.name, seed, v.name, _methods_of(v), v) for v, seed in runs]
    for name, seed in methods:
        known = (RANDOM, *ORACLES.values()) if name == CONTROLS else (name,)
        wanted.append(_Wanted(name, seed, FULL, known))
    every = {(one.run, one.seed): one for one in wanted}
    found = scored_runs(layout, every)
    pattern = next((frame for (run, _), frame in found.items() if run == FULL), None)
    if pattern is None:
        raise UserError(f"results of {layout.experiment}", "nothing was scored yet", "run `drdc score` first")
    frames = [found[run] if run in found else _failed(layout, pattern, one) for run, one in every.items()]
    return pd.concat(frames, ignore_index=True)


def scored_runs(layout: Layout, runs: Iterable[MethodRun]) -> dict[MethodRun, pd.DataFrame]:
    """The metrics of each of the runs, (name, seed), that was scored.

    Raises:
        UserError: the seeds of a run were scored with different settings, so that they have no mean.
    """
    paths = {(run, seed): layout.scored(seed, run) for run, seed in runs}
    found = {one: _scores(path) for one, path in paths.items() if is_current(path)}
    seeds: dict[str, dict[str, list[str]]] = {}
    for (run, seed), frame in found.items():
        for settings in frame["config_hash"].unique():
            seeds.setdefault(run, {}).setdefault(settings, []).append(str(seed))
    for run, own in seeds.items():
        if len(own) > 1:
            told = " than for seed ".join(map(", ".join, own.values()))
            raise UserError(
                f"results of {layout.experiment}",
                f"{run} was scored with other settings for seed {told}",
                f"score the other seeds again: `drdc score {run} --seed K` or the same `snakemake` command",
            )
    return found


@dataclass(frozen=True)
class _Wanted:
    """A run and what its scores contain; `of_drdc`: the variant that it is, None for another method."""

    run: str
    seed: int
    variant: str
    methods: tuple[str, ...]
    of_drdc: Variant | None = None


def _methods_of(variant: Variant) -> tuple[str, ...]:
    return ("base", "diffusion", DRDC) if variant.name == FULL else (DRDC,)


def read_scored(layout: Layout, runs: Iterable[MethodRun], kind: str) -> pd.DataFrame:
    """A kind of `SCORED` other than `scores` of the runs, (name, seed), that have it; as `read_kinds`."""
    return next(read_kinds(layout, runs, [kind]))


def read_kinds(layout: Layout, runs: Iterable[MethodRun], kinds: Iterable[str]) -> Iterator[pd.DataFrame]:
    """Several kinds, one after the other, see `read_scored`.

    Raises:
        UserError: no run has one of them; as `scored_runs`.
    """
    runs = list(runs)
    scored_runs(layout, runs)
    for kind in kinds:
        paths = [layout.scored(seed, run, kind) for run, seed in runs]
        existing = [path for path in paths if is_current(path)]
        if not existing:
            raise UserError(paths[0], "is missing", "run `drdc score` first")
        yield pd.concat([read_numbers(path, kind) for path in existing], ignore_index=True)


def write_table(path: Path, frame: pd.DataFrame, *sources: Path) -> None:
    """Write a csv that a later stage reads with `read_table`; UserError where the disk is full.

    `sources`: of the file, see `artefact`.
    """
    with artefact(path, *sources) as temporary:
        write_whole(temporary, frame.to_csv(index=False).encode())


def read_table(path: Path, stage: str = "score") -> pd.DataFrame:
    """A csv that `stage` wrote, every column as text; UserError where it is missing, damaged or changed."""
    verify(path, stage)
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise UserError(
            path, f"cannot be read ({first_line(error)})", "remove it and run the same command again"
        ) from None


def read_numbers(path: Path, kind: str, stage: str = "score") -> pd.DataFrame:
    """A csv of that kind that `stage` wrote, with numbers in all columns but its `TEXTS_OF`, NaN where empty.

    Raises UserError where it is missing, damaged or changed, or a text is not a number.
    """
    frame = read_table(path, stage)
    changed: dict[str, pd.Series] = {}
    for column in map(str, frame):
        if column not in TEXTS_OF[kind]:
            try:
                changed[column] = pd.to_numeric(frame[column])
            except ValueError as error:
                raise _not_a_number(path, column, error) from error
    return frame.assign(**changed)


def typed(frame: pd.DataFrame, texts: Sequence[str], numbers: Sequence[str], name: str) -> pd.DataFrame:
    """`frame` with the columns `texts` as text and `numbers` as floats, NaN where empty.

    `name`: the file of the rows. Raises `UserError` for a missing column or a text that is not a number.
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
            raise _not_a_number(name, column, error) from error
    return frame.assign(**changed)


def _not_a_number(place: str | Path, column: str, error: Exception) -> UserError:
    wrong = f"column {column} holds something that is not a number ({first_line(error)})"
    return UserError(place, wrong, "run the step that writes it again")


def failure_note(log: Path) -> str:
    """The note in place of a number whose job failed."""
    return f"failed; see {log}"


def failed_before(
    layout: Layout, run: str, seed: int, categories: list[str], variant: Variant | None
) -> Path:
    """The log of the first job that a run needs and that failed, else of its scoring.

    It left no result, or none but that of an earlier run. Of those that have a log, if one has: heatmaps that
    were made elsewhere leave no trained model.

    `variant`: that of DRDC which the run is; None for another method.
    """
    models = [run] if variant is None else ["base", variant.model]
    predictions = run if variant is None else variant.predictions
    parts = predicted_parts(predictions, categories)
    needed = {f"train.seed{seed}.{model}": layout.model(seed, model) for model in models}
    needed |= {
        f"predict.seed{seed}.{predictions}.{part}": layout.predictions(seed, predictions, part)
        for part in parts
    }
    failed = [job for job, left in needed.items() if not left.is_file() or is_outdated(layout, job)]
    without = [layout.log(job) for job in failed if run != CONTROLS]
    without.append(layout.log(f"score.seed{seed}.{run}"))
    return next((log for log in without if log.is_file()), without[0])


def _scores(path: Path) -> pd.DataFrame:
    return typed(read_table(path), (*TEXTS, "config_hash"), ("value",), str(path))


def _failed(layout: Layout, pattern: pd.DataFrame, wanted: _Wanted) -> pd.DataFrame:
    """All cells of a run without scores; `pattern`: the scores of another."""
    categories = sorted(set(pattern["category"]) - {ALL})
    log = failed_before(layout, wanted.run, wanted.seed, categories, wanted.of_drdc)
    rows = pattern[pattern["method"] == DRDC].assign(
        variant=wanted.variant, seed=str(wanted.seed), value=nan, note=failure_note(log)
    )
    return pd.concat([rows.assign(method=method) for method in wanted.methods])
