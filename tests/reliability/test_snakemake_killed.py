"""Snakemake stopped in every way at random moments: the README's line brings it back, and nothing is lost."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from running import TINY, call, digests

SCORES = "results/killed/seed0/scores/full/scores.csv"
#: (signal, to whom): a hard end, Ctrl-C, a polite end, and Snakemake alone, whose jobs go on as orphans.
WAYS = [(signal.SIGKILL, "all"), (signal.SIGINT, "all"), (signal.SIGTERM, "all"), (signal.SIGKILL, "alone")]
TRAININGS = ("train.seed0.base", "train.seed0.diffusion")
#: Logs of the jobs during which it is stopped, one after the other: of several the first that begins.
MOMENTS = [("features",), TRAININGS, TRAININGS, ("predict.seed0.full.wood",)]


def settings() -> dict[str, object]:
    """The tiny experiment with trainings that are long enough to be hit."""
    tiny = yaml.safe_load(TINY.read_text())
    tiny |= {"experiment": "killed", "evaluation": {"costs": []}}
    tiny["dataset"]["categories"] = ["wood"]
    tiny["base"]["epochs"] = 40
    tiny["diffusion"]["images"] = 320
    return tiny


def start(folder: Path, output: Path) -> subprocess.Popen[str]:
    """The README's line, in a process group of its own."""
    options = ["--configfile", folder / "settings.yaml", "--cores", "2"]
    subprocess.run(**call(folder, *options, "--unlock", quick=False), check=True, capture_output=True)
    with output.open("w") as file:
        return subprocess.Popen(
            **call(folder, SCORES, *options, quick=False), stdout=file, stderr=file, process_group=0
        )


def jobs(output: Path) -> tuple[set[str], set[str]]:
    """What was begun and what was finished, by the messages of the rules."""
    text = output.read_text()
    begun = dict(re.findall(r"^Job (\d+): (.+)$", text, re.M))
    return set(begun.values()), {begun[job] for job in re.findall(r"^Finished jobid: (\d+) ", text, re.M)}


def wait_for(logs: list[Path], since: float, workflow: subprocess.Popen[str]) -> None:
    """Until a job has begun to write one of the logs in this run."""
    while not any(log.exists() and log.stat().st_mtime > since for log in logs):
        assert workflow.poll() is None, "it ended before it could be stopped"
        time.sleep(0.05)


@pytest.fixture
def started() -> Iterator[list[int]]:
    """Process groups that end with the test."""
    groups: list[int] = []
    yield groups
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


@pytest.mark.long
@pytest.mark.parametrize("seed", [0])
def test_stopped_at_random_moments_it_ends_with_the_same_bytes_and_repeats_no_finished_job(
    tmp_path: Path, started: list[int], seed: int
) -> None:
    folders = [tmp_path / name for name in ("undisturbed", "stopped")]
    for folder in folders:
        folder.mkdir()
        (folder / "settings.yaml").write_text(yaml.safe_dump(settings()))
    undisturbed, stopped = folders
    # the real commands: those forked for quick tests compute on one thread
    whole = call(
        undisturbed, SCORES, "--cores", "2", "--configfile", undisturbed / "settings.yaml", quick=False
    )
    done = subprocess.run(**whole, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr

    chance = random.Random(seed)
    ways = chance.sample(WAYS, len(WAYS))
    finished: set[str] = set()
    output = stopped / "output.txt"
    for (way, whom), moment in zip(ways, MOMENTS, strict=True):
        since = time.time()
        workflow = start(stopped, output)
        started.append(workflow.pid)
        wait_for([stopped / f"results/killed/logs/{name}.log" for name in moment], since, workflow)
        time.sleep(chance.uniform(0, 2))
        (os.kill if whom == "alone" else os.killpg)(workflow.pid, way)
        assert workflow.wait(timeout=120) != 0
        begun, ended = jobs(output)
        assert not begun & finished
        finished |= ended
    workflow = start(stopped, output)
    started.append(workflow.pid)
    assert workflow.wait(timeout=400) == 0, output.read_text()[-3000:]
    assert not jobs(output)[0] & finished
    assert len(finished) >= 2

    made, expected = (digests(folder / "results/killed") for folder in (stopped, undisturbed))
    names = [name for name in expected if "state/" not in name]
    assert {"seed0/base.safetensors", "seed0/diffusion.safetensors", "seed0/scores/full/scores.csv"} < set(
        names
    )
    assert {name: made.get(name) for name in names} == {name: expected[name] for name in names}
