"""predictions -> gallery.html, one page to browse the heatmaps of all test images."""

from __future__ import annotations

from typing import Any

from drdc.config import Fusion
from drdc.evaluation import COMPARED
from drdc.heatmaps import TestImages
from drdc.layout import Layout
from drdc.reporting.browser import write_gallery
from drdc.reporting.separation import threshold


def gallery(layout: Layout, *, seeds: list[int], fusion: Fusion, systems: dict[str, Any]) -> None:
    """Write `gallery.html` of the first seed; the threshold starts where 5 % of held-out images exceed it.

    A compared system without heatmaps is left out.
    """
    images = TestImages(layout, seeds[0], fusion, systems)
    methods = (*COMPARED, *images.systems)
    write_gallery(
        images.shown(list(images.scores.index)),
        layout.gallery,
        title=f"{layout.experiment}, seed {seeds[0]}",
        thresholds={method: threshold(images.held_out[method].to_numpy()) for method in methods},
        limits=images.limits(),
    )
