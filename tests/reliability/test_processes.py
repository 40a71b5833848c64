"""One training in two processes: the result of one process up to rounding, also when it is killed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file
from stamping import stamped
from trainings import RESULTS, Forked, children, make_data, outputs, run, running, start, states, until

#: In float32 on any processor: sums of bf16 products depend on how many are summed at once.
SAME: dict[str, dict[str, object]] = {
    "base": {"dropout": 0.0, "precision": "fp32"},
    "diffusion": {"loss_region": "hole", "precision": "fp32"},
}


def result(folder: Path, model: str) -> tuple[np.ndarray, pd.DataFrame]:
    """All weights in a row, and the loss curve."""
    seed = folder / RESULTS / "seed0"
    tensors = load_file(seed / f"{model}.safetensors").values()
    return np.concatenate([tensor.flatten() for tensor in tensors]), pd.read_csv(seed / f"{model}.losses.csv")


@pytest.fixture(scope="module")
def trained_by_two(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, str]]:
    """Folder and messages of a training that is given two GPUs, made once.

    They are made up: the processes have one each, and compute on the CPU.
    """

    @cache
    def train(model: str) -> tuple[Path, str]:
        folder = tmp_path_factory.mktemp(model)
        make_data(folder)
        return folder, run(folder, model, "--gpu", "2", gpus="made-a,made-b", **SAME[model])

    return train


@pytest.mark.long
@pytest.mark.parametrize("model", ["base", "diffusion"])
def test_two_processes_give_the_weights_of_one(
    tmp_path: Path, trained_by_two: Callable[[str], tuple[Path, str]], model: str
) -> None:
    """Each draws the noise of the whole batch and computes its half."""
    make_data(tmp_path)
    single = Forked(tmp_path, model, **SAME[model])
    folder, messages = trained_by_two(model)
    single.wait()
    assert "30 steps of 4 images (2 processes with 2 each), learning rate 0.001, from step 0" in messages
    assert messages.count("held out") == 5  # one of them logs
    weights, curve = result(folder, model)
    expected_weights, expected_curve = result(tmp_path, model)
    # Rounding decides about the few weights that have no gradient, such as a bias before a normalisation:
    # AdamW divides it by its own size.
    assert np.quantile(np.abs(weights - expected_weights), 0.95) < 1e-6
    pd.testing.assert_frame_equal(curve, expected_curve, rtol=1e-5)


@pytest.mark.long
def test_two_processes_end_with_their_parent_and_go_on_together(
    tmp_path: Path, trained_by_two: Callable[[str], tuple[Path, str]]
) -> None:
    make_data(tmp_path)
    training = start(tmp_path, "base", "--processes", "2", **SAME["base"])
    until((tmp_path / RESULTS / "state/seed0-base.previous.pt").exists, training)
    workers = children(training.pid)
    assert len(workers) >= 2
    training.send_signal(signal.SIGKILL)
    training.communicate()
    until(lambda: not any(running(pid) for pid in workers))
    assert "from step 0" not in run(tmp_path, "base", "--processes", "2", **SAME["base"])
    folder, _ = trained_by_two("base")
    assert outputs(tmp_path, "base") == outputs(folder, "base")
    assert states(tmp_path) == set()


@pytest.mark.long
def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    make_data(tmp_path)
    message = run(tmp_path, "base", "--processes", "3", code=2)
    assert "base.batch_size: 4 images cannot be divided among 3 processes; choose a multiple of 3" in message


@pytest.mark.long
def test_what_breaks_in_one_of_two_processes_is_told_as_by_one(tmp_path: Path) -> None:
    """A poisoned image spoils the gradient of both; the sentence, its end and the exit code are the same."""
    make_data(tmp_path)
    features = np.load(tmp_path / RESULTS / "features.npy")
    features[7] = np.nan
    np.save(tmp_path / RESULTS / "features.npy", features)
    stamped(tmp_path / RESULTS / "features.npy")
    message = run(tmp_path, "base", "--processes", "2", code=2)
    (told,) = [line for line in message.splitlines() if "drdc: " in line]
    assert "the loss is nan at step" in told
    assert "nut/train/good/07.png" in told
    assert "seed0-base.stopped.json" in states(tmp_path)


@pytest.mark.parametrize(
    ("options", "gpus", "sentence"),
    [
        (
            ["--gpu", "2", "--processes", "3"],
            "made-a,made-b",
            "--processes 3: with GPUs there is one process",
        ),
        (["--processes", "2"], "made-a,made-b", "give --gpu 2"),
        (["--processes", "0"], "", "must be an integer from 1 to 4096, got '0'"),
    ],
)
def test_processes_that_do_not_fit_the_gpus_are_refused(
    tmp_path: Path, options: list[str], gpus: str, sentence: str
) -> None:
    make_data(tmp_path)
    assert sentence in run(tmp_path, "base", *options, code=2, gpus=gpus)
