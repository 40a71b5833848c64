"""Tiny trainings on made data, by the real command, for the tests that kill, starve or poison them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import drdc
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
        (f"nut/train/good/{i:02d}.png", "nut", "train" if i < 20 else "val", 0, "good", "", 8, 8, f"{i:064x}")
        for i in range(24)
    ]
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(results / "manifest.csv", index=False)
    rng = np.random.default_rng(0)
    np.save(results / "features.npy", rng.normal(size=(24, 6, 4, 4)).astype(np.float16))
    np.save(results / "images.npy", rng.integers(0, 256, (24, 16, 16, 3), dtype=np.uint8))


def arguments(model: str, *options: str, **changes: Any) -> list[str]:
    """Arguments of `drdc` that train `model`; `changes` are settings."""
    section, defaults = ("base", BASE) if model == "base" else ("diffusion", DIFFUSION)
    config = json.dumps({"experiment": NAME, section: defaults | changes})
    return ["train", model, "--threads", "1", "--config", config, *options]


def start(folder: Path, model: str, *options: str, **changes: Any) -> subprocess.Popen[str]:
    """Start `drdc train`; its messages are read from `stderr`."""
    environment = os.environ | {"PYTHONPATH": str(Path(drdc.__file__).parents[1]), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "drdc", *arguments(model, *options, **changes)],
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
