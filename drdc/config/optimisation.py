"""Settings of every training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from drdc.config.section import MOST_IMAGES, Section, setting

Optimizer = Literal["adamw", "adam", "sgd", "stable_adamw"]
Schedule = Literal["constant", "step", "cosine", "exponential"]
Share = Annotated[float, Field(ge=0, lt=1)]
Betas = tuple[Share, Share]
BETAS = "Decay rates of both moments; of SGD the first is the momentum."
OPTIMIZER = (
    "AdamW; Adam, whose weight decay is a penalty on the weights; SGD with momentum; or AdamW with clipped "
    "updates (StableAdamW, needs anomalib)."
)
SCHEDULE = (
    "Learning rate: constant, × `decay` at each of `milestones`, cosine decay to `floor`, or exponential "
    "decay to × `decay`."
)
Precision = Literal["auto", "fp32", "bf16"]
PRECISION = "`auto`: bf16 where the hardware multiplies it natively."
Compile = bool | Literal["auto"]
COMPILE = (
    "Let torch compile the network before its training, which takes minutes, and a C++ compiler on a CPU; "
    "`auto`: on a GPU that Triton supports. The same result up to rounding."
)
#: The optimisers as texts name them.
TITLES: dict[str, str] = {
    "adamw": "AdamW",
    "adam": "Adam",
    "sgd": "SGD",
    "stable_adamw": "StableAdamW",
}


def other_optimizer(settings: Mapping[str, Any], published: str) -> str:
    """What the tables say of an optimiser other than the published one, if there is one; else ""."""
    used = settings.get("optimizer", published)
    return "" if used == published else f"{TITLES[used]} for {TITLES[published]}"


class Optimisation(Section):
    """Optimisation, validation and checkpoints."""

    batch_size: int = setting(8, "inferred", "Images per step.", ge=1, le=MOST_IMAGES)
    accumulation: int = setting(
        1,
        "ours",
        "Equal parts in which a batch is computed, one after another, where the memory does not suffice for "
        "all of it: the same gradient up to rounding, but for what looks at a batch as a whole, which sees a "
        "part: batch norms, and of the losses those of Dinomaly, INP-Former and Uninformed Students.",
        ge=1,
        le=MOST_IMAGES,
    )
    optimizer: Optimizer = setting("adamw", "inferred", OPTIMIZER)
    betas: Betas = setting((0.9, 0.999), "inferred", BETAS)
    learning_rate: float = setting(1e-4, "inferred", "Learning rate.", gt=0)
    weight_decay: float = setting(1e-4, "inferred", "Weight decay (illegible in the paper).", ge=0)
    clip_norm: float | None = setting(None, "ours", "Maximum norm of the gradient; null: no clipping.", gt=0)
    schedule: Schedule = setting("constant", "ours", SCHEDULE)
    milestones: list[Annotated[float, Field(gt=0, lt=1)]] = setting(
        [0.8], "inferred", "Fractions of the images after which `step` lowers the rate."
    )
    decay: float = setting(0.1, "inferred", "Factor of `step` and `exponential`.", gt=0, le=1)
    floor: float = setting(0.0, "ours", "Share of the rate with which `cosine` ends.", ge=0, le=1)
    warmup: float = setting(
        0.0, "ours", "Fraction of the images over which the rate rises linearly.", ge=0, lt=1
    )
    balanced: bool = setting(False, "ours", "Sample all categories equally often, whatever their size.")
    validations: int = setting(25, "ours", "Number of evaluations of the held-out loss.", ge=1, le=100_000)
    save_images: int | None = setting(
        None, "ours", "Images between checkpoints; null: `save_minutes` only.", ge=1
    )
    save_minutes: float = setting(5.0, "ours", "Maximum minutes between checkpoints.", gt=0)
