"""A tiny experiment that only waits for its predictions, and `drdc predict` in processes to be killed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from handing import handed_over
from stamping import stamped
from trainings import BASE, DIFFUSION, NAME, RESULTS, Forked, _forkserver, _main

from drdc.config.base import Base
from drdc.config.diffusion import Diffusion
from drdc.config.sampling import Sampling
from drdc.data.manifest import COLUMNS
from drdc.models.denoiser import Denoiser
from drdc.models.reconstructor import Reconstructor
from drdc.runtime.files import save_weights

CHANNELS, SIZE = 6, 16
SAMPLING: dict[str, Any] = {"steps": 2, "grid_sizes": [4, 8], "batch_size": 2}
PREDICTIONS = RESULTS / "seed0/predictions/full/nut.npy"
STATE = RESULTS / "state/seed0-predict-full-nut.npy"
NOTE = STATE.with_suffix(".json")


def make_experiment(folder: Path, images: int = 120) -> None:
    """Manifest, pixels, features and models with random weights; every fourth image is anomalous.

    `images` are predicted; one for training comes before them.
    """
    results = folder / RESULTS
    results.mkdir(parents=True)
    kinds = [("val", "good") if i < 4 else ("test", "good" if i % 4 else "bent") for i in range(images)]
    kinds.insert(0, ("train", "good"))
    images += 1
    rows = [
        (f"{i:05d}.png", "nut", split, int(kind != "good"), kind, "m.png" if kind != "good" else "", *[8] * 4)
        for i, (split, kind) in enumerate(kinds)
    ]
    table = pd.DataFrame([(*row, *[f"{i:064x}"] * 2) for i, row in enumerate(rows)], columns=list(COLUMNS))
    table.to_csv(results / "manifest.csv", index=False)
    rng = np.random.default_rng(0)
    np.save(results / "features.npy", rng.normal(size=(images, CHANNELS, 4, 4)).astype(np.float16))
    (results / "images").mkdir()
    np.save(results / f"images/{SIZE}.npy", rng.integers(0, 256, (images, SIZE, SIZE, 3), dtype=np.uint8))
    masks = np.zeros((images, SIZE, SIZE), dtype=bool)
    masks[table.label == 1, 4:9, 4:9] = True
    np.save(results / "masks.npy", masks)
    stamped(*(results / name for name in ("manifest.csv", "features.npy", f"images/{SIZE}.npy", "masks.npy")))
    torch.manual_seed(0)
    base, diffusion = Base(**BASE), Diffusion(**DIFFUSION)
    about = {"base": base.model_dump(), "channels": CHANNELS, "feature_size": 4}
    save_weights(results / "seed0/base.safetensors", Reconstructor(base, CHANNELS, 4).state_dict(), about)
    about = {"diffusion": diffusion.model_dump(), "image_size": SIZE}
    denoiser = Denoiser(diffusion)
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # untrained, it answers 0 to everything
    save_weights(results / "seed0/diffusion.safetensors", denoiser.state_dict(), about)


def arguments(folder: Path, **sampling: Any) -> list[str]:
    """Arguments of `drdc` that predict in `folder`; `sampling` changes settings."""
    stored = {"name": "full", "model": "diffusion", "detailed": True}
    settings = Sampling(**SAMPLING | sampling).model_dump(mode="json")
    config = handed_over(folder, NAME, "predict", image_size=SIZE, sampling=settings, stored=stored)
    return ["predict", "--category", "nut", "--threads", "1", "--config", config]


class Predicting(Forked):
    """`drdc predict` in a process forked from one that has imported torch already."""

    def __init__(self, folder: Path, **sampling: Any) -> None:
        self.messages_path = folder.parent / f"{time.monotonic_ns()}.log"
        self.process = _forkserver().Process(
            target=_main, args=(folder, arguments(folder, **sampling), self.messages_path, int), daemon=True
        )
        self.process.start()


def done(folder: Path) -> int:
    """Images whose predictions are safe on the disk."""
    note = folder / NOTE
    return json.loads(note.read_text())["done"] if note.exists() else 0
