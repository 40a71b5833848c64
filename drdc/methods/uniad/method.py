"""UniAD with more tokens: the base model on finer feature maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationInfo, field_validator
from torch import Tensor

from drdc.config.backbone import Backbone
from drdc.config.section import MOST_PIXELS, setting
from drdc.methods.interface import Method, Shapes
from drdc.methods.pixels import backbone_pixels
from drdc.methods.uniad.base import CITATION, BaseSettings, base_map, feature_loss, reconstructor
from drdc.models.backbone import FeatureExtractor
from drdc.runtime.files import below

#: Tokens a side of the base model, to which `neighbour_window` refers.
BASE_SIDE = 14


def window_at(window: int, side: int) -> int:
    """The odd window of `side`×`side` tokens that covers the part of the image that `window` has of 14×14."""
    return window * side // BASE_SIDE // 2 * 2 + 1 if window else 0


class UniAD(Method):
    """A transformer reconstructs the feature map at `size`×`size`; the heatmap is its error.

    The network, its losses and its recipe are those of the base model (`drdc.models.reconstructor`), with 784
    tokens at 28×28 and 3,136 at 56×56, each with queries of its own in every decoder layer. The frozen
    backbone is run on the images of every batch, as its features at 56×56 would be 6 GB for MVTec AD.

    Attention is masked without storing the weights of all heads: torch's fused kernels read one mask of
    (tokens, tokens) for all images and heads, so that the memory of a training step grows with the tokens,
    not with their square: 4 GiB for 8 images at 56×56, against 90 with the weights. A CPU has no such kernel
    with dropout, so that there `dropout: 0` is needed.

    Differs: the paper does not say which neighbours are masked; here those of the same part of the image.
    """

    class Settings(BaseSettings):
        """UniAD (You et al., NeurIPS 2022) at other sizes, with the settings of `base` and some more."""

        scaled_window: bool = setting(
            True, "ours", "`neighbour_window` counts tokens of 14×14; false: tokens of this `size`."
        )
        size: int = setting(28, "paper", "Tokens a side; the paper has 28 and 56, the base 14.", ge=2, le=64)
        backbone: Backbone = setting(
            Backbone(), "paper", "The frozen backbone; in place of its `feature_size` there is `size`."
        )
        pool_size: int = setting(
            16,
            "inferred",
            "Side of the average pool in pixels before the maximum (image score).",
            ge=1,
            le=MOST_PIXELS,
        )

        @field_validator("size")
        @classmethod
        def _leaves_tokens(cls, value: int, info: ValidationInfo) -> int:
            window = info.data.get("neighbour_window", 0)
            window = window_at(window, value) if info.data.get("scaled_window", True) else window
            if window // 2 >= value // 2 and window:
                raise ValueError(f"leaves no token outside of a neighbour_window of {window}; use more")
            return value

    uses_features = False
    citation = CITATION
    differs = "finer feature map"

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        own = settings.backbone.model_copy(update={"feature_size": settings.size})
        self.backbone = FeatureExtractor(own, weights and below(weights, "backbone"))
        window = settings.neighbour_window
        if settings.scaled_window:
            window = window_at(window, settings.size)
        base = settings.model_copy(update={"neighbour_window": window})
        self.model = reconstructor(base, self.backbone.channels, settings.size)

    @classmethod
    def name_in_paper(cls, settings: Mapping[str, Any]) -> str:
        return {14: "UniAD", 28: "UniAD 28x28", 56: "UniAD 56x56"}.get(settings["size"], "")

    def loss(self, images: Tensor, features: Tensor) -> Tensor:
        return feature_loss(self.model, self.fine_features(images))

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        return base_map(self.model, self.fine_features(images), self.shapes.image_size)

    @torch.no_grad()
    def fine_features(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] -> (B, C, size, size)."""
        return self.backbone(backbone_pixels(images))
