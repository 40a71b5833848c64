"""Light jobs as the workflow starts them, each in a new process: most of their time is imports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir
from functools import partial
from tempfile import TemporaryDirectory

from ..harness import Contestant, Race, Size, peak_of, python
from ..stored import (
    demo_settings,
    experiment_of,
    write_images,
    write_manifest,
    write_masks,
    write_predictions,
)

#: The second and later ones are measured; each needs those before it.
JOBS = ("score", "score weight=0.5", "collect", "tables table2", "figures histograms")
FEW = {"seeds": [0], "evaluation": {"ablation": False, "sweeps": {"weight": [0.5]}, "costs": []}}


def races(size: Size) -> Iterator[Race]:
    settings = demo_settings() | FEW
    with TemporaryDirectory() as folder, chdir(folder):
        experiment, layout = experiment_of(settings)
        side, categories = experiment.dataset.image_size, experiment.dataset.categories
        write_manifest(layout, categories, size=side, test=4 if size.tiny else 32, val=7)
        write_masks(layout, side)
        write_images(layout, side)
        grid_sizes, feature_size = experiment.sampling.grid_sizes, experiment.backbone.feature_size
        write_predictions(layout, size=side, feature_size=feature_size, grid_sizes=grid_sizes)
        for job in JOBS:
            command = python("-m", "drdc", *job.split(), "--config", "config.yaml", "--threads", "1")
            if job == "score":
                peak_of(command)
                peak_of([*command[:4], "controls", *command[4:]])
                continue
            contestant = Contestant(
                "drdc", partial(peak_of, command), peak=float, wanted="≤ 1.5 s of CPU time"
            )
            yield Race(f"`drdc {job}`", "job", [contestant], rounds=1 if size.tiny else 3)
