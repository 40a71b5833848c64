"""`base`: the base model."""

from __future__ import annotations

from drdc.config.backbone import Stages
from drdc.config.optimisation import COMPILE, PRECISION, SCHEDULE, Compile, Optimisation, Precision, Schedule
from drdc.config.section import MOST_EPOCHS, setting


class Base(Optimisation):
    """The base model: feature reconstruction by a transformer (Sec. 3.1; recipe of UniAD)."""

    hidden: int = setting(256, "inferred", "Width of the tokens.", ge=8, le=8192)
    heads: int = setting(8, "inferred", "Attention heads.", ge=1, le=1024)
    feedforward: int = setting(1024, "inferred", "Width of the feed-forward layers.", ge=8, le=65_536)
    encoder_layers: int = setting(4, "inferred", "Encoder layers.", ge=1, le=100)
    decoder_layers: int = setting(4, "inferred", "Decoder layers, each with its own queries.", ge=1, le=100)
    dropout: float = setting(0.1, "inferred", "Dropout.", ge=0, lt=1)
    attention_dropout: float | None = setting(
        None,
        "inferred",
        "Dropout of the attention weights; null: as `dropout`. With 0, attention on a CPU is much faster.",
        ge=0,
        lt=1,
    )
    neighbour_window: int = setting(
        7, "inferred", "Side of the token window that a token may not attend to (odd; 0: no mask).", ge=0
    )
    jitter_scale: float = setting(20.0, "inferred", "Feature jitter: scale of the noise.", ge=0)
    jitter_probability: float = setting(
        1.0, "inferred", "Feature jitter: fraction of the batches.", ge=0, le=1
    )
    epochs: float = setting(1000, "inferred", "Passes over the training images.", gt=0, le=MOST_EPOCHS)
    images: int | None = setting(
        None, "ours", "Training images seen, in place of `epochs`; null: by these.", ge=1, le=10**11
    )
    clip_norm: float | None = setting(0.1, "inferred", "Maximum norm of the gradient.", gt=0)
    schedule: Schedule = setting("step", "inferred", SCHEDULE)
    memory: int = setting(
        0,
        "ours",
        "Features of training images to keep as a memory bank, for `fusion.base: memory` and "
        "`evaluation.beyond`; 0: none.",
        ge=0,
        le=10_000_000,
    )
    memory_stages: Stages | None = setting(
        None,
        "ours",
        "Those of `backbone.stages` whose features the memory bank has and compares; null: all.",
        exclude_if=lambda stages: stages is None,  # so that no earlier result is outdated
    )
    precision: Precision = setting("auto", "ours", PRECISION)
    compile: Compile = setting("auto", "ours", COMPILE)

    @property
    def base_maps(self) -> tuple[str, ...]:
        """The kinds of base heatmap that the trained model gives: values of `fusion.base`."""
        return ("transformer", "memory") if self.memory else ("transformer",)

    def images_seen(self, train: int) -> int:
        """Training images seen, of `train` different ones."""
        return round(self.epochs * train) if self.images is None else self.images
