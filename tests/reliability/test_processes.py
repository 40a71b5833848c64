"""One training in two processes: the result of one process up to rounding, also when it is killed."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from trainings import RESULTS, Forked, children, make_data, outputs, run, start, states, until

SAME: dict[str, dict[str, object]] = {"base": {"dropout": 0.0}, "diffusion": {"loss_region": "hole"}}


def result(folder: Path, model: str) -> tuple[np.ndarray, pd.DataFrame]:
    """All weights in a row, and the loss curve."""
    seed = folder / RESULTS / "seed0"
    tensors = load_file(seed / f"{model}.safetensors").values()
    return np.concatenate([tensor.flatten() for tensor in tensors]), pd.read_csv(seed / f"{model}.losses.csv")


@pytest.mark.parametrize("model", ["base", "diffusion"])
def test_two_processes_give_the_weights_of_one(tmp_path: Path, model: str) -> None:
    """Each draws the noise of the whole batch and computes its half; killed, both go on together."""
    one, two, killed = (tmp_path / name for name in ("one", "two", "killed"))
    for folder in (one, two, killed):
        make_data(folder)
    single = Forked(one, model, **SAME[model])
    messages = run(two, model, "--processes", "2", **SAME[model])
    single.wait()
    assert "30 steps of 4 images (2 processes with 2 each), learning rate 0.001, from step 0" in messages
    assert messages.count("held out") == 5  # one of them logs
    weights, curve = result(two, model)
    expected_weights, expected_curve = result(one, model)
    # Rounding decides about the few weights that have no gradient, such as a bias before a normalisation:
    # AdamW divides it by its own size.
    assert np.quantile(np.abs(weights - expected_weights), 0.99) < 2e-6
    pd.testing.assert_frame_equal(curve, expected_curve, rtol=1e-5)

    training = start(killed, model, "--processes", "2", **SAME[model])
    until((killed / RESULTS / f"state/seed0-{model}.previous.pt").exists, training)
    workers = children(training.pid)
    assert len(workers) >= 2
    training.send_signal(signal.SIGKILL)
    until(lambda: not any(Path("/proc", str(pid)).exists() for pid in workers))
    training.communicate()
    assert "from step 0" not in run(killed, model, "--processes", "2", **SAME[model])
    assert outputs(killed, model) == outputs(two, model)
    assert states(killed) == states(two) == set()


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    make_data(tmp_path)
    message = run(tmp_path, "base", "--processes", "3", code=2)
    assert "base.batch_size: 4 images cannot be shared by 3 processes; choose a multiple of 3" in message


def test_what_breaks_in_one_of_two_processes_is_told_as_by_one(tmp_path: Path) -> None:
    """A poisoned image spoils the gradient of both; the sentence, its end and the exit code are the same."""
    make_data(tmp_path)
    features = np.load(tmp_path / RESULTS / "features.npy")
    features[7] = np.nan
    np.save(tmp_path / RESULTS / "features.npy", features)
    message = run(tmp_path, "base", "--processes", "2", code=2)
    (told,) = [line for line in message.splitlines() if "drdc: " in line]
    assert "the loss is nan at step" in told
    assert "nut/train/good/07.png" in told
    assert "seed0-base.stopped.json" in states(tmp_path)
