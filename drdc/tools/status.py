"""`drdc status`: what a run of the workflow is doing, from its logs: running, failed and waiting jobs."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil

from drdc.config.evaluation import Evaluation
from drdc.config.names import printable
from drdc.config.variants import predicted_parts
from drdc.experiment import jobs
from drdc.experiment.experiment import Experiment
from drdc.experiment.points import points
from drdc.experiment.stage_settings import stage_settings
from drdc.results.benchmarks import is_outdated, measured
from drdc.results.layout import Layout
from drdc.runtime.endings import say
from drdc.runtime.errors import UserError
from drdc.runtime.failures import reason

#: Rules whose time is not measured, so that nothing says when they are done.
UNMEASURED = ("about", "report", "points")
#: Seconds between two looks of `keep_telling`, at least, and the part of the time that has passed.
TOLD_AFTER, TOLD_AGAIN = 20.0, 0.02
#: `drdc.runtime.batching.LINE` with its time.
_PROGRESS = re.compile(r"^(\S+ \S+) progress: (\d+) of (\d+) (\w+), (\d+) s left$", re.M)


@dataclass(frozen=True)
class JobState:
    """A job that has begun.

    Attributes:
        name: of its log: the rule, and what it is of.
        state: "done", "running", "failed", or "silent" where no process of this computer writes its log.
        seconds: since it began, or until it was done.
        progress: how many are done, of how many, and what; None where the log does not say.
        left: seconds that remain, by the job's own pace or by the jobs of the same rule that are done;
            None where nothing tells.
        last: the last line of its log, or why it failed.
    """

    name: str
    state: str
    seconds: float
    progress: tuple[int, int, str] | None
    left: float | None
    last: str


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "experiment", nargs="?", help="name of a folder in results/ (default: the one that changed last)"
    )
    parser.add_argument(
        "--watch",
        action="store_true",
        help="refresh every two seconds until no job is running; Ctrl-C stops it",
    )


def run(experiment: str | None, watch: bool) -> None:
    """Print the jobs of an experiment that are running, failed and waiting.

    Raises:
        UserError: there is no such experiment, or none at all.
    """
    layout = Layout(experiment or _latest())
    if not layout.log("").parent.is_dir():
        raise UserError(layout.root, "has no logs of a run", "name an experiment that was started here")
    while True:
        states = job_states(layout)
        shown = "\n".join(lines(layout, states))
        say(f"\x1b[H\x1b[J{shown}" if watch else shown)
        if not watch or not any(one.state == "running" for one in states):
            return
        time.sleep(2)


def _latest() -> str:
    """The experiment whose logs changed last."""
    folders = [path for path in Path("results").glob("*/logs") if path.is_dir()]
    if not folders:
        raise UserError("results", "no experiment was started in this folder", "run `snakemake` first")
    return max(folders, key=lambda path: path.stat().st_mtime).parent.name


def job_states(layout: Layout) -> list[JobState]:
    """All jobs that have a log, in the order in which they began."""
    logs = sorted(layout.log("").parent.glob("*.log"), key=lambda path: path.stat().st_mtime)
    return _states(layout, logs, _open_files())


def progress(layout: Layout, logs: Collection[Path]) -> list[str]:
    """A line for each of the running jobs with these logs, as far as these say how far they are."""
    states = _states(layout, logs, {path.resolve() for path in logs})
    return [
        f"{one.name.replace('.', ' ')}: {_progress_of(one)}"
        for one in states
        if one.state == "running" and one.progress
    ]


def keep_telling(layout: Layout, running: Callable[[], Collection[Path]]) -> None:
    """Print how far the running jobs are on stderr, now and then, as long as this process lives.

    `running`: gives their logs. One that is older than the call is of an earlier run of a job that waits.
    """
    began = time.time()
    while True:
        time.sleep(max(TOLD_AFTER, TOLD_AGAIN * (time.time() - began)))
        with suppress(OSError):  # a log that is being replaced, a terminal that is gone
            logs = [path for path in running() if path.exists() and path.stat().st_mtime > began]
            sys.stderr.write("".join(f"{line}\n" for line in progress(layout, logs)))


def _states(layout: Layout, logs: Collection[Path], opened: Collection[Path]) -> list[JobState]:
    took = {path: _took(layout, path) for path in logs if _rule(path.stem) not in UNMEASURED}
    of_rules: dict[str, list[float]] = {}
    for path, seconds in took.items():
        if seconds is not None:
            of_rules.setdefault(_rule(path.stem), []).append(seconds)
    return [
        _state(path, seconds, path.resolve() in opened, of_rules.get(_rule(path.stem), []))
        for path, seconds in took.items()
    ]


def _rule(name: str) -> str:
    """Of a job, by the name of its log."""
    return name.split(".")[0]


def _took(layout: Layout, log: Path) -> float | None:
    """Seconds that a job took; None where it is not done, or its log is newer."""
    with suppress(OSError, ValueError, IndexError, KeyError):
        if not is_outdated(layout, log.stem):
            return float(measured(layout, log.stem)["s"])
    return None


def _state(log: Path, seconds: float | None, runs: bool, others: list[float]) -> JobState:
    """Args: seconds that it took; whether a process writes its log; seconds of other jobs of its rule."""
    text = log.read_text(encoding="utf-8", errors="replace")
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    if seconds is not None:
        return JobState(log.stem, "done", seconds, None, 0.0, last)
    since = time.time() - _began(log, text)
    if runs:
        seen, left = _seen(text)
        if left is None and others:
            left = max(0.0, sum(others) / len(others) - since)
        return JobState(log.stem, "running", since, seen, left, last)
    if last.startswith("drdc: "):
        return JobState(log.stem, "failed", since, None, None, reason(log))
    return JobState(log.stem, "silent", since, None, None, last)


def _began(log: Path, text: str) -> float:
    """When the job wrote its first line; where that has no time, when its log changed last."""
    with suppress(ValueError):
        return datetime.fromisoformat(text[:19]).timestamp()
    return log.stat().st_mtime


def _seen(text: str) -> tuple[tuple[int, int, str] | None, float | None]:
    """The progress of a job, as `JobState` has it, and seconds that remain."""
    told = list(_PROGRESS.finditer(text))
    if not told:
        return None, None
    moment, done, total, unit, left = told[-1].groups()
    since = (datetime.now() - datetime.fromisoformat(moment.replace(",", "."))).total_seconds()
    return (int(done), int(total), unit), max(0.0, int(left) - since)


def _progress_of(state: JobState) -> str:
    """As 1,200 of 6,500 images, 18 %, about 4:10 min left."""
    parts = []
    if state.progress is not None:
        done, total, unit = state.progress
        parts = [f"{done:,} of {total:,} {unit}", f"{100 * done / total:.0f} %"]
    if state.left is not None:
        parts.append(f"about {_duration(state.left)} left")
    return ", ".join(parts)


def _open_files() -> set[Path]:
    """The files that processes of this computer, and of this user, have as their standard output."""
    found = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            found |= {Path(file.path) for file in process.open_files() if file.fd == 1}
    return found


def lines(layout: Layout, states: list[JobState]) -> Iterator[str]:
    """What the command prints."""
    counts = {state: sum(one.state == state for one in states) for state in ("done", "running", "failed")}
    yield f"{layout.experiment}: " + ", ".join(f"{number} {state}" for state, number in counts.items())
    for one in states:
        if one.state == "done":
            continue
        far = _progress_of(one)
        yield f"  {one.state:<8}{printable(one.name)}  {_duration(one.seconds)}{far and f'; {far}'}"
        yield f"          {printable(one.last.splitlines()[0][:160] if one.last else 'no message yet')}"
    if not (waiting := _waiting(layout)):
        return
    told = ", ".join(f"{number} {what}" for what, number in waiting.items() if number)
    yield f"  still to be made, running ones included: {told or 'nothing'}"


def _duration(seconds: float) -> str:
    """As 12 s, 3:05 min or 4:30 h."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    large, small = divmod(round(seconds / (60 if seconds >= 3600 else 1)), 60)
    return f"{large}:{small:02} {'h' if seconds >= 3600 else 'min'}"


