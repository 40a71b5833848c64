"""Settings of every training."""

from __future__ import annotations

from typing import Literal

from drdc.config.section import MOST_IMAGES, Section, setting


class Optimisation(Section):
    """Optimisation by AdamW, validation and checkpoints."""

    batch_size: int = setting(8, "inferred", "Images per step.", ge=1, le=MOST_IMAGES)
    learning_rate: float = setting(1e-4, "inferred", "Learning rate of AdamW.", gt=0)
    weight_decay: float = setting(1e-4, "inferred", "Weight decay of AdamW (illegible in the paper).", ge=0)
    clip_norm: float | None = setting(None, "ours", "Maximum norm of the gradient; null: no clipping.", gt=0)
    schedule: Literal["constant", "step", "cosine"] = setting(
        "constant",
        "ours",
        "Learning rate: constant, × 0.1 after 80 % of the images, or cosine decay to zero.",
    )
    warmup: float = setting(
        0.0, "ours", "Fraction of the images over which the rate rises linearly.", ge=0, lt=1
    )
    balanced: bool = setting(False, "ours", "Sample all categories equally often, whatever their size.")
    validations: int = setting(25, "ours", "Number of evaluations of the held-out loss.", ge=1, le=100_000)
    save_images: int | None = setting(
        None, "ours", "Images between checkpoints; null: `save_minutes` only.", ge=1
    )
    save_minutes: float = setting(5.0, "ours", "Maximum minutes between checkpoints.", gt=0)
