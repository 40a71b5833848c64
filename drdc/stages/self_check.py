"""trained model -> self-check: what it finds of synthetic defects, before any real one is seen."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from drdc.config.dataset import Dataset
from drdc.config.variants import DRDC, FULL
from drdc.data.defects import KINDS, Drawn, defective
from drdc.data.manifest import read_manifest, read_original
from drdc.detection.assembly import assembled
from drdc.detection.detector import Detection, Detector
from drdc.evaluation.self_check import COLUMNS, pixel_auroc, sentence, summary
from drdc.experiment.stage_settings import config_hash
from drdc.methods.registry import Configured
from drdc.reporting.gallery import coloured
from drdc.results.layout import Layout
from drdc.results.scores import write_table
from drdc.runtime.files import artefact
from drdc.runtime.identity import entropy_of
from drdc.stages.prepare import root_of

log = logging.getLogger(__name__)

#: Pixels of the shorter side of the images that defects are drawn into, at most. Methods see fewer, so that
#: what is reduced does not look blurred to them next to the normal images, which are not.
SIDE = 1024
#: Pixels of a panel of the picture, of its heading and of what explains its colours; rows of panels at most.
PANEL, HEAD, FOOT, SHOWN = 128, 24, 70, 8
LETTERS, BAR = 16, (160, 14)  # pixels: height of letters, width and height of the colour bar
FOUND, MISSED = (0, 140, 60), (200, 30, 30)


def self_check(
    layout: Layout,
    *,
    seeds: list[int],
    dataset: Dataset,
    defects: int,
    method: Configured | None = None,
    **settings: Any,
) -> None:
    """Write `self_check/<method>.csv` and a picture: a row for each held-out image and each defect.

    Its columns are `COLUMNS`, and the hash of the settings, by which an export knows them as this model's.

    Each kind of defect (`drdc.data.defects`) is drawn so many times into held-out images of each category,
    the same for all methods. The threshold is that of `drdc detect`.

    Args:
        defects: of each kind in each category.
        method: of the configuration; None for DRDC.
        settings: `drdc.detection.assembly.assembled`.
    """
    tensors, about, modes = assembled(
        layout, seeds[0], dataset=dataset, method=method, fast=False, **settings
    )
    detector = Detector(tensors, about)
    name = DRDC if method is None else method.name
    table = read_manifest(layout.manifest)
    held_out = table[table.split == "val"]
    scores = detector.modes[FULL].calibration.scores
    rows = [_normal_row(about, float(own)) for about, own in zip(held_out.itertuples(), scores, strict=True)]
    panels: list[dict[str, NDArray[np.uint8]]] = []
    drawn = drawn_defects(held_out, root_of(layout, dataset), defects)
    while batch := list(islice(drawn, detector.batch_size)):
        pixels = [image.image for _, image in batch]
        for (about_image, image), found in zip(batch, detector.detect_many(pixels), strict=True):
            rows.append(_row(about_image, image, found))
            if not panels or image.kind in panels[-1]:
                panels.append({})
            panels[-1][image.kind] = _panel(image, found)
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    models = ["base", "diffusion"] if method is None else [name]
    sources = layout.sources(seeds[0], models)
    noted = frame.assign(config_hash=config_hash(modes[FULL].settings))
    write_table(layout.self_check(name), noted, *sources)
    with artefact(layout.self_check(name).with_suffix(".png"), *sources) as path:
        _sheet(panels).save(path, "PNG")
    log.info("%s %s", name, sentence(summary(frame)))


def drawn_defects(held_out: pd.DataFrame, root: Path, defects: int) -> Iterator[tuple[Any, Drawn]]:
    """(row of the manifest, its image with a defect): so many of each kind in each category.

    Args:
        held_out: those rows of the manifest.
        root: the dataset's folder.
        defects: of each kind in each category.
    """
    for _, own in held_out.groupby("category"):
        about = list(own.itertuples())
        images = [read_shown(root, row) for row in about[: defects + 1]]
        for place in range(defects):
            image, other = (images[(place + step) % len(images)] for step in (0, 1))
            row = about[place % len(images)]
            same_size = np.asarray(Image.fromarray(other).resize(image.shape[1::-1]))
            for kind in KINDS:
                rng = np.random.default_rng(entropy_of("self_check", place, kind, str(row.pixels_sha256)))
                if (found := defective(image, same_size, kind, rng)) is not None:
                    yield row, found


def read_shown(root: Path, row: Any) -> NDArray[np.uint8]:
    """The original image of a row of the manifest, (H, W, 3), its shorter side reduced to `SIDE` at most."""
    image = read_original(root, row)
    width, height = (math.ceil(side * SIDE / min(image.size)) for side in image.size)
    image.thumbnail((width, height))
    return np.asarray(image)


def _normal_row(about: Any, score: float) -> tuple[Any, ...]:
    return (about.category, about.path, "", np.nan, score, np.nan, 0, np.nan)


def _row(about: Any, image: Drawn, found: Detection) -> tuple[Any, ...]:
    located = pixel_auroc(found.heatmap, image.mask)
    facts = (found.score, found.threshold, int(found.anomalous), located)
    return (about.category, about.path, image.kind, image.share, *facts)


def _panel(image: Drawn, found: Detection) -> NDArray[np.uint8]:
    """The image with its defect above its overlay; green where it was called anomalous, else red."""
    both = [Image.fromarray(image.image), found.overlay()]
    own = np.concatenate([np.asarray(one.resize((PANEL, PANEL)).convert("RGB")) for one in both])
    framed = np.pad(own, ((3, 3), (3, 3), (0, 0)), constant_values=255)
    framed[:2] = framed[-2:] = FOUND if found.anomalous else MISSED
    return framed


def _sheet(panels: list[dict[str, NDArray[np.uint8]]]) -> Image.Image:
    """Panels of all categories, a column for each kind of defect."""
    nothing = np.full((2 * PANEL + 6, PANEL + 6, 3), 255, np.uint8)
    chosen = panels[:: -(-len(panels) // SHOWN)]
    lines = [np.concatenate([own.get(kind, nothing) for kind in KINDS], axis=1) for own in chosen]
    head, foot = (np.full((height, lines[0].shape[1], 3), 255, np.uint8) for height in (HEAD, FOOT))
    sheet = Image.fromarray(np.concatenate([head, *lines, foot]))
    pen = ImageDraw.Draw(sheet)
    for place, kind in enumerate(KINDS):
        pen.text((place * (PANEL + 6) + 4, 3), kind, fill=(0, 0, 0), font_size=LETTERS)
    _explain(sheet, pen, sheet.height - FOOT + 6)
    return sheet


def _explain(sheet: Image.Image, pen: ImageDraw.ImageDraw, top: int) -> None:
    """What the colours mean, in three lines from `top` on."""
    bar = coloured(np.tile(np.linspace(0.0, 1.0, BAR[0]), (BAR[1], 1)))
    sheet.paste(Image.fromarray(bar), (4, top + 2))
    words = "heatmap: its middle is the pixel threshold, which is outlined; below a quarter it is transparent"
    pen.text((BAR[0] + 12, top), words, fill=(0, 0, 0), font_size=LETTERS - 2)
    words = "upper of two: the image with a synthetic defect; lower: with its heatmap"
    pen.text((4, top + 20), words, fill=(0, 0, 0), font_size=LETTERS - 2)
    for left, colour, said in ((4, FOUND, "green line: called anomalous"), (260, MISSED, "red line: missed")):
        pen.text((left, top + 40), said, fill=colour, font_size=LETTERS - 2)
