"""A fitted method as it was saved, ready for any image of its input size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from drdc.equations.stored_maps import normalise
from drdc.methods.inputs import Batch
from drdc.methods.interface import Method, Shapes
from drdc.methods.registry import method_class
from drdc.results.heatmaps import stored_type
from drdc.results.layout import Layout
from drdc.runtime.devices import torch_device
from drdc.runtime.files import load_weights
from drdc.runtime.identity import seed_of_batch

#: Largest number of float16.
LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class FittedMethod:
    """A `drdc.methods.predictor.Predictor`: a method with its weights, in evaluation mode on the device.

    Attributes:
        name: of the run in the configuration.
        method: the network.
        scale: mean and standard deviation of its heatmaps over held-out normal images.
        map_size: height and width of what is stored of its heatmaps, in pixels.
        seed: of the run.
    """

    name: str
    method: Method
    scale: tuple[float, float]
    map_size: int
    seed: int

    #: There is no reverse chain.
    calls = 0

    @classmethod
    def load(cls, layout: Layout, seed: int, name: str, map_size: int) -> FittedMethod:
        """Raises UserError where the file is missing or damaged, or its method not installed."""
        weights, about = read_fitted(layout, seed, name)
        return cls.of(built(weights, about), about, map_size, seed)

    @classmethod
    def of(cls, method: Method, about: Mapping[str, Any], map_size: int, seed: int) -> FittedMethod:
        """From the results of `built` and `read_fitted`."""
        mean, deviation = map(float, about["scale"])
        return cls(about["name"], method.to(torch_device()).eval(), (mean, deviation), map_size, seed)

    @property
    def record_type(self) -> np.dtype[np.void]:
        return stored_type(self.map_size)

    @property
    def input_size(self) -> int:
        return self.method.shapes.image_size

    @cached_property
    def uses_features(self) -> bool:
        return self.method.uses_features_with(self.method.settings.model_dump())

    @property
    def batch_size(self) -> int:
        return self.method.settings.batch_size

    @property
    def networks(self) -> Sequence[nn.Module]:
        return [self.method]

    @torch.inference_mode()
    def predict(self, batch: Batch) -> NDArray[np.void]:
        """Any noise that the method draws is derived from the first image of the batch.

        The maps are standardised by `scale`, which changes no metric of one method, and brings them into
        the range that float16 resolves well.
        """
        device = torch_device()
        gpus = [torch.cuda.current_device()] if device == "cuda" else []
        with torch.random.fork_rng(gpus):  # the caller's own random numbers stay as they were
            torch.manual_seed(seed_of_batch(self.seed, batch.keys[0]))
            raw, scores = self.method.heatmaps_and_scores(batch.images, batch.features)
        for what, found in (("heatmaps", raw), ("scores", scores)):
            self.method.check_shape(what, found, batch.images)
        maps = normalise(resized(raw, self.map_size), self.scale, "mean_std").clamp(-LARGEST, LARGEST)
        maps = maps.where(raw.isfinite().all((1, 2), keepdim=True), torch.nan)  # clamped, infinity would pass
        records = np.zeros(len(maps), self.record_type)
        records["heatmap"], records["score"] = maps.half().cpu().numpy(), scores.float().cpu().numpy()
        return records


def resized(heatmaps: Tensor, size: int) -> Tensor:
    """(B, H, W) -> (B, size, size): bilinear, anti-aliased where it is reduced."""
    if heatmaps.shape[1:] == (size, size):
        return heatmaps
    whole = heatmaps[:, None].float()
    return F.interpolate(whole, (size, size), mode="bilinear", antialias=True)[:, 0]


def built(weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> Method:
    """The network alone, with its weights; raises UserError where its method is not installed."""
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
    weights, about = load_weights(layout.model(seed, name), f"methods.{name}")
    built_from = {key: about[key] for key in ("method", "shapes", "scale")}
    return weights, built_from | {"name": name, "settings": about[f"methods.{name}"]}
