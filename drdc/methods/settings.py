"""Settings that methods have in common."""

from __future__ import annotations

from drdc.config.optimisation import Optimisation
from drdc.config.section import MOST_EPOCHS, MOST_IMAGES, MOST_PIXELS, Section, setting


class MethodSettings(Section):
    """Settings that every method has."""

    batch_size: int = setting(8, "ours", "Images computed together.", ge=1, le=MOST_IMAGES)
    pool_size: int = setting(
        16,
        "ours",
        "Side of the average pool in pixels before the maximum (image score); 1 for none.",
        ge=1,
        le=MOST_PIXELS,
    )


class TrainedSettings(Optimisation, MethodSettings):
    """Settings of a method that is trained by gradients."""

    epochs: float = setting(100, "ours", "Passes over the training images.", gt=0, le=MOST_EPOCHS)
