"""A training as the workflow starts it, with the huge pages that it asks the kernel for and without.

How much they are worth depends on the machine's memory: the more it is cut into pieces, the more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir
from tempfile import TemporaryDirectory

from drdc.runtime.allocator import TUNABLES, VARIABLE

from ..harness import Contestant, Race, Size, peak_of, python
from ..stored import demo_settings, experiment_of, write_images, write_manifest

STEPS, SIDE = 8, 128


def races(size: Size) -> Iterator[Race]:
    settings, side = demo_settings(), 32 if size.tiny else SIDE
    settings["dataset"]["image_size"] = side
    settings["diffusion"] |= {"images": settings["diffusion"]["batch_size"] * STEPS, "validations": 1}
    if size.tiny:
        settings["diffusion"] |= {"multipliers": [1], "attention_levels": []}
    with TemporaryDirectory() as folder, chdir(folder):
        experiment, layout = experiment_of(settings)
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
