"""Costs: all methods are timed in turns, and a disturbance of one round does not count."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from exporting import drdc
from torch import nn

from drdc.stages import costs
from drdc.stages.costs import ROUNDS, described, timed


def test_methods_take_turns_in_at_least_five_rounds() -> None:
    order: list[int] = []
    timed([lambda _, i=i: order.append(i) for i in range(3)], images=2)
    assert order == [0, 1, 2] * ROUNDS
    assert ROUNDS >= 5


def test_a_disturbance_of_some_rounds_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times slower in all rounds but one, and the other method as fast as ever."""
    clock = np.zeros(2)
    monkeypatch.setattr(costs, "_now", clock.copy)
    seconds = iter([10.0, 10.0, 1.0, 10.0, 10.0])

    def disturbed(_: slice) -> None:
        clock[:] += next(seconds), 2.0

    def steady(_: slice) -> None:
        clock[:] += 0.5, 0.25

    first, second = timed([disturbed, steady], images=2)
    assert first == {"seconds_per_image": 0.5, "cpu_seconds_per_image": 1.0}
    assert second == {"seconds_per_image": 0.25, "cpu_seconds_per_image": 0.125}


def test_cpu_time_is_that_of_the_work_alone() -> None:
    def work(_: slice) -> None:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass

    waiting, working = timed([lambda _: time.sleep(0.02), work], images=2)
    assert waiting["cpu_seconds_per_image"] < 0.005 < working["cpu_seconds_per_image"]
    assert min(waiting["seconds_per_image"], working["seconds_per_image"]) >= 0.01


def test_parameters_and_operations_of_a_linear_layer() -> None:
    layer, images = nn.Linear(3, 5), torch.zeros(4, 3)
    facts = described(lambda batch: layer(images[batch]), [layer], 4)
    assert (facts["parameters"], facts["flops"]) == (20, 30)


def test_memory_of_methods_loaded_before_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_peak", lambda: 1000.0)
    found = costs._Measurements(images=1)
    shared, other, own = nn.Linear(2, 2), nn.Linear(4, 4), nn.Linear(1, 1)
    for head, networks in ({"method": "a"}, [shared, other]), ({"method": "b"}, [shared, own]):
        found.add(head, lambda _: None, networks)
    first, second = found.rows()
    assert first["peak_memory"] == 1000
    assert second["peak_memory"] == 1000 - 4 * (16 + 4)


def test_the_stage_writes_a_row_a_method(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported.parents[1], tmp_path, dirs_exist_ok=True)
    assert drdc(tmp_path, "costs", "--config", "config.yaml", "--threads", "1") == 0
    frame = pd.read_csv(tmp_path / "results/tiny/costs.csv")
    assert frame["method"].tolist() == ["base", "drdc"]
    assert (frame[["seconds_per_image", "cpu_seconds_per_image", "parameters", "flops"]] > 0).all(axis=None)
    assert frame["seconds_per_image"].is_monotonic_increasing
    assert set(frame["batch_size"]) == {4}
