"""Scoring a category of the paper's size (115 test and 24 held-out images, 224 px): without any U-Net call.

A changed fusion weight is scored as one variant; DRDC itself with its base and diffusion maps, curves and
defect types. 115 and 24 are the means of MVTec AD.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir
from functools import partial
from tempfile import TemporaryDirectory

from drdc.config.fusion import Fusion
from drdc.config.variants import FULL, Stored
from drdc.results.layout import Layout
from drdc.stages.score import score

from ..harness import Contestant, Race, Size
from ..stored import write_manifest, write_masks, write_predictions


def races(size: Size) -> Iterator[Race]:
    side, grid_sizes = (32, [4]) if size.tiny else (224, [2, 4, 8, 16])
    test, held_out = (4, 2) if size.tiny else (115, 24)
    stored = Stored(name=FULL, model="diffusion", detailed=True)
    with TemporaryDirectory() as folder, chdir(folder):
        layout = Layout("benchmark")
        write_manifest(layout, ["one"], size=side, test=test, val=held_out)
        write_masks(layout, side)
        write_predictions(layout, size=side, feature_size=14, grid_sizes=grid_sizes)
        for variant in ("weight=0.8", FULL):
            run = partial(score, layout, 0, fusion=Fusion(weight=0.8), variant=variant, stored=stored)
            what = f"{test} test images of {side} px, variant `{variant}`"
            yield Race(what, "category", [Contestant("drdc", run)], rounds=3)
