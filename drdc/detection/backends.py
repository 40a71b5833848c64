"""How a detector computes heatmaps: a trained method, for pictures instead of rows of a manifest.

It gives the same for a picture as the workflow stores for an image: the same pixels, features and rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drdc.config.backbone import Backbone
from drdc.config.base import Base
from drdc.config.diffusion import Diffusion
from drdc.config.fusion import Fusion
from drdc.config.sampling import Sampling
from drdc.config.variants import DRDC, FULL
from drdc.data.images import to_square
from drdc.data.pictures import Picture
from drdc.equations.diffusion import linear_schedule
from drdc.equations.stored_maps import normalise, weighted_sum
from drdc.methods.drdc.predictor import DrdcPredictor
from drdc.methods.fitted_method import FittedMethod, built
from drdc.methods.inputs import Batch
from drdc.methods.predictor import Predictor
from drdc.models.backbone import FeatureExtractor
from drdc.models.denoiser import Denoiser
from drdc.models.inpainter import Inpainter
from drdc.models.reconstructor import Reconstructor
from drdc.results.heatmaps import DrdcReading, Found, Reading, StoredReading
from drdc.results.predictions import Statistics
from drdc.runtime.devices import to_device, torch_device
from drdc.runtime.errors import UserError
from drdc.runtime.files import below

#: The other mode of DRDC, next to FULL, and what the noise of all its images follows from: the same noise for
#: all, so that a file for another runtime can contain it.
FAST = "fast"

Built = TypeVar("Built")


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
        pixels = to_device(_squares(pictures, self.settings.input_size)).permute(0, 3, 1, 2)
        features: Tensor = self.extractor(pixels)
        return features.half().float()


@dataclass(frozen=True, eq=False)
class Backend:
    """Finds in pictures what differs from the normal images.

    Attributes:
        method: its name in the scores.
        predictor: the trained method.
        features: the experiment's backbone; None where neither the method nor a threshold needs it.
        reading: gives heatmaps and scores from the predictions.
        usual: value of a normal pixel, where a colour scale begins.
    """

    method: str
    predictor: Predictor
    features: PictureFeatures | None
    reading: Reading
    usual: float

    def find(self, pictures: list[Picture], features: Tensor | None) -> Found:
        """Heatmaps (B, H, W) and image scores (B,), float32, higher = more anomalous.

        `features`: `features_of` the pictures.
        """
        return self.reading(self.records(pictures, features))[self.method]

    def records(self, pictures: list[Picture], features: Tensor | None) -> NDArray[np.void]:
        """What the workflow stores of such images, (B,); `features`: `features_of` the pictures."""
        return self.predictor.predict(self.batch(pictures, features))

    def batch(self, pictures: list[Picture], features: Tensor | None) -> Batch:
        """What the method sees of them."""
        pixels = _squares(pictures, self.predictor.input_size)
        keys = [picture.key for picture in pictures]
        return Batch.of(pixels, features if self.predictor.uses_features else None, keys)

    def features_of(self, pictures: list[Picture]) -> Tensor | None:
        """(B, C, h, w), or None where nothing needs them."""
        return self.features(pictures) if self.features else None


def backends(tensors: dict[str, Tensor], about: Mapping[str, Any]) -> dict[str, Backend]:
    """The backend of each mode, from the content of a model file."""
    return _of_method(tensors, about) if "method" in about else _of_drdc(tensors, about)


def checked(build: Callable[[], Built]) -> Built:
    """Build networks and load their weights, first without memory for either; raises if they do not match.

    So the file's description of its networks is checked before memory is allocated by it. A network that
    reads its own weights while it is built cannot be checked so; only the bounds of its settings apply.
    """
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nothing is copied
            build()
    except Exception as error:  # a meta tensor is spoken of in many ways, by torch and by a method's library
        if "meta" not in str(error):
            raise
    return build()


def _of_drdc(tensors: dict[str, Tensor], about: Mapping[str, Any]) -> dict[str, Backend]:
    """Each mode; they share the networks."""
    extractor, base, denoiser = checked(lambda: _networks(tensors, about))
    device, settings = torch_device(), Diffusion(**about["diffusion"])
    features = PictureFeatures(Backbone(**about["backbone"]), extractor.to(device))
    alpha_bar = linear_schedule(settings.timesteps, settings.beta_start, settings.beta_end)
    base, chain = base.to(device), (denoiser.to(device), alpha_bar.to(device))
    fusion, found = Fusion(**about["fusion"]), {}
    for name, mode in about["modes"].items():
        inpainter = Inpainter(*chain, Sampling(**mode["sampling"]))
        scale = {kind: (mean, deviation) for kind, (mean, deviation) in mode["statistics"].items()}
        key = FAST if name == FAST else None
        predictor = DrdcPredictor(
            base, inpainter, about["image_size"], about["seed"], key=key, base_maps=(fusion.base,)
        )
        reading = DrdcReading(fusion, scale, parts=False)
        found[name] = Backend(DRDC, predictor, features, reading, _usual(fusion, scale))
    return found


def _networks(
    tensors: dict[str, Tensor], about: Mapping[str, Any]
) -> tuple[FeatureExtractor, Reconstructor, Denoiser]:
    """The three networks of DRDC, with their weights."""
    backbone = Backbone(**about["backbone"])
    extractor = FeatureExtractor(backbone, below(tensors, "backbone"))
    base = Reconstructor(Base(**about["base"]), extractor.channels, backbone.feature_size).eval()
    base.restore(below(tensors, "base"))
    denoiser = Denoiser(Diffusion(**about["diffusion"]))
    denoiser.load_state_dict(below(tensors, "diffusion"))
    return extractor, base, denoiser


def _usual(fusion: Fusion, scale: Statistics) -> float:
    """The fused value of a pixel that has the mean of the held-out normal images in both maps."""
    base, diffusion = (
        normalise(torch.tensor(scale[kind][0]), scale[kind], fusion.normalisation)
        for kind in ("base", "diffusion")
    )
    if fusion.centred:
        diffusion = torch.zeros(())
    return float(weighted_sum(diffusion, base, fusion.weight))


def _of_method(tensors: dict[str, Tensor], about: Mapping[str, Any]) -> dict[str, Backend]:
    """The one mode of another method; its heatmaps are standardised by the held-out normal images.

    Raises:
        UserError: the method is not installed, or its settings name something outside the file.
    """
    _refuse_addresses(about["settings"])
    weights, features = below(tensors, "method"), None
    network = checked(lambda: built(weights, about))
    predictor = FittedMethod.of(network, about, about["image_size"], about["seed"])
    if below(tensors, "backbone"):
        backbone = Backbone(**about["backbone"])
        extractor = checked(lambda: FeatureExtractor(backbone, below(tensors, "backbone")))
        features = PictureFeatures(backbone, extractor.to(torch_device()))
    reading = StoredReading(predictor.name)
    return {FULL: Backend(predictor.name, predictor, features, reading, usual=0.0)}


def _squares(pictures: list[Picture], size: int) -> NDArray[np.uint8]:
    """(B, size, size, 3), as `drdc images` decodes them."""
    return np.stack([to_square(picture.image, size) for picture in pictures])


def _refuse_addresses(settings: Any) -> None:
    """Raise UserError where a text among the settings is an address, which a library might open."""
    if isinstance(settings, str) and ":" in settings:
        raise UserError(
            "",
            f"the method's settings have the address {settings!r}, and a detector downloads nothing",
            "use a model by a name that its library knows",
        )
    inner = settings.values() if isinstance(settings, dict) else settings
    for value in inner if isinstance(settings, dict | list) else ():
        _refuse_addresses(value)
