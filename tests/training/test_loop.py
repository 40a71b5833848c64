"""The training loop: schedule, moving average, and an interrupted run that ends like an uninterrupted one."""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from drdc.config import Optimisation
from drdc.data.manifest import COLUMNS
from drdc.errors import UserError
from drdc.training import loop
from drdc.training.loop import Task, learning_rate, step_seed, train
from drdc.training.sampler import BatchSampler

STEPS, BATCH, IMAGES = 20, 4, 10
OFTEN = 1e-9  # save_minutes: after every step


class Stop(Exception):
    """An interruption."""


def optimisation(**changes: Any) -> Optimisation:
    defaults: dict[str, Any] = {
        "batch_size": BATCH,
        "learning_rate": 0.01,
        "schedule": "cosine",
        "warmup": 0.1,
        "clip_norm": 1.0,
        "validations": 4,
        "save_minutes": OFTEN,
    }
    return Optimisation(**defaults | changes)


def task(
    ema: float | None = None,
    stop_at: int | None = None,
    seed: int = 0,
    watch: Callable[[nn.Module], object] | None = None,
    fault: Callable[[], None] | None = None,
    identity: str = "toy",
) -> Task:
    """A small network with dropout on noisy inputs; its loss raises at its call number `stop_at` (from 0)."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
    data = torch.linspace(-1, 1, 3 * IMAGES).view(IMAGES, 3).sin()
    calls = itertools.count()

    def loss(rows: Any) -> Tensor:
        if watch is not None:
            watch(model)
        if next(calls) == stop_at:
            if fault is not None:
                fault()
            raise Stop
        x = data[torch.as_tensor(rows)]
        return (model(x + 0.1 * torch.randn_like(x)) - x.sum(1, keepdim=True)).square().mean()

    def held_out_loss(network: nn.Module) -> float:
        torch.manual_seed(1)
        return float((network(data) - data.sum(1, keepdim=True)).square().mean())

    rows = BatchSampler(np.arange(IMAGES), np.array(["a", "b"] * (IMAGES // 2)), BATCH, seed, False)
    return Task(model, rows, loss, held_out_loss, STEPS * BATCH, {"name": identity, "seed": seed}, ema)


def run(
    job: Task, state: Path, settings: Optimisation | None = None
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    model, history = train(job, settings or optimisation(), seed=0, state=state)
    return model.state_dict(), history


def assert_same(one: tuple[dict[str, Tensor], Any], other: tuple[dict[str, Tensor], Any]) -> None:
    """Bit-identical weights and loss curve."""
    assert one[0].keys() == other[0].keys()
    for key, value in one[0].items():
        assert torch.equal(value, other[0][key]), key
    assert one[1] == other[1]


# --- resuming --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("trial", range(3))
def test_a_run_stopped_anywhere_ends_as_if_never_stopped(
    tmp_path: Path, ema: float | None, trial: int
) -> None:
    expected = run(task(ema), tmp_path / "whole.pt")
    choose, state = random.Random(trial), tmp_path / "stopped.pt"
    for _ in range(4):
        try:
            result = run(task(ema, stop_at=choose.randrange(1, 7)), state)
        except Stop:
            continue
        break
    else:
        result = run(task(ema), state)
    assert_same(result, expected)


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 13, STEPS - 1])
def test_steps_after_the_last_saved_state_are_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    expected = run(task(0.9), tmp_path / "whole.pt", optimisation(save_minutes=1e9))
    assert not (tmp_path / "whole.pt").exists()
    minutes = itertools.count()  # a clock that is read once a step, so that a state is saved now and then
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: 60.0 * next(minutes)))
    settings, state = optimisation(save_minutes=3.5), tmp_path / "stopped.pt"
    with pytest.raises(Stop):
        run(task(0.9, stop_at=stop), state, settings)
    saved = torch.load(state, weights_only=True)["step"] if state.exists() else 0
    assert stop - 5 <= saved <= stop
    again = itertools.count()
    assert_same(run(task(0.9, watch=lambda _: next(again)), state, settings), expected)
    assert next(again) == STEPS - saved


def test_an_interrupt_from_the_keyboard_is_like_any_other(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(task(0.9, stop_at=9, fault=interrupt), tmp_path / "state.pt")
    assert_same(run(task(0.9), tmp_path / "state.pt"), run(task(0.9), tmp_path / "whole.pt"))


def test_a_finished_state_is_only_read(tmp_path: Path) -> None:
    expected = run(task(0.9), tmp_path / "state.pt")
    assert_same(run(task(0.9, stop_at=0), tmp_path / "state.pt"), expected)


def test_a_state_of_other_settings_is_ignored(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        run(task(0.9, stop_at=9, identity="other"), tmp_path / "state.pt")
    assert_same(run(task(0.9), tmp_path / "state.pt"), run(task(0.9), tmp_path / "whole.pt"))


def _truncate(state: Path) -> None:
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])


def _empty(state: Path) -> None:
    state.write_bytes(b"")


def _foreign(state: Path) -> None:
    torch.save([1, 2, 3], state)


def _incomplete(state: Path) -> None:
    content = torch.load(state, weights_only=True)
    torch.save({"fingerprint": content["fingerprint"]}, state)


@pytest.mark.parametrize("damage", [_truncate, _empty, _foreign, _incomplete])
def test_a_damaged_state_starts_the_training_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    state = tmp_path / "state.pt"
    with pytest.raises(Stop):
        run(task(0.9, stop_at=9), state)
    damage(state)
    with caplog.at_level(logging.WARNING):
        result = run(task(0.9), state)
    assert any(
        str(state) in record.getMessage() and "starts again" in record.getMessage()
        for record in caplog.records
    )
    assert_same(result, run(task(0.9), tmp_path / "whole.pt"))


# --- what a run gives ------------------------------------------------------------------------------------


def test_the_loss_curve_has_a_row_for_each_validation(tmp_path: Path) -> None:
    _, history = run(task(), tmp_path / "state.pt", optimisation(validations=4))
    assert [row["images"] for row in history] == [20, 40, 60, 80]
    assert all(set(row) == {"images", "train_loss", "val_loss", "lr"} for row in history)
    assert history[-1]["val_loss"] < history[0]["val_loss"]
    _, short = run(task(), tmp_path / "other.pt", optimisation(validations=100))
    assert [row["images"] for row in short] == [BATCH * (i + 1) for i in range(STEPS)]


def test_runs_of_another_seed_differ(tmp_path: Path) -> None:
    one, _ = train(task(), optimisation(), seed=0, state=tmp_path / "one.pt")
    other, _ = train(task(), optimisation(), seed=1, state=tmp_path / "other.pt")
    assert not torch.equal(one[0].weight, other[0].weight)  # type: ignore[index]


@pytest.mark.parametrize("decay", [0.15, 0.5, 0.9999])
def test_the_moving_average_follows_its_recursion(tmp_path: Path, decay: float) -> None:
    seen: list[Tensor] = []
    job = task(decay, watch=lambda model: seen.append(model[0].weight.detach().clone()))  # type: ignore[index]
    average, _ = run(job, tmp_path / "state.pt")
    weights = [*seen[1:], job.model[0].weight.detach()]  # type: ignore[index]
    expected = weights[0].double()  # the average begins with the weights after the first step
    for count, value in enumerate(weights[1:], start=1):
        share = min(decay, (1 + count) / (10 + count))
        expected = share * expected + (1 - share) * value.double()
    assert len(weights) == STEPS
    torch.testing.assert_close(average["0.weight"].double(), expected, atol=1e-6, rtol=1e-6)
    assert not torch.equal(average["0.weight"], job.model[0].weight)  # type: ignore[index]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    job, state = task(), tmp_path / "state.pt"
    calls = itertools.count()

    def loss(rows: Any) -> Tensor:
        return job.loss(rows) * (value if next(calls) == 5 else 1.0)

    broken = Task(job.model, job.sampler, loss, job.held_out_loss, job.images, job.identity)
    with pytest.raises(UserError) as caught:
        run(broken, state, optimisation(schedule="constant", warmup=0.0))
    message = str(caught.value)
    assert "step 6" in message
    assert "0.01" in message
    assert str(job.sampler.batch(5).tolist()) in message
    assert torch.load(state, weights_only=True)["step"] == 5  # the state before it is kept and finite
    assert all(torch.isfinite(v).all() for v in torch.load(state, weights_only=True)["model"].values())


# --- schedule --------------------------------------------------------------------------------------------


def rates(steps: int = 100, **changes: Any) -> list[float]:
    settings = optimisation(**{"learning_rate": 1.0, "warmup": 0.0} | changes)
    return [learning_rate(settings, step, steps) for step in range(steps)]


def test_constant_rate() -> None:
    assert set(rates(schedule="constant")) == {1.0}


def test_warm_up_rises_linearly_to_the_full_rate() -> None:
    values = rates(schedule="constant", warmup=0.1)
    assert values[:10] == pytest.approx([0.05 + 0.1 * i for i in range(10)])
    assert set(values[10:]) == {1.0}


def test_step_rate_falls_to_a_tenth_after_80_percent() -> None:
    values = rates(schedule="step", learning_rate=2.0)
    assert values[:80] == [2.0] * 80
    assert values[80:] == pytest.approx([0.2] * 20)


def test_cosine_falls_from_the_full_rate_to_zero() -> None:
    values = rates(schedule="cosine", steps=1000)
    assert values[0] == pytest.approx(1, abs=1e-5)
    assert values[249] == pytest.approx(0.5 + math.sqrt(0.125), abs=2e-3)  # (1 + cos 45 degrees) / 2
    assert values[499] + values[500] == pytest.approx(1)
    assert 0 < values[-1] < 1e-5
    assert all(a > b for a, b in itertools.pairwise(values))
    warm = rates(schedule="cosine", steps=1000, warmup=0.2)
    assert max(warm) == pytest.approx(1, abs=5e-3)
    assert warm[599] + warm[600] == pytest.approx(1)  # half-way between the end of the warm-up and the end


def test_step_seeds_differ_and_fit_torch() -> None:
    seeds = {step_seed(seed, step) for seed in range(5) for step in range(-1, 200)}
    assert len(seeds) == 5 * 201
    assert all(0 <= seed < 2**63 for seed in seeds)


# --- the real command ------------------------------------------------------------------------------------

TRAINING = {
    "experiment": "killed",
    "base": {
        "hidden": 8,
        "heads": 2,
        "feedforward": 8,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "neighbour_window": 3,
        "epochs": 40,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "validations": 5,
        "save_minutes": OFTEN,
    },
}


def _made_features(folder: Path) -> None:
    """A manifest of 20 training and 4 held-out images, and random features."""
    results = folder / "results" / "killed"
    results.mkdir(parents=True)
    rows = [
        (f"nut/train/good/{i:02d}.png", "nut", "train" if i < 20 else "val", 0, "good", "", 8, 8, f"{i:064x}")
        for i in range(24)
    ]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(results / "manifest.csv", index=False)
    np.save(results / "features.npy", np.random.default_rng(0).normal(size=(24, 6, 4, 4)).astype(np.float16))


def _start(folder: Path) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "drdc",
        "train",
        "base",
        "--threads",
        "1",
        "--config",
        json.dumps(TRAINING),
    ]
    environment = os.environ | {"PYTHONPATH": str(Path(loop.__file__).parents[2]), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def _kill_after_saves(process: subprocess.Popen[str], state: Path, saves: int) -> None:
    """SIGKILL the training once its state file was replaced `saves` times."""
    seen: set[tuple[int, int]] = set()
    deadline = time.monotonic() + 120
    while len(seen) <= saves and process.poll() is None and time.monotonic() < deadline:
        if state.exists():
            seen.add((state.stat().st_ino, state.stat().st_mtime_ns))
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert process.returncode == -signal.SIGKILL, f"ended before it could be killed: {errors}"


def test_a_killed_command_ends_with_the_same_bytes(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        _made_features(tmp_path / name)
    whole = _start(tmp_path / "whole")
    state = tmp_path / "killed" / "results" / "killed" / "state" / "seed0-base.pt"
    for saves in (3, 20):
        _kill_after_saves(_start(tmp_path / "killed"), state, saves)
    last = _start(tmp_path / "killed")
    _, log = last.communicate(timeout=120)
    _, whole_log = whole.communicate(timeout=120)
    assert (whole.returncode, last.returncode) == (0, 0), whole_log + log
    resumed = int(log.split("from step ")[1].split()[0])
    assert 20 < resumed < 200
    for file in ("base.safetensors", "base.losses.csv"):
        expected = (tmp_path / "whole" / "results" / "killed" / "seed0" / file).read_bytes()
        assert (tmp_path / "killed" / "results" / "killed" / "seed0" / file).read_bytes() == expected, file
    assert not state.exists()
