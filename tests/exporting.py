"""A whole small experiment with its exported model, for the tests of the detector."""

from __future__ import annotations

import os
from contextlib import chdir
from pathlib import Path
from typing import Any
from unittest.mock import patch

import yaml

from drdc import cli

ROOT = Path(__file__).parents[1]
#: 20 held-out images, enough for a rate of 0.05, and as much training as it takes to see a blot.
CHANGES: dict[str, dict[str, Any]] = {
    "dataset": {"holdout": 0.4, "synthetic": {"train": 25, "test_good": 2, "test_bad": 4, "size": 64}},
    "diffusion": {"images": 480, "learning_rate": 2e-3, "max_timestep": 100, "ema_decay": 0.95},
    "sampling": {"initial_index": 50},
    "evaluation": {"ablation": False, "sweeps": {"steps": [1]}, "costs": []},
}
STAGES = [
    *("prepare", "images 32", "images 64", "features", "groups"),
    *("train base", "train diffusion", "predict", "score"),
    *("predict steps=1", "score steps=1", "self-check", "export"),
]


def drdc(folder: Path, *arguments: str) -> int:
    """The exit code of a command, run in this process with `folder` as working directory."""
    with chdir(folder), patch.dict(os.environ):
        return cli.main(arguments)


def experiment(folder: Path, stages: list[str] = STAGES, **changes: dict[str, Any]) -> Path:
    """Run stages of `tests/workflow/tiny.yaml` with `CHANGES` in `folder`; gives `results/tiny` there."""
    config = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
    for section, settings in (CHANGES | changes).items():
        config[section] = config.get(section, {}) | settings
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for stage in stages:
        assert drdc(folder, *stage.split(), "--config", "config.yaml", "--threads", "1") == 0, stage
    return folder / "results/tiny"
