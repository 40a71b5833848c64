"""predictions -> gallery.html, one page to browse the heatmaps of all test images."""

from __future__ import annotations

from functools import partial

import pandas as pd

from drdc.config.described import Described
from drdc.config.fusion import Fusion
from drdc.config.variants import COMPARED
from drdc.evaluation.calibration import by_group, ceiled, offered_rate
from drdc.reporting.browser import pictures_of, write_gallery
from drdc.reporting.described import labels
from drdc.reporting.shown_images import ShownImages
from drdc.results.layout import Layout
from drdc.runtime.batching import job_threads

#: What the page calls the scores and the heatmaps of DRDC and its parts.
TITLES = {"drdc": "DRDC", "base": "Base model"}
HEATMAPS = {"drdc": "Fused", "base": "Base", "diffusion": "Diffusion"}


def gallery(
    layout: Layout,
    *,
    seeds: list[int],
    image_size: int,
    fusion: Fusion,
    described: dict[str, Described],
) -> None:
    """Write `gallery.html` of the first seed; the thresholds start at those of `drdc detect`.

    The colours are those of its overlays, too. Where the held-out images are too few for its false-alarm
    rate, both are of the smallest rate that they allow. A method without heatmaps is left out; of one whose
    heatmaps were made elsewhere, without the held-out images, both are from all test images.
    """
    shown = labels(described)
    images = ShownImages(layout, seeds[0], image_size, fusion, {name: name for name in shown})
    others = {name: shown[name] for name in images.methods}
    count, workers = len(images.held_out), job_threads()
    rate = offered_rate(count)
    scales = images.scales(rate, workers)
    without = ", ".join(others[name] for name in images.uncalibrated)
    write_gallery(
        images.facts(),
        images.each(partial(pictures_of, scales=scales), images.rows, workers),
        layout.gallery,
        methods=TITLES | others,
        heatmaps=HEATMAPS | others,
        title=f"{layout.experiment}, seed {seeds[0]}",
        thresholds={
            method: _thresholds(images.calibrating(method), method, rate, images.groups)
            for method in (*COMPARED, *others)
        },
        calibration=f"{count} held-out normal images for a false-alarm rate of at most "
        f"{100 * float(ceiled(rate)):g} %"
        + (f" (of {without}, which has none of them, on all test images)" if without else ""),
        scales=scales,
    )


def _thresholds(images: pd.DataFrame, method: str, rate: float, groups: list[str]) -> dict[str, float]:
    """Where the thresholds of a method start, by group; `images`: those that give them."""
    return by_group(images[method].to_numpy(float), images["group"].to_numpy(str), rate, groups)
