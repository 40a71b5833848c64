"""Writing the gallery of many images of the demo's size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir
from functools import partial
from tempfile import TemporaryDirectory

from drdc.config.fusion import Fusion
from drdc.config.variants import FULL, Stored
from drdc.results.layout import Layout
from drdc.stages.gallery import gallery
from drdc.stages.score import score

from ..harness import Contestant, Race, Size
from ..stored import demo_settings, write_images, write_manifest, write_masks, write_predictions

HELD_OUT = 20


def races(size: Size) -> Iterator[Race]:
    settings = demo_settings()
    side, fusion = settings["dataset"]["image_size"], Fusion(**settings["fusion"])
    stored = Stored(name=FULL, model="diffusion", detailed=True)
    with TemporaryDirectory() as folder, chdir(folder):
        layout = Layout("benchmark")
        write_manifest(layout, ["one"], size=side, test=size.images, val=HELD_OUT)
        write_masks(layout, side)
        write_images(layout, side)
        write_predictions(layout, size=side, feature_size=14, grid_sizes=settings["sampling"]["grid_sizes"])
        score(layout, 0, fusion=fusion, stored=stored)
        run = partial(gallery, layout, seeds=[0], image_size=side, fusion=fusion, described={})
        yield Race(
            what=f"{size.images} images of {side} px",
            unit="image",
            contestants=[Contestant("drdc", run, wanted="≤ 3 ms")],
            units=size.images,
            rounds=2,
        )
