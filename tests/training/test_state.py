"""Saved states: the last two are kept, and what cannot be used is set aside with a sentence."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from drdc.runtime.errors import UserError
from drdc.training.state import Progress, State


def network(width: int = 4) -> dict[str, nn.Module | torch.optim.Optimizer]:
    """A network that has made one step, so that its optimiser has a state too."""
    torch.manual_seed(width)
    model = nn.Linear(3, width)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {"model": model, "optimizer": optimizer}


@pytest.fixture
def state(tmp_path: Path) -> State:
    """States of steps 1 and 2; the bias says which."""
    state = State(tmp_path / "seed0-base.pt", "mine")
    parts = network()
    for step in (1, 2):
        with torch.no_grad():
            parts["model"].bias.fill_(step)  # type: ignore[union-attr]
        state.save(parts, Progress(step, [{"images": 4.0 * step}], [0.5]))
    return state


def resumed(state: State) -> tuple[Progress, float]:
    parts = network()
    progress = state.resume(parts)
    return progress, parts["model"].bias[0].item()  # type: ignore[union-attr]


def names(state: State) -> set[str]:
    return {path.name for path in state.path.parent.iterdir()}


def test_time_is_that_of_all_calls_of_the_same_training(state: State) -> None:
    now = time.time()
    assert state.spend(now - 100) == pytest.approx(100, abs=5)
    assert state.spend(now - 100) == pytest.approx(100, abs=5), "the same call, a moment later"
    assert State(state.path, "mine").spend(now - 10) == pytest.approx(110, abs=5)
    assert State(state.path, "another").spend(now - 1) == pytest.approx(1, abs=5)
    state.clear()
    assert state.spend(now - 1) == pytest.approx(1, abs=5)


def test_the_last_two_are_kept_and_the_last_is_used(state: State) -> None:
    assert names(state) == {"seed0-base.pt", "seed0-base.previous.pt"}
    assert resumed(state) == (Progress(2, [{"images": 8.0}], [0.5]), 2.0)
    assert torch.load(state.previous, weights_only=True)["step"] == 1


def test_the_optimiser_goes_on_where_it_was(state: State) -> None:
    parts = network()
    state.resume(parts)
    saved = torch.load(state.path, weights_only=True)["optimizer"]["state"][0]["exp_avg"]
    assert torch.equal(parts["optimizer"].state_dict()["state"][0]["exp_avg"], saved)


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip_a_weight(path: Path) -> None:
    """torch.load alone would read it without a word."""
    weights = torch.load(path, weights_only=True)["model"]["weight"].numpy().tobytes()
    content = path.read_bytes()
    place = content.index(weights)
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert not torch.equal(
        torch.load(path, weights_only=True)["model"]["weight"].flatten()[:1],
        torch.frombuffer(bytearray(weights), dtype=torch.float32)[:1],
    )


def _foreign(path: Path) -> None:
    torch.save([1, 2, 3], path)


def _incomplete(path: Path) -> None:
    torch.save({"fingerprint": "mine", "step": 2, "history": [], "losses": []}, path)


def _of_another_network(path: Path) -> None:
    """Its code has changed since; the optimiser still fits in number."""
    content = torch.load(path, weights_only=True)
    torch.save(content | {name: part.state_dict() for name, part in network(5).items()}, path)


def _hostile(path: Path) -> None:
    torch.save({"fingerprint": "mine", "step": 2, "model": _Hostile(path.with_suffix(".ran"))}, path)


class _Hostile:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


DAMAGE = [_truncate, _empty, _flip_a_weight, _foreign, _incomplete, _of_another_network, _hostile]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_state_that_cannot_be_used_is_set_aside_for_the_one_before(
    state: State, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    damage(state.path)
    with caplog.at_level(logging.WARNING):
        assert resumed(state) == (Progress(1, [{"images": 4.0}], [0.5]), 1.0)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{state.path} cannot be used (")
    assert "\n" not in message
    assert names(state) == {"seed0-base.previous.pt", "seed0-base.unusable.pt"}


@pytest.mark.parametrize("damage", DAMAGE)
def test_without_a_usable_state_the_network_stays_as_it_was_made(
    state: State, damage: Callable[[Path], None]
) -> None:
    damage(state.path)
    damage(state.previous)
    parts, fresh = network(), network()
    assert state.resume(parts) == Progress(0, [], [])
    for name, part in parts.items():
        _assert_equal(part.state_dict(), fresh[name].state_dict())


def _assert_equal(one: object, other: object) -> None:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            _assert_equal(value, other[key])
    else:
        assert one == other


def test_a_kill_between_both_moves_leaves_the_state_before(state: State) -> None:
    state.path.replace(state.previous)
    assert resumed(state)[0].step == 2


def test_too_little_memory_does_not_condemn_a_good_state(state: State) -> None:
    class Full(nn.Linear):
        def load_state_dict(self, *_: object, **__: object) -> None:  # type: ignore[override]
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with pytest.raises(torch.OutOfMemoryError):
        state.resume(network() | {"model": Full(3, 4)})
    assert resumed(state)[0].step == 2


def test_a_state_that_the_disk_does_not_give_is_named(state: State) -> None:
    state.path.unlink()
    state.path.mkdir()
    with pytest.raises(UserError, match=r"seed0-base\.pt: cannot be read"):
        resumed(state)


def test_a_state_of_other_settings_is_left_alone(state: State) -> None:
    other = State(state.path, "other")
    assert other.resume(network()) == Progress(0, [], [])
    assert names(state) == {"seed0-base.pt", "seed0-base.previous.pt"}
    other.save(network(), Progress(7, [], []))
    assert resumed(state)[0].step == 2  # back to the former settings: their last state is still there


def test_what_was_stopped_is_refused_until_something_changes(state: State) -> None:
    state.refuse_if_stopped()
    state.stop(UserError("", "the loss is nan", "lower it"))
    with pytest.raises(UserError, match=r"stopped on an earlier start.*: the loss is nan; lower it"):
        state.refuse_if_stopped()
    State(state.path, "other").refuse_if_stopped()
    state.stopped.unlink()
    state.refuse_if_stopped()


def test_a_finished_training_leaves_nothing(state: State) -> None:
    _truncate(state.path)
    resumed(state)
    state.save(network(), Progress(3, [], []))
    state.stop(UserError("", "the loss is nan", "lower it"))
    state.clear()
    assert names(state) == set()


def test_leftovers_of_kills_and_of_phases_go_too_and_nothing_else(state: State) -> None:
    folder = state.path.parent
    for name in (".seed0-base.pt.partial", "seed0-base.unusable.pt", "seed0-base.teacher.done.pt"):
        (folder / name).touch()
    others = {"seed0-base.pt.lock", "seed0-baseline.pt", "seed10-base.pt", "seed0-predict-full-nut.npy"}
    for name in others:
        (folder / name).touch()
    state.clear()
    assert names(state) == others


@pytest.mark.parametrize("content", ["[]", '"text"', "{}", '{"fingerprint": "mine"}', "null"])
def test_a_damaged_note_of_a_stop_stops_nothing(state: State, content: str) -> None:
    state.stopped.write_text(content)
    state.refuse_if_stopped()
