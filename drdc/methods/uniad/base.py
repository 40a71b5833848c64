"""The base model as part of another method: its settings, its loss, its heatmap."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from pydantic import ValidationInfo, field_validator
from torch import Tensor

from drdc.config.base import Base
from drdc.equations.fusion import feature_error, upsample_base
from drdc.methods.interface import TrainedSettings
from drdc.models.reconstructor import Reconstructor, draw_jitter
from drdc.runtime.errors import UserError

CITATION = "You et al., A Unified Model for Multi-class Anomaly Detection, NeurIPS 2022"


class BaseSettings(Base, TrainedSettings):
    """The base model's settings (UniAD's recipe), as those of `base`."""

    @field_validator("heads")
    @classmethod
    def _divides(cls, value: int, info: ValidationInfo) -> int:
        hidden = info.data.get("hidden", value)
        if hidden % value or hidden % 2:
            raise ValueError(f"must divide `hidden`, which must be even, {hidden}; change either")
        return value

    @field_validator("memory", "memory_stages", "images", "compile")
    @classmethod
    def _is_of_drdc(cls, value: Any) -> Any:
        if value and value != "auto":
            raise ValueError("has an effect in section `base` alone; leave it out here")
        return value

    @field_validator("neighbour_window")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value and value % 2 == 0:
            raise ValueError("must be odd, or 0")
        return value


def reconstructor(settings: BaseSettings, channels: int, side: int) -> Reconstructor:
    """The base model for (B, channels, side, side).

    Raises:
        UserError: the neighbour mask leaves the middle token nothing to attend to.
    """
    largest = 2 * (side // 2) - 1
    if settings.neighbour_window > largest:
        raise UserError(
            "neighbour_window",
            f"{settings.neighbour_window} leaves the middle one of {side}×{side} tokens nothing to attend to",
            f"use at most {largest}, or 0",
        )
    return Reconstructor(settings, channels, side)


def feature_loss(model: Reconstructor, features: Tensor) -> Tensor:
    """Eq. 1 with the input jittered in training and the target not, a scalar."""
    noise = None
    if model.training:
        batch, channels, height, width = features.shape
        shape = (batch, height * width, channels)
        noise = draw_jitter(shape, model.settings.jitter_probability, str(features.device))
    return F.mse_loss(model(features, noise), features)


def base_map(model: Reconstructor, features: Tensor, size: int) -> Tensor:
    """Eq. 2 at image size, (B, size, size)."""
    return upsample_base(feature_error(features, model(features)), size)
