"""What was measured of each job, named as its log: `benchmarks/<job>.tsv`, and the time of a training."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pandas as pd

from drdc.results.layout import Layout
from drdc.runtime.files import atomic

#: Seconds by which the clocks of two computers may differ.
APART = 5.0


def measured(layout: Layout, job: str) -> pd.Series:
    """Of a job: seconds `s`, largest resident memory in MB `max_rss` and more; NaN for what is not known.

    The workflow measures the last call of a training alone, which may have resumed it or found it finished;
    the seconds are those of `note_training` where there are any.

    Raises:
        FileNotFoundError: it was not measured.
    """
    path = _by_workflow(layout, job)
    found = pd.read_csv(path, sep="\t", na_values="-").iloc[0]
    with suppress(OSError, ValueError, KeyError):
        found["s"] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["s"]
    return found


def note_training(layout: Layout, seed: int, model: str, seconds: float) -> None:
    """Write for `measured` how long a training took in all its calls."""
    with atomic(_by_workflow(layout, f"train.seed{seed}.{model}").with_suffix(".json")) as part:
        part.write_text(json.dumps({"s": seconds}), encoding="utf-8")


def is_outdated(layout: Layout, job: str) -> bool:
    """Whether a job has written its log since it was measured: it succeeded then, and fails or runs now."""
    with suppress(OSError):
        log, path = layout.log(job), _by_workflow(layout, job)
        return log.stat().st_mtime > path.stat().st_mtime + APART
    return False


def _by_workflow(layout: Layout, job: str) -> Path:
    return layout.benchmarks / f"{job}.tsv"
