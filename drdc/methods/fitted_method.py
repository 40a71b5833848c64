"""A fitted method as it was saved, ready for any image of its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drdc.equations.fusion import normalise
from drdc.methods.interface import Method, Shapes
from drdc.methods.registry import method_class
from drdc.results.layout import Layout
from drdc.runtime.devices import torch_device
from drdc.runtime.files import load_weights

#: Largest number of float16.
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Fitted:
    """A method with its weights, in evaluation mode on the device.

    Attributes:
        name: of the run in the configuration.
        method: the network.
        scale: mean and standard deviation of its heatmaps over held-out normal images.
    """

    name: str
    method: Method
    scale: tuple[float, float]

    @classmethod
    def load(cls, layout: Layout, seed: int, name: str) -> Fitted:
        """Raises UserError where the file is missing or damaged, or its method not known here."""
        weights, about = read_fitted(layout, seed, name)
        return cls.of(built(weights, about), about)

    @classmethod
    def of(cls, method: Method, about: Mapping[str, Any]) -> Fitted:
        """From what `built` gives of what `read_fitted` gives."""
        mean, deviation = map(float, about["scale"])
        return cls(about["name"], method.to(torch_device()).eval(), (mean, deviation))

    @torch.inference_mode()
    def maps_and_scores(
        self, images: Tensor, features: Tensor | None
    ) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
        """Heatmaps (B, H, W) and image scores (B,) of a batch, see `Method`.

        `features` may be None where the method does not use them.

        The maps are standardised by `scale`, which changes no metric of one method, and puts those of any
        size into the range that float16 resolves well.
        """
        if features is None:
            features = images.new_zeros(len(images), 0)
        raw, scores = self.method.heatmaps_and_scores(images, features)
        maps = normalise(raw, self.scale, "mean_std").clamp(-LARGEST, LARGEST)
        maps = maps.where(raw.isfinite(), torch.nan)  # clamped, infinity would pass for a number
        return maps.half().cpu().numpy(), scores.float().cpu().numpy()


def built(weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> Method:
    """The network alone, with its weights; raises UserError where its method is not known here."""
    kind = method_class(about["method"])
    settings = kind.Settings.model_validate(about["settings"])
    method = kind(settings, Shapes(**about["shapes"]), weights)
    method.restore(weights)
    return method


def read_fitted(layout: Layout, seed: int, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A saved method: its weights, and name, method, settings, shapes and scale, which it is built from.

    Raises:
        UserError: the file is missing or damaged.
    """
    weights, about = load_weights(layout.model(seed, f"methods/{name}"), f"methods.{name}")
    built_from = {key: about[key] for key in ("method", "shapes", "scale")}
    return weights, built_from | {"name": name, "settings": about[f"methods.{name}"]}
