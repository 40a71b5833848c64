"""The training loop: schedule, moving average, and an interrupted run that ends like an uninterrupted one."""

from __future__ import annotations

import itertools
import json
import math
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from drdc.config.base import Base
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError
from drdc.training import loop
from drdc.training.distributed import Group
from drdc.training.job import Job, finish
from drdc.training.loop import Task, learning_rate, optimizer, parameter_groups, train
from drdc.training.sampler import BatchSampler

STEPS, BATCH, IMAGES = 20, 4, 10
PATHS = np.array([f"nut/{i}.png" for i in range(IMAGES)])


class Stop(Exception):
    """An interruption."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def optimisation(**changes: Any) -> Base:
    defaults: dict[str, Any] = {
        "batch_size": BATCH,
        "learning_rate": 0.01,
        "schedule": "cosine",
        "warmup": 0.1,
        "clip_norm": 1.0,
        "validations": 4,
        "save_images": 1,  # after every step
    }
    return Base(**defaults | changes)


def job(name: str = "whole", seed: int = 0, **changes: Any) -> Job:
    """A training with files of its own in `results/<name>`."""
    return Job(Layout(name), seed, "base", optimisation(**changes), "fingerprint")


def task(
    ema: float | None = None,
    stop_at: int | None = None,
    watch: Callable[[nn.Module], object] | None = None,
    fault: Callable[[], None] | None = None,
    factor: Callable[[int], float] = lambda _: 1.0,
) -> Task:
    """A small network with batch norm and dropout; its loss raises at its call number `stop_at` (from 0)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))
    data = torch.linspace(-1, 1, 3 * IMAGES).view(IMAGES, 3).sin()
    calls = itertools.count()

    def loss(network: nn.Module, rows: Any, noise: Tensor, part: slice) -> Tensor:
        if watch is not None:
            watch(model)
        number = next(calls)
        if number == stop_at:
            if fault is not None:
                fault()
            raise Stop
        x = data[torch.as_tensor(rows[part])]
        error = network(x + 0.1 * noise[part]) - x.sum(1, keepdim=True)
        return error.square().mean() * factor(number)

    def held_out_loss(network: nn.Module) -> float:
        torch.manual_seed(1)
        return float((network(data) - data.sum(1, keepdim=True)).square().mean())

    rows = BatchSampler(np.arange(IMAGES), np.array(["a", "b"] * (IMAGES // 2)), BATCH, 0, False)
    return Task(
        model, rows, PATHS, lambda batch: torch.randn(batch, 3), loss, held_out_loss, STEPS * BATCH, ema
    )


def run(todo: Task, what: Job) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    model, history = train(todo, what, Group())
    return model.state_dict(), history


def assert_same(one: tuple[dict[str, Tensor], Any], other: tuple[dict[str, Tensor], Any]) -> None:
    """Bit-identical weights and loss curve."""
    assert one[0].keys() == other[0].keys()
    for key, value in one[0].items():
        assert torch.equal(value, other[0][key]), key
    assert one[1] == other[1]


def saved_step(what: Job) -> int:
    path = what.state.path
    return torch.load(path, weights_only=True)["step"] if path.exists() else 0


# --- resuming --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("trial", range(3))
def test_a_run_stopped_anywhere_ends_as_if_never_stopped(ema: float | None, trial: int) -> None:
    expected = run(task(ema), job())
    choose, stopped = random.Random(trial), job("stopped")
    for _ in range(4):
        try:
            result = run(task(ema, stop_at=choose.randrange(1, 7)), stopped)
        except Stop:
            continue
        break
    else:
        result = run(task(ema), stopped)
    assert_same(result, expected)


@pytest.mark.parametrize("stop", [1, 5, 6, 7, 13, STEPS - 1])
def test_steps_after_the_last_saved_state_are_done_again(stop: int) -> None:
    expected = run(task(0.9), job(save_images=None))
    assert not job().state.path.exists()
    often = job("stopped", save_images=3 * BATCH)
    with pytest.raises(Stop):
        run(task(0.9, stop_at=stop), often)
    saved = saved_step(often)
    assert saved == (stop - 1) // 3 * 3  # a step's state is saved before its update
    again = itertools.count()
    assert_same(run(task(0.9, watch=lambda _: next(again)), often), expected)
    assert next(again) == STEPS - saved


def test_a_state_is_saved_after_minutes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = itertools.count()  # a clock that is read at each step, and when a state was saved
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: 60.0 * next(minutes)))
    slow = job("stopped", save_images=None, save_minutes=3.5)
    with pytest.raises(Stop):
        run(task(stop_at=6), slow)
    assert saved_step(slow) in (3, 4)


def test_the_time_of_a_training_is_that_of_all_its_calls_and_phases() -> None:
    stopped = replace(job("stopped"), kind="base.phase", began=time.time() - 100)
    with pytest.raises(Stop):
        run(task(stop_at=6), stopped)
    resumed = replace(stopped, began=time.time() - 10)
    model, history = train(task(), resumed, Group())
    finish(replace(resumed, kind="base"), model, history, {})
    noted = json.loads(Path("results/stopped/benchmarks/train.seed0.base.json").read_text())
    assert noted["s"] == pytest.approx(110, abs=5)


def test_an_interrupt_from_the_keyboard_is_like_any_other() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(task(0.9, stop_at=9, fault=interrupt), job("stopped"))
    assert_same(run(task(0.9), job("stopped")), run(task(0.9), job()))


# --- how a step is computed ------------------------------------------------------------------------------


def plain_task() -> Task:
    """A network without batch norm and dropout, for which the parts of a batch are independent."""
    torch.manual_seed(0)
    whole = task(0.9)
    return replace(whole, model=nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)))


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_has_the_same_gradient(parts: int) -> None:
    expected = run(plain_task(), job())
    given = run(plain_task(), job("parts", accumulation=parts))
    assert any(not torch.equal(value, given[0][key]) for key, value in expected[0].items())
    for key, value in expected[0].items():
        torch.testing.assert_close(given[0][key], value, rtol=1e-4, atol=1e-6)
    for one, other in zip(expected[1], given[1], strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(UserError, match=r"base.accumulation: 4 images of a process cannot be divided by 3"):
        run(plain_task(), job(accumulation=3))


def test_each_part_is_computed_alone() -> None:
    seen: list[slice] = []
    todo = plain_task()

    def loss(network: nn.Module, rows: Any, noise: Tensor, part: slice) -> Tensor:
        seen.append(part)
        return todo.loss(network, rows, noise, part)

    run(replace(todo, loss=loss), job(accumulation=2))
    assert seen == [slice(0, 2), slice(2, 4)] * STEPS


@pytest.mark.parametrize("every", [3, 50])
def test_looking_at_the_losses_later_changes_nothing(every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(task(0.9), job())
    monkeypatch.setitem(loop.LOOK_EVERY, "cpu", every)
    assert_same(run(task(0.9), job("later")), expected)
    stopped = job("stopped")
    for number in (8, 5):
        with pytest.raises(Stop):
            run(task(0.9, stop_at=number), stopped)
    assert saved_step(stopped) > 0
    assert_same(run(task(0.9), stopped), expected)


def test_a_step_that_was_not_finite_is_named_however_late_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loop.LOOK_EVERY, "cpu", 50)
    what = job(validations=2)
    with pytest.raises(UserError, match=r"the loss is nan at step 13 of 20"):
        run(task(factor=lambda number: math.nan if number == 12 else 1.0), what)
    assert saved_step(what) <= 12
    with pytest.raises(UserError, match="stopped on an earlier start"):
        what.state.refuse_if_stopped()


@pytest.mark.long
def test_a_compiled_network_learns_the_same() -> None:
    expected = run(plain_task(), job())
    given = run(replace(plain_task(), compiled=True), job("compiled"))
    assert given[0].keys() == expected[0].keys()
    for key, value in expected[0].items():
        torch.testing.assert_close(given[0][key], value, rtol=1e-4, atol=1e-6)


# --- numbers that are not finite -------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named(value: float) -> None:
    broken = job(schedule="constant", warmup=0.0)
    todo = task(factor=lambda call: value if call == 5 else 1.0)
    with pytest.raises(UserError) as caught:
        run(todo, broken)
    message = str(caught.value)
    assert "the loss is" in message
    assert "step 6 of 20" in message
    assert "learning rate 0.01" in message
    assert all(PATHS[row] in message for row in todo.sampler.batch(5))
    assert "base.learning_rate" in message
    assert saved_step(broken) == 4
    noted = json.loads(broken.state.stopped.read_text())
    assert f"{noted['problem']}; {noted['fix']}" == message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_held_out_loss_that_is_not_finite_is_named(value: float) -> None:
    broken, todo = job(), task()
    with pytest.raises(UserError, match=f"the held-out loss is {value} at step ") as caught:
        run(replace(todo, held_out_loss=lambda _: value), broken)
    assert "change base.learning_rate or base.clip_norm" in str(caught.value)
    with pytest.raises(UserError, match="stopped on an earlier start"):
        broken.state.refuse_if_stopped()


def test_a_gradient_that_is_not_finite_is_named_before_it_spoils_the_weights() -> None:
    todo = task()

    def steep(network: nn.Module, rows: Any, noise: Tensor, part: slice) -> Tensor:
        """Zero with a gradient of infinity, as of a square root at 0."""
        return todo.loss(network, rows, noise, part).mul(0).sqrt()

    broken = Task(
        todo.model, todo.sampler, PATHS, todo.draw, steep, todo.held_out_loss, todo.images, todo.ema_decay
    )
    with pytest.raises(UserError, match=r"norm of the gradient is (nan|inf) at step 1 "):
        run(broken, job(clip_norm=None))
    assert all(torch.isfinite(value).all() for value in todo.model.state_dict().values())


def test_a_network_that_has_left_all_bounds_is_not_saved() -> None:
    """The update of an enormous rate is itself finite: the numbers break in the next step."""
    wild = job(learning_rate=1e30, clip_norm=None, schedule="constant", warmup=0.0)
    with pytest.raises(UserError, match=r"is (nan|inf) at step"):
        run(task(), wild)
    assert not wild.state.path.exists()


def test_without_a_limit_the_gradient_keeps_its_bits() -> None:
    assert_same(run(task(), job(clip_norm=None)), run(task(), job("other", clip_norm=1e30)))


# --- what a run gives ------------------------------------------------------------------------------------


def test_the_loss_curve_has_a_row_for_each_validation() -> None:
    _, history = run(task(), job(validations=4))
    assert [row["images"] for row in history] == [20, 40, 60, 80]
    assert all(set(row) == {"images", "train_loss", "val_loss", "lr"} for row in history)
    assert history[-1]["val_loss"] < history[0]["val_loss"]
    _, short = run(task(), job("other", validations=100))
    assert [row["images"] for row in short] == [BATCH * (i + 1) for i in range(STEPS)]


def test_runs_of_another_seed_differ() -> None:
    one, _ = run(task(), job())
    other, _ = run(task(), job(seed=1))
    assert not torch.equal(one["0.weight"], other["0.weight"])


@pytest.mark.parametrize("decay", [0.15, 0.5, 0.9999])
def test_the_moving_average_follows_its_recursion(decay: float) -> None:
    seen: list[Tensor] = []
    todo = task(decay, watch=lambda model: seen.append(model[0].weight.detach().clone()))  # type: ignore[index]
    average, _ = run(todo, job())
    weights = [*seen[1:], todo.model[0].weight.detach()]  # type: ignore[index]
    expected = weights[0].double()  # the average begins with the weights after the first step
    for count, value in enumerate(weights[1:], start=1):
        share = min(decay, (1 + count) / (10 + count))
        expected = share * expected + (1 - share) * value.double()
    assert len(weights) == STEPS
    torch.testing.assert_close(average["0.weight"].double(), expected, atol=1e-6, rtol=1e-6)
    assert not torch.equal(average["0.weight"], todo.model[0].weight)  # type: ignore[index]


def test_a_training_of_no_image_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^base\.epochs: amounts to less than one training image; raise it$"):
        train(replace(task(), images=0), job(), Group())
    assert not job().state.path.exists()


def test_the_log_names_batch_and_learning_rate(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        run(task(), job())
    assert "20 steps of 4 images (one process), learning rate 0.01, from step 0" in caplog.text


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


def test_steps_at_milestones() -> None:
    values = rates(schedule="step", milestones=[0.8, 0.9], decay=0.2)
    assert values == pytest.approx([1.0] * 80 + [0.2] * 10 + [0.04] * 10)


def test_exponential_decay_is_the_same_factor_in_each_step() -> None:
    values = rates(schedule="exponential", decay=0.05)
    factors = [b / a for a, b in itertools.pairwise(values)]
    assert factors == pytest.approx([0.05 ** (1 / 100)] * 99)
    assert values[0] * values[-1] == pytest.approx(0.05)


def test_a_cosine_may_end_above_zero() -> None:
    values = rates(schedule="cosine", floor=0.1, steps=1000)
    assert values[-1] == pytest.approx(0.1, abs=1e-4)
    assert values[499] + values[500] == pytest.approx(1.1)


# --- optimisers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", "AdamW"), ("adam", "Adam"), ("sgd", "SGD"), ("stable_adamw", "StableAdamW")],
)
def test_the_optimiser_is_the_one_that_is_named(name: str, kind: str) -> None:
    settings = optimisation(optimizer=name, betas=(0.5, 0.9), weight_decay=0.25, learning_rate=2.0)
    made = optimizer(settings, parameter_groups(nn.Linear(2, 1), {}))
    assert type(made).__name__ == kind
    (group,) = made.param_groups
    assert (group["lr"], group["weight_decay"]) == (2.0, 0.25)
    assert group.get("betas", (group.get("momentum"), 0.9)) == (0.5, 0.9)


def test_parts_of_a_network_may_learn_at_other_rates_and_frozen_ones_do_not() -> None:
    network = nn.Sequential(*(nn.Linear(2, 2, bias=False) for _ in range(3)))
    network[2].requires_grad_(False)
    before = [layer.weight.clone() for layer in network]
    settings = optimisation(optimizer="sgd", betas=(0.0, 0.9), weight_decay=0.0)
    made = optimizer(settings, parameter_groups(network, {"1": 0.5}))
    for group in made.param_groups:
        group["lr"] = group["factor"]
    network(torch.ones(1, 2)).sum().backward()
    made.step()
    for layer, old, rate in zip(network, before, (1.0, 0.5, None), strict=True):
        expected = old if rate is None else old - rate * layer.weight.grad
        torch.testing.assert_close(layer.weight, expected)


@pytest.mark.parametrize("name", ["sgd", "stable_adamw"])
def test_another_optimiser_resumes_as_if_never_stopped(name: str) -> None:
    expected = run(task(), job(optimizer=name))
    with pytest.raises(Stop):
        run(task(stop_at=9), job("stopped", optimizer=name))
    assert_same(run(task(), job("stopped", optimizer=name)), expected)