def _waiting(layout: Layout) -> dict[str, int]:
    """What the experiment lacks, by the settings of the last run.

    Trainings, predictions and scores; of a study the experiments that are not done. Empty if it is not known.
    """
    handed = sorted(
        layout.handed("about", "*").parent.glob("about-*.json"), key=lambda path: path.stat().st_mtime
    )
    if not handed:
        return {}
    try:
        name, settings = stage_settings("about", handed[-1])
        experiment = Experiment(experiment=name, **settings)
        studied = points(experiment)
    except UserError:  # of another version
        return {}
    if studied:
        left = [one for one in studied if not layout.point(one.experiment.experiment, ".done").is_file()]
        return {f"of {len(studied)} experiments of the study": len(left)}
    tested = any(layout.seed(experiment.seeds[0]).glob("scores/*")) or not layout.detector().is_file()
    evaluation = experiment.evaluation if tested else Evaluation()
    parts = [
        layout.predictions(seed, own, part)
        for own, seed in jobs.predictions(experiment, evaluation)
        for part in predicted_parts(own, experiment.dataset.categories)
    ]
    every = {
        "trainings": [layout.model(seed, model) for model, seed in jobs.trainings(experiment, evaluation)],
        "predictions": parts,
        "scores": [
            layout.scored(seed, own) for own, seed in jobs.scored_runs(experiment, evaluation) if tested
        ],
    }
    return {what: sum(not path.is_file() for path in paths) for what, paths in every.items()}
