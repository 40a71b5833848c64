"""UniAD's map fused with the error of an image reconstruction, by the rules of DRDC's own fusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import field_validator
from torch import Tensor, nn

from drdc.config.backbone import Backbone
from drdc.config.section import DISTINCT, MOST_CHANNELS, MOST_EPOCHS, MOST_IMAGES, setting
from drdc.equations.fusion import map_scale, mean_filter, scale_error, spatio_temporal_map
from drdc.equations.stored_maps import normalise, weighted_sum
from drdc.methods.interface import History, Method, Shapes, TrainedSettings
from drdc.methods.trainer import Trainer
from drdc.methods.uniad.base import BaseSettings, base_map, feature_loss, reconstructor


class RefinedSettings(TrainedSettings):
    """Those of the image network and of the fusion; `base` has those of the feature reconstruction."""

    base: BaseSettings = setting(BaseSettings(), "inferred", "The base model, as in section `base`.")
    width: int = setting(
        32, "ours", "Channels of the first level of the image network.", ge=1, le=MOST_CHANNELS
    )
    levels: int = setting(5, "ours", "Number of downsamplings of the image network.", ge=1, le=12)
    scales: Annotated[list[Literal[1, 2, 4, 8, 16]], DISTINCT] = setting(
        [1, 2, 4, 8], "ours", "Reductions of the compared images (Eq. 14), as `fusion.scales`.", min_length=1
    )
    filter_size: int = setting(
        21, "ours", "Side of the mean filter in pixels (odd), as `fusion.filter_size`.", ge=1, le=16_384
    )
    weight: float = setting(
        0.9, "inferred", "Weight of the image error (Eq. 17), as `fusion.weight`.", ge=0, le=1
    )
    normalisation: Literal["mean", "mean_std", "none"] = setting(
        "none",
        "inferred",
        "As `fusion.normalisation`; in the paper two of the three are almost their base, as with raw maps.",
    )
    batch_size: int = setting(16, "ours", "Images per step.", ge=1, le=MOST_IMAGES)
    learning_rate: float = setting(2e-4, "ours", "Learning rate.", gt=0)
    epochs: float = setting(200, "ours", "Passes over the training images.", gt=0, le=MOST_EPOCHS)

    @field_validator("filter_size")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd")
        return value


class Refined(Method):
    """The base model on the experiment's features, and a network that reconstructs images.

    Two phases: the base model by its own recipe, then the image network. Both errors are fused by Eq. 14, 16
    and 17, with one timestep and one grid size, as they are or first brought to one scale. The DRDC paper
    does not say how it fused them, nor what the networks were: settings marked `ours`.
    """

    Settings = RefinedSettings
    paper_backbone = Backbone().name
    differs = "network and fusion are ours"
    scales_of_maps: Tensor

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        self.base = reconstructor(settings.base, shapes.channels, shapes.feature_size)
        self.image_model = self.image_network()
        self.register_buffer("scales_of_maps", torch.tensor([[1.0, 0.0], [1.0, 0.0]]))

    def image_network(self) -> nn.Module:
        """The network that reconstructs images (B, 3, H, W), untrained."""
        raise NotImplementedError(f"{type(self).__name__} has no image network")

    def image_loss(self, image_model: Any, images: Tensor) -> Tensor:
        """Its training loss, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} has no loss of its image network")

    def fit(self, trainer: Trainer) -> History:
        def of_base(model: Any, images: Tensor, features: Tensor) -> Tensor:
            return feature_loss(model, features)

        def of_images(image_model: Any, images: Tensor, features: Tensor) -> Tensor:
            return self.image_loss(image_model, images)

        history = trainer.descend(self.base, of_base, "base", self.settings.base)
        history += trainer.descend(self.image_model, of_images, "images")
        self.eval()
        with torch.no_grad():
            scales = [map_scale(self.maps(*batch)[i] for batch in trainer.held_out()) for i in range(2)]
        self.scales_of_maps.copy_(torch.tensor(scales))
        return history

    def maps(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Base map (Eq. 2) and filtered image error (Eq. 14, 16), both (B, H, W), each on its own scale."""
        size, reconstructed = self.shapes.image_size, self.image_model(images)
        errors = {scale: scale_error(images, reconstructed, scale) for scale in self.settings.scales}
        error = mean_filter(spatio_temporal_map(errors, size), self.settings.filter_size)
        return base_map(self.base, features, size), error

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        pairs = zip(self.maps(images, features), self.scales_of_maps.tolist(), strict=True)
        how = self.settings.normalisation
        base, error = (normalise(heatmap, cast(Any, tuple(scale)), how) for heatmap, scale in pairs)
        return weighted_sum(error, base, self.settings.weight)
