"""A training as the workflow starts it, with the huge pages that it asks the kernel for and without.

How much they are worth depends on the machine's memory: the more it is cut into pieces, the more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from drdc.experiment.experiment import load_experiment
from drdc.results.layout import Layout
from drdc.runtime.allocator import TUNABLES, VARIABLE

from ..harness import Contestant, Race, Size, peak_of, python
from ..stored import demo_settings, write_images, write_manifest

STEPS, SIDE = 8, 128


def races(size: Size) -> Iterator[Race]:
    settings = demo_settings() | {"seeds": [0], "evaluation": {"ablation": False, "sweeps": {}, "costs": []}}
    settings["diffusion"] |= {"images": settings["diffusion"]["batch_size"] * STEPS, "validations": 1}
    settings["dataset"]["image_size"] = SIDE
    if size.tiny:
        settings["dataset"]["image_size"] = 32
        settings["diffusion"] |= {"multipliers": [1], "attention_levels": []}
    with TemporaryDirectory() as folder, chdir(folder):
        Path("config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        experiment = load_experiment("config.yaml")
        layout, side = Layout(experiment.experiment), experiment.dataset.image_size
        write_manifest(layout, experiment.dataset.categories, size=side, train=8, val=1)
        write_images(layout, side)

        def training(tunables: str) -> float:
            layout.model(0, "diffusion").unlink(missing_ok=True)
            command = ["-m", "drdc", "train", "diffusion", "--config", "config.yaml", "--threads", "1"]
            return peak_of(python(*command), environment={VARIABLE: tunables})

        yield Race(
            what=f"imports and {STEPS} steps of {experiment.diffusion.batch_size} images of {side} px",
            unit="training",
            contestants=[
                Contestant("drdc", lambda: training(TUNABLES), peak=float),
                Contestant("without huge pages", lambda: training(""), peak=float),
            ],
            rounds=1 if size.tiny else 2,
        )
