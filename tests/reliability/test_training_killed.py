"""Trainings that are killed, by the real command: nothing is lost, and nothing is computed by two at once."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from stamping import stamped
from trainings import RESULTS, Forked, make_data, outputs, run, start, states, until

KILLS = 6
#: Long enough for all kills: each lets at most three steps be saved.
LONG = {"base": {"epochs": 10}, "diffusion": {"images": 200}, "unconditional": {"images": 200}}


def saved(state: Path, times: int) -> Callable[[], bool]:
    """Whether a state was replaced that often since this call."""
    seen: set[tuple[int, int]] = set()

    def look() -> int:
        with suppress(FileNotFoundError):
            seen.add((state.stat().st_ino, state.stat().st_mtime_ns))
        return len(seen)

    before = look()
    return lambda: look() >= before + times


def stop_while_saving(training: Forked, partial: Path) -> None:
    """Bring it to a halt with a state half-written."""
    while True:
        until(partial.exists, training)
        training.signal(signal.SIGSTOP)
        if partial.exists():
            return
        training.signal(signal.SIGCONT)


@pytest.mark.long
@pytest.mark.parametrize("model", ["base", "diffusion", "unconditional"])
def test_a_training_killed_six_times_ends_with_the_same_bytes(tmp_path: Path, model: str) -> None:
    """Started by the real command at first and at last; every second kill hits a state half-written."""
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    make_data(whole)
    make_data(folder)
    undisturbed = Forked(whole, model, **LONG[model])
    state = folder / RESULTS / "state" / f"seed0-{model}.pt"
    partial = state.with_name(f".{state.name}.partial")
    choose = random.Random(model)

    first = start(folder, model, **LONG[model])
    until(saved(state, choose.randint(1, 3)), first)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    for number in range(1, KILLS):
        training = Forked(folder, model, **LONG[model])
        until(saved(state, choose.randint(1, 2)), training)
        if number % 2:
            stop_while_saving(training, partial)
        else:
            time.sleep(choose.uniform(0, 0.02))
        training.kill()
    messages = run(folder, model, **LONG[model])

    assert KILLS - 2 <= int(messages.split("from step ")[1].split()[0]) < 50
    undisturbed.wait()
    assert outputs(folder, model) == outputs(whole, model)
    assert states(folder) == set()


def test_a_finished_training_is_not_computed_again(tmp_path: Path) -> None:
    make_data(tmp_path)
    Forked(tmp_path, "base").wait()
    weights = tmp_path / RESULTS / "seed0/base.safetensors"
    first = weights.stat().st_mtime_ns, outputs(tmp_path, "base")
    time_taken = tmp_path / RESULTS / "benchmarks/train.seed0.base.json"
    measured = time_taken.read_text()
    assert "is finished already" in Forked(tmp_path, "base", save_images=99).wait()
    assert (weights.stat().st_mtime_ns, outputs(tmp_path, "base")) == first
    assert time_taken.read_text() == measured
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "from step 0" in Forked(tmp_path, "base").wait()
    assert outputs(tmp_path, "base") == first[1]
    assert "from step 0" in Forked(tmp_path, "base", learning_rate=2e-3).wait()
    assert outputs(tmp_path, "base") != first[1]


def test_other_data_of_the_same_shape_are_trained_on_anew(tmp_path: Path) -> None:
    """A backbone's other weights change the features and nothing else."""
    make_data(tmp_path)
    Forked(tmp_path, "base").wait()
    features = tmp_path / RESULTS / "features.npy"
    content = bytearray(features.read_bytes())
    content[-1] ^= 1  # a held-out image
    features.write_bytes(content)
    stamped(features)
    assert "from step 0" in Forked(tmp_path, "base").wait()


@pytest.mark.parametrize("orphan_ends", [True, False])
def test_an_orphan_and_its_successor_do_not_train_side_by_side(tmp_path: Path, orphan_ends: bool) -> None:
    """After a hard kill of Snakemake its job runs on, and the same command is started again."""
    make_data(tmp_path)
    state = tmp_path / RESULTS / "state/seed0-base.pt"
    orphan = Forked(tmp_path, "base", **LONG["base"])
    until(saved(state, 2), orphan)
    orphan.signal(signal.SIGSTOP)
    successor = Forked(tmp_path, "base", **LONG["base"])
    until(lambda: "another process works on" in successor.messages(), successor)
    if orphan_ends:
        orphan.signal(signal.SIGCONT)
        orphan.wait()
        assert "is finished already" in successor.wait()
    else:
        orphan.kill()
        assert "from step 0" not in successor.wait()
    assert states(tmp_path) == set()
    whole = tmp_path / "whole"
    make_data(whole)
    Forked(whole, "base", **LONG["base"]).wait()
    assert outputs(tmp_path, "base") == outputs(whole, "base")
