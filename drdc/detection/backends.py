"""What a detector computes heatmaps with: the whole method, or a method that it is compared with.

Both give of an image what the workflow stores of it: the same pixels, features and rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drdc.config.sections import Backbone, Base, Diffusion, Fusion, Sampling
from drdc.config.variants import FULL
from drdc.data.images import to_square
from drdc.data.pictures import Picture
from drdc.equations.diffusion import linear_schedule, to_unit_range
from drdc.equations.fusion import image_score, normalise, weighted_sum
from drdc.methods.fitted_method import Fitted, built
from drdc.models.backbone import FeatureExtractor
from drdc.models.denoiser import Denoiser
from drdc.models.inpainter import Inpainter
from drdc.models.reconstructor import Reconstructor
from drdc.results.predictions import Statistics, fuse, record_type, store_base, store_errors
from drdc.runtime.devices import torch_device
from drdc.runtime.errors import UserError
from drdc.runtime.files import below
from drdc.runtime.identity import seed_of_batch

FAST = "fast"  # the other mode beside FULL


Built = TypeVar("Built")


class Finder(Protocol):
    """Finds in pictures what does not look like the normal images."""

    @property
    def calls(self) -> int:
        """U-Net calls of the reverse chain for an image."""

    @property
    def usual(self) -> float:
        """Heat of a usual pixel: where a colour scale begins."""

    @property
    def batch_size(self) -> int:
        """Pictures that are looked at together, where nothing else is asked for."""

    def find(self, pictures: list[Picture]) -> tuple[Tensor, Tensor]:
        """Heatmaps (B, H, W) and image scores (B,), float32 on the CPU, higher = more anomalous."""


def finders(tensors: dict[str, Tensor], about: Mapping[str, Any]) -> dict[str, Finder]:
    """The finder of each mode, from the content of an exported file."""
    if "method" in about:
        return {FULL: ComparedFinder.of(tensors, about)}
    return {**DrdcFinder.modes_of(tensors, about)}


def checked(build: Callable[[], Built]) -> Built:
    """Build networks and load their weights, first without memory for either: raises where these do not fit.

    So what a file says of its networks is checked before it decides how much memory is taken. A network that
    looks at its own numbers while it is built cannot be checked so; the bounds of its settings are left.
    """
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nothing is copied
            build()
    except (NotImplementedError, RuntimeError) as error:
        if "meta tensor" not in str(error):
            raise
    return build()


def _networks(
    tensors: dict[str, Tensor], about: Mapping[str, Any]
) -> tuple[FeatureExtractor, Reconstructor, Denoiser]:
    """The three networks of the whole method, with their weights."""
    backbone = Backbone(**about["backbone"])
    extractor = FeatureExtractor(backbone, below(tensors, "backbone"))
    base = Reconstructor(Base(**about["base"]), extractor.channels, backbone.feature_size).eval()
    base.load_state_dict(below(tensors, "base"))
    denoiser = Denoiser(Diffusion(**about["diffusion"]))
    denoiser.load_state_dict(below(tensors, "diffusion"))
    return extractor, base, denoiser


class PictureFeatures:
    """The experiment's frozen backbone, for pictures.

    Args:
        settings: of the backbone.
        extractor: built from them, on the device.
    """

    def __init__(self, settings: Backbone, extractor: FeatureExtractor) -> None:
        self.settings, self.extractor = settings, extractor

    def __call__(self, pictures: list[Picture]) -> Tensor:
        """(B, C, h, w) float32, rounded as `drdc features` stores them."""
        pixels = torch.from_numpy(_squares(pictures, self.settings.input_size)).permute(0, 3, 1, 2)
        features: Tensor = self.extractor(pixels.to(torch_device()))
        return features.half().float()


@dataclass(frozen=True, eq=False)
class DrdcFinder:
    """The whole method: base model and diffusion model, fused.

    Attributes:
        features: the base model's input.
        base: the base model.
        inpainter: the diffusion model with its sampling.
        fusion: how both maps become one.
        statistics: means and deviations that bring both maps to one scale.
        image_size: height and width in pixels at which the diffusion model compares.
        seed: of the run.
    """

    features: PictureFeatures
    base: Reconstructor
    inpainter: Inpainter
    fusion: Fusion
    statistics: Statistics
    image_size: int
    seed: int

    @classmethod
    def modes_of(cls, tensors: dict[str, Tensor], about: Mapping[str, Any]) -> dict[str, DrdcFinder]:
        """Both modes, with networks in common."""
        extractor, base, denoiser = checked(lambda: _networks(tensors, about))
        device, settings = torch_device(), Diffusion(**about["diffusion"])
        features = PictureFeatures(Backbone(**about["backbone"]), extractor.to(device))
        alpha_bar = linear_schedule(settings.timesteps, settings.beta_start, settings.beta_end)
        chain = (denoiser.to(device), alpha_bar.to(device))
        found = {}
        for name in (FULL, FAST):
            mode = about["modes"][name]
            inpainter = Inpainter(*chain, Sampling(**mode["sampling"]))
            scale = {kind: (mean, deviation) for kind, (mean, deviation) in mode["statistics"].items()}
            own = (Fusion(**about["fusion"]), scale, about["image_size"], about["seed"])
            found[name] = cls(features, base.to(device), inpainter, *own)
        return found

    @property
    def calls(self) -> int:
        return self.inpainter.calls

    @property
    def usual(self) -> float:
        """The fused heat of a pixel that has the mean of the held-out normal images in both maps."""
        base, diffusion = (
            normalise(
                torch.tensor(self.statistics[kind][0]), self.statistics[kind], self.fusion.normalisation
            )
            for kind in ("base", "diffusion")
        )
        return float(weighted_sum(diffusion, base, self.fusion.weight))

    @property
    def batch_size(self) -> int:
        return self.inpainter.sampling.batch_size

    def find(self, pictures: list[Picture]) -> tuple[Tensor, Tensor]:
        maps = fuse(self._records(pictures), self.fusion, self.statistics).drdc
        return maps, image_score(maps, self.fusion.pool_size)

    def _records(self, pictures: list[Picture]) -> NDArray[np.void]:
        """What the workflow stores of images, computed and rounded as there (features, predict)."""
        grid_sizes = self.inpainter.sampling.grid_sizes
        kind = record_type(self.image_size, self.features.settings.feature_size, grid_sizes)
        records = np.zeros(len(pictures), kind)
        features = self.features(pictures)
        pixels = to_unit_range(_squares(pictures, self.image_size))
        errors = self.inpainter.reconstruct(pixels, [p.key for p in pictures], self.seed)
        everything = np.arange(len(pictures))
        store_base(records, everything, features, self.base(features))
        store_errors(records, everything, errors, grid_sizes)
        return records


@dataclass(frozen=True, eq=False)
class ComparedFinder:
    """A method that DRDC is compared with.

    Attributes:
        fitted: the method with its weights.
        features: the experiment's backbone; None where the method does not use it.
        seed: of the run.
    """

    fitted: Fitted
    features: PictureFeatures | None
    seed: int

    #: There is no reverse chain.
    calls = 0
    #: The heatmaps are standardised by the held-out normal images.
    usual = 0.0

    @classmethod
    def of(cls, tensors: dict[str, Tensor], about: Mapping[str, Any]) -> ComparedFinder:
        """From the content of an exported file.

        Raises:
            UserError: there is no such method here, or its settings name something outside the file.
        """
        _refuse_addresses(about["settings"])
        weights, features = below(tensors, "method"), None
        fitted = Fitted.of(checked(lambda: built(weights, about)), about)
        if fitted.method.uses_features:
            backbone = Backbone(**about["backbone"])
            extractor = checked(lambda: FeatureExtractor(backbone, below(tensors, "backbone")))
            features = PictureFeatures(backbone, extractor.to(torch_device()))
        return cls(fitted, features, about["seed"])

    @property
    def batch_size(self) -> int:
        return self.fitted.method.settings.batch_size

    def find(self, pictures: list[Picture]) -> tuple[Tensor, Tensor]:
        """See `Finder.find`; where the method draws noise, it follows from the first picture of the batch."""
        device = torch_device()
        images = to_unit_range(_squares(pictures, self.fitted.method.shapes.image_size)).to(device)
        features = self.features(pictures) if self.features else None
        gpus = [torch.cuda.current_device()] if device == "cuda" else []
        with torch.random.fork_rng(gpus):  # the caller's own random numbers stay as they were
            torch.manual_seed(seed_of_batch(self.seed, pictures[0].key))
            maps, scores = self.fitted.maps_and_scores(images, features)
        return torch.from_numpy(maps).float(), torch.from_numpy(scores)


def _squares(pictures: list[Picture], size: int) -> NDArray[np.uint8]:
    """(B, size, size, 3), as `drdc prepare` and `drdc features` decode images."""
    return np.stack([to_square(picture.image, size) for picture in pictures])


def _refuse_addresses(settings: Any) -> None:
    """Raise UserError where a text among the settings is an address, from which a library might fetch."""
    if isinstance(settings, str) and ":" in settings:
        raise UserError(
            "",
            f"the method's settings name {settings!r}, an address, and a detector fetches nothing",
            "take a model by a name that its library knows",
        )
    inner = settings.values() if isinstance(settings, dict) else settings
    for value in inner if isinstance(settings, dict | list) else ():
        _refuse_addresses(value)
