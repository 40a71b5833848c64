"""predictions -> gallery.html, one page to browse the heatmaps of all test images."""

from __future__ import annotations

from functools import partial
from typing import Any

from drdc.config.fusion import Fusion
from drdc.config.variants import COMPARED
from drdc.evaluation.calibration import by_group, ceiled, offered_rate
from drdc.reporting.browser import pictures_of, write_gallery
from drdc.reporting.shown_images import ShownImages
from drdc.results.layout import Layout
from drdc.runtime.batching import job_threads

#: What the page calls the scores and the heatmaps of DRDC and its parts.
TITLES = {"drdc": "DRDC", "base": "Base model"}
HEATMAPS = {"drdc": "Fused", "base": "Base", "diffusion": "Diffusion"}


def gallery(
    layout: Layout, *, seeds: list[int], image_size: int, fusion: Fusion, methods: dict[str, Any]
) -> None:
    """Write `gallery.html` of the first seed; the thresholds start at those of `drdc detect`.

    The colours are those of its overlays, too. Where the held-out images are too few for its false-alarm
    rate, both are of the smallest rate that they allow. A method without heatmaps is left out.
    """
    images = ShownImages(layout, seeds[0], image_size, fusion, list(methods))
    others = {name: name for name in images.methods}
    count, workers = len(images.held_out), job_threads()
    rate = offered_rate(count)
    scales = images.scales(rate, workers)
    groups = images.held_out["group"].to_numpy(str)
    write_gallery(
        images.facts(),
        images.each(partial(pictures_of, scales=scales), images.rows, workers),
        layout.gallery,
        methods=TITLES | others,
        heatmaps=HEATMAPS | others,
        title=f"{layout.experiment}, seed {seeds[0]}",
        thresholds={
            method: by_group(images.held_out[method].to_numpy(float), groups, rate, images.groups)
            for method in (*COMPARED, *others)
        },
        calibration=f"{count} held-out normal images for a false-alarm rate of at most "
        f"{100 * float(ceiled(rate)):g} %",
        scales=scales,
    )
