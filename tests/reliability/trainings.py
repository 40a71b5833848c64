"""Tiny trainings on synthetic images, by the real command, for the tests that kill, starve or poison them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from handing import handed_over
from stamping import stamped

import drdc
from drdc import cli
from drdc.data.manifest import COLUMNS

NAME = "made"
RESULTS = Path("results", NAME)
BASE: dict[str, Any] = {
    "hidden": 8,
    "heads": 2,
    "feedforward": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "neighbour_window": 3,
    "epochs": 6,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "validations": 5,
    "save_images": 4,
}
DIFFUSION: dict[str, Any] = {
    "width": 32,
    "multipliers": [1],
    "attention_levels": [],
    "layers_per_block": 1,
    "grid_sizes": [4, 8],
    "images": 120,
    "batch_size": 4,
    "learning_rate": 1e-3,
    "validations": 5,
    "precision": "fp32",
    "save_images": 4,
}


def make_data(folder: Path) -> None:
    """A manifest of 20 training and 4 held-out images of 16 pixels, their pixels and features."""
    results = folder / RESULTS
    results.mkdir(parents=True)
    rows = [
        (
            f"nut/train/good/{i:02d}.png",
            "nut",
            "train" if i < 20 else "val",
            0,
            "good",
            "",
            *[8] * 4,
            *[f"{i:064x}"] * 2,
        )
        for i in range(24)
    ]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(results / "manifest.csv", index=False)
    rng = np.random.default_rng(0)
    np.save(results / "features.npy", rng.normal(size=(24, 6, 4, 4)).astype(np.float16))
    (results / "images").mkdir()
    np.save(results / "images/16.npy", rng.integers(0, 256, (24, 16, 16, 3), dtype=np.uint8))
    stamped(*(results / name for name in ("manifest.csv", "features.npy", "images/16.npy")))


def arguments(folder: Path, model: str, *options: str, **changes: Any) -> list[str]:
    """Arguments of `drdc` that train `model` in `folder`; `changes` are settings."""
    section, defaults = ("base", BASE) if model == "base" else ("diffusion", DIFFUSION)
    other: dict[str, Any] = {"backbone": {}} if model == "base" else {"image_size": 16}
    config = handed_over(folder, NAME, "train", **other, **{section: defaults | changes})
    return ["train", model, "--threads", "1", "--config", config, *options]


def start(folder: Path, model: str, *options: str, gpus: str = "", **changes: Any) -> subprocess.Popen[str]:
    """Start `drdc train` where these `gpus` are visible; its messages are read from `stderr`."""
    code = str(Path(drdc.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": code, "CUDA_VISIBLE_DEVICES": gpus}
    return subprocess.Popen(
        [sys.executable, "-m", "drdc", *arguments(folder, model, *options, **changes)],
        cwd=folder,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, model: str, *options: str, code: int = 0, **changes: Any) -> str:
    """Run `drdc train` to its end and check its exit code; returns its messages."""
    process = start(folder, model, *options, **changes)
    _, messages = process.communicate(timeout=300)
    assert process.returncode == code, messages
    assert "Traceback" not in messages
    return messages


def outputs(folder: Path, model: str) -> dict[str, bytes]:
    """The bytes of what a training leaves."""
    seed = folder / RESULTS / "seed0"
    return {name: (seed / name).read_bytes() for name in (f"{model}.safetensors", f"{model}.losses.csv")}


def states(folder: Path) -> set[str]:
    """Names of the files that a training would resume from."""
    kept = (folder / RESULTS / "state").iterdir()
    return {path.name for path in kept if not path.name.endswith(".lock")}


def _forkserver() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["drdc.stages.train"])
    return context


def _main(folder: Path, command: list[str], messages: Path, before: Callable[[], object]) -> None:
    os.chdir(folder)
    with messages.open("w") as file:
        os.dup2(file.fileno(), 2)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    torch.set_num_threads(1)  # what `--threads 1` does where torch is not imported yet
    before()
    sys.exit(cli.main(command))


class Forked:
    """`drdc train` in a process forked from one that has imported torch already: starting takes no seconds.

    The same code as the command's: `drdc.cli.main` in a process of its own, which can be killed.
    """

    def __init__(
        self,
        folder: Path,
        model: str,
        before: Callable[[], object] = int,
        messages: Path | None = None,
        **changes: Any,
    ) -> None:
        """`before` is a function of a module, called in the new process first; `messages` a file for them."""
        self.messages_path = messages or folder / f"{time.monotonic_ns()}.log"
        self.process = _forkserver().Process(
            target=_main,
            args=(folder, arguments(folder, model, **changes), self.messages_path, before),
            daemon=True,
        )
        self.process.start()

    def wait(self, code: int = 0) -> str:
        """Wait for its end and check its exit code; returns its messages."""
        self.process.join(300)
        assert self.process.exitcode == code, self.messages()
        assert "Traceback" not in self.messages()
        return self.messages()

    def messages(self) -> str:
        return self.messages_path.read_text() if self.messages_path.exists() else ""

    def signal(self, number: signal.Signals) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.join()
        assert self.process.exitcode == -signal.SIGKILL, self.messages()


def until(ready: Callable[[], bool], process: Forked | subprocess.Popen[str] | None = None) -> None:
    """Wait for something that happens while a process runs."""
    deadline = time.monotonic() + 120
    while not ready():
        if isinstance(process, Forked):
            assert process.process.is_alive(), f"ended too early: {process.messages()}"
        elif process is not None:
            assert process.poll() is None, f"ended too early: {process.communicate()}"
        assert time.monotonic() < deadline
        time.sleep(0.001)


def children(pid: int) -> list[int]:
    """Process ids of the children of a process."""
    tasks = Path("/proc", str(pid), "task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def running(pid: int) -> bool:
    """Whether a process still does something; one that only waits to be noted by its parent does not."""
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
