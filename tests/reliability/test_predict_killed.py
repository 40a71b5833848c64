"""Predictions that are killed: no finished batch is lost, computed twice, or half-written."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from predicting import NOTE, PREDICTIONS, SAMPLING, STATE, Predicting, arguments, done, make_experiment
from stamping import stamped
from test_storage import fill, mounted
from trainings import RESULTS, until

import drdc

pytestmark = pytest.mark.long

KILLS = 6
IMAGES = 120


def undisturbed(folder: Path, **sampling: int) -> bytes:
    """What a run without interruption leaves."""
    make_experiment(folder)
    Predicting(folder, **sampling).wait()
    return (folder / PREDICTIONS).read_bytes()


def kept(folder: Path) -> set[str]:
    """Files of the state; the note says of what the finished predictions are made."""
    return {p.name for p in (folder / RESULTS / "state").iterdir() if p.suffix != ".lock"}


def test_predictions_killed_six_times_end_with_the_same_bytes(tmp_path: Path) -> None:
    """The first start and the last are the real command's."""
    expected, folder = undisturbed(tmp_path / "whole"), tmp_path / "killed"
    make_experiment(folder)
    environment = os.environ | {"PYTHONPATH": str(Path(drdc.__file__).parents[1]), "CUDA_VISIBLE_DEVICES": ""}
    command = {"args": [sys.executable, "-m", "drdc", *arguments(folder)], "cwd": folder, "env": environment}
    choose, progress = random.Random(0), [0]

    first = subprocess.Popen(**command)
    until(lambda: done(folder) > 0, first)
    first.kill()
    first.wait()
    for _ in range(1, KILLS):
        progress.append(done(folder))
        predicting = Predicting(folder)
        until(lambda: done(folder) > progress[-1], predicting)
        time.sleep(choose.uniform(0, 0.02))
        predicting.kill()
        assert not (folder / PREDICTIONS).exists()
    before = done(folder)
    last = subprocess.run(**command, capture_output=True, text=True, check=True)

    assert progress == sorted(set(progress))
    assert f"{before} of {IMAGES} are done already" in last.stderr
    assert (folder / PREDICTIONS).read_bytes() == expected
    assert kept(folder) == {NOTE.name}


def test_finished_predictions_are_computed_again_only_where_something_changed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    expected = undisturbed(folder)
    path = folder / PREDICTIONS
    made = path.stat().st_mtime_ns
    assert "exists already" in Predicting(folder).wait()
    assert path.stat().st_mtime_ns == made
    path.write_bytes(expected[:-1] + bytes([expected[-1] ^ 1]))
    Predicting(folder).wait()
    assert path.read_bytes() == expected
    Predicting(folder, steps=1).wait()
    assert path.read_bytes() != expected
    features = folder / RESULTS / "features.npy"
    content = bytearray(features.read_bytes())
    content[-1] ^= 1  # as another backbone would, with the same models
    features.write_bytes(content)
    stamped(features)
    assert "exists already" not in Predicting(folder, steps=1).wait()


@pytest.mark.parametrize("harm", ["other settings", "flipped bit", "cut off", "note"])
def test_a_state_that_does_not_fit_is_not_gone_on_with(tmp_path: Path, harm: str) -> None:
    expected, folder = undisturbed(tmp_path / "whole"), tmp_path / "run"
    make_experiment(folder)
    first = Predicting(folder, **({"steps": 1} if harm == "other settings" else {}))
    until(lambda: done(folder) > 0, first)
    first.kill()
    content = bytearray((folder / STATE).read_bytes())
    if harm == "flipped bit":
        content[1000] ^= 1  # behind the header
        (folder / STATE).write_bytes(content)
    elif harm == "cut off":
        (folder / STATE).write_bytes(content[:1000])  # in the first finished row
    elif harm == "note":
        (folder / NOTE).write_text("{")
    sentence = "belongs to other settings" if harm == "other settings" else "is damaged"
    messages = Predicting(folder).wait()
    assert sentence in messages
    assert "are done already" not in messages
    assert (folder / PREDICTIONS).read_bytes() == expected


@pytest.mark.parametrize("orphan_ends", [True, False])
def test_an_orphan_and_its_successor_do_not_predict_side_by_side(tmp_path: Path, orphan_ends: bool) -> None:
    """After a hard kill of Snakemake its job runs on, and the same command is started again."""
    expected, folder = undisturbed(tmp_path / "whole"), tmp_path / "run"
    make_experiment(folder)
    orphan = Predicting(folder)
    until(lambda: done(folder) > 0, orphan)
    orphan.signal(signal.SIGSTOP)
    successor = Predicting(folder)
    until(lambda: "another process works on" in successor.messages(), successor)
    if orphan_ends:
        orphan.signal(signal.SIGCONT)
        orphan.wait()
        assert "exists already" in successor.wait()
    else:
        orphan.kill()
        assert "are done already" in successor.wait()
    assert (folder / PREDICTIONS).read_bytes() == expected


def test_a_disk_that_fills_up_keeps_the_finished_batches(tmp_path: Path) -> None:
    expected, folder = undisturbed(tmp_path / "whole"), tmp_path / "small"
    with mounted(folder, "-t", "tmpfs", "-o", "size=8m", "tmpfs"):
        make_experiment(folder)
        predicting = Predicting(folder)
        until(lambda: done(folder) > 0, predicting)
        predicting.signal(signal.SIGSTOP)
        fill(folder / "filler")
        predicting.signal(signal.SIGCONT)
        message = predicting.wait(code=2)
        assert f"{NOTE.name}: cannot be written (No space left on device; 0 MiB free there)" in message
        before = done(folder)
        assert 0 < before < IMAGES
        (folder / "filler").unlink()
        assert f"{before} of {IMAGES} are done already" in Predicting(folder).wait()
        assert (folder / PREDICTIONS).read_bytes() == expected


def test_a_disk_too_small_is_said_before_anything_is_computed(tmp_path: Path) -> None:
    """The space of all predictions is taken at once."""
    folder = tmp_path / "small"
    with mounted(folder, "-t", "tmpfs", "-o", "size=8m", "tmpfs"):
        make_experiment(folder)
        fill(folder / "filler")
        os.truncate(folder / "filler", (folder / "filler").stat().st_size - 2**16)
        message = Predicting(folder, batch_size=SAMPLING["batch_size"]).wait(code=2)
        assert f"{STATE.name}: cannot be written (No space left on device" in message
        assert kept(folder) == set()
