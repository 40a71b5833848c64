"""Which of an experiment's methods to use: the one that finds most in the self-check, on the same images."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from drdc.config.names import ALL
from drdc.config.variants import DRDC
from drdc.evaluation.self_check import sentence

#: Training images of the diffusion model for each category in `config/mvtec-small.yaml`.
USUAL = 4000


def ranked(summaries: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The measures of all methods over all categories, the method to use first.

    By image AUROC, which needs no threshold and so scatters least; of equal ones by detection rate.

    Args:
        summaries: of each method, `drdc.evaluation.self_check.summary`.
    """
    whole = pd.DataFrame({name: own.loc[ALL] for name, own in summaries.items()}).T
    return whole.sort_values(["image_auroc", "detection_rate"], ascending=False, kind="stable")


def advice(
    file: str, summaries: Mapping[str, pd.DataFrame], images: float, minutes: float | None
) -> tuple[str, str]:
    """Two lines: which file to use and what it is expected to find; the others, and what DRDC would need.

    Args:
        file: of the recommended detector.
        summaries: see `ranked`.
        images: training images of the diffusion model for each category.
        minutes: that its training took; None where that is not known.
    """
    order = ranked(summaries)
    best, *others = order.index
    first = f"Use {file} ({best}): it {sentence(summaries[best])}."
    each = ", ".join(f"{name} {100 * order.loc[name, 'image_auroc']:.1f} %" for name in others)
    return first, f"Image AUROC of the others: {each}.{'' if best == DRDC else _needed(images, minutes)}"


def _needed(images: float, minutes: float | None) -> str:
    """What could make DRDC better."""
    if images >= USUAL:
        return f" DRDC saw {images:.0f} training images per category, repeats included; more may not help it."
    spent = "" if minutes is None else f" in {minutes:.0f} minutes"
    wanted = "" if minutes is None else f", here about {minutes * USUAL / images:.0f} minutes"
    return (
        f" DRDC saw {images:.0f} training images per category{spent}, repeats included; "
        f"config/mvtec-small.yaml, where it does well, shows it {USUAL}{wanted}."
    )
