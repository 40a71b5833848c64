"""Trainings whose numbers break: the images are named, the last good state is kept, nothing is retried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from stamping import stamped
from trainings import RESULTS, Forked, make_data, run, states

STOPPED = "state/seed0-base.stopped.json"


def set_feature(folder: Path, row: int, value: float) -> None:
    features = np.load(folder / RESULTS / "features.npy")
    features[row, 0, 0, 0] = value
    np.save(folder / RESULTS / "features.npy", features)
    stamped(folder / RESULTS / "features.npy")


@pytest.mark.long
def test_a_poisoned_image_is_named_and_the_same_command_stops_at_once(tmp_path: Path) -> None:
    make_data(tmp_path)
    set_feature(tmp_path, 7, np.inf)
    first = run(tmp_path, "base", code=2)
    told = first[first.index("drdc: ") :]
    assert told.count("\n") == 1
    assert "the loss is nan at step" in told
    assert "learning rate 0.001" in told
    assert "nut/train/good/07.png" in told
    assert f"delete {RESULTS}/{STOPPED}" in told
    step = int(told.split("at step ")[1].split()[0])
    kept = torch.load(tmp_path / RESULTS / "state/seed0-base.pt", weights_only=True)
    assert kept["step"] == step - 2  # the last one whose next loss and gradient were finite
    assert all(torch.isfinite(value).all() for value in kept["model"].values())

    again = run(tmp_path, "base", code=2)  # what a retry of the workflow does
    assert "stopped on an earlier start, nothing is computed" in again
    assert again.strip().endswith(told.removeprefix("drdc: ").strip())
    assert "from step" not in again

    (tmp_path / RESULTS / STOPPED).unlink()
    assert f"from step {step - 2}" in Forked(tmp_path, "base").wait(code=2)

    set_feature(tmp_path, 7, 0)
    assert "from step 0" in Forked(tmp_path, "base").wait()  # other data: no reason to stop
    assert states(tmp_path) == set()


def test_an_enormous_learning_rate_stops_and_a_smaller_one_trains(tmp_path: Path) -> None:
    make_data(tmp_path)
    message = Forked(tmp_path, "diffusion", learning_rate=1e30).wait(code=2)
    assert "(learning rate 1e+30, images nut/train/good/" in message
    assert "change diffusion.learning_rate or diffusion.clip_norm" in message
    assert states(tmp_path) == {"seed0-diffusion.stopped.json"}  # no good state had been reached
    Forked(tmp_path, "diffusion").wait()
    assert states(tmp_path) == set()


def test_a_base_model_that_knows_no_more_than_the_means_of_the_categories_is_told(tmp_path: Path) -> None:
    make_data(tmp_path)  # of noise alone, in which the mean is the best that can be learned
    messages = Forked(tmp_path, "base").wait()
    losses = pd.read_csv(tmp_path / RESULTS / "seed0/base.losses.csv")
    assert losses.val_loss.iloc[-1] > losses.means_loss.iloc[-1] == pytest.approx(1.05, abs=0.05)
    assert "is not below" in messages
    assert "raise base.epochs" in messages
