"""CutPaste: a classifier of normal images, pasted patches and scars; a Gaussian density of its features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import field_validator
from torch import Tensor, nn
from torchvision.transforms import ColorJitter  # type: ignore[import-untyped]
from torchvision.transforms.functional import rotate  # type: ignore[import-untyped]

from drdc.config import backbone
from drdc.config.optimisation import OPTIMIZER, SCHEDULE, Optimizer, Schedule
from drdc.config.section import MOST_EPOCHS, MOST_IMAGES, MOST_PIXELS, setting
from drdc.equations.fusion import upsample_base
from drdc.methods.interface import History, JointMethod, Shapes, TrainedSettings, blurred
from drdc.methods.pixels import backbone_pixels
from drdc.methods.trainer import Trainer
from drdc.models.backbone import FeatureExtractor
from drdc.models.pretrained import Pretrained
from drdc.runtime.files import below

#: The image side to which the paper's sizes of scars refer.
PAPER_SIDE = 256


class Network(backbone.Network):
    """The network that is trained."""

    name: str = setting("resnet18.tv_in1k", "inferred", "timm model.")
    input_size: int = setting(
        256, "inferred", "Images are resized to this height and width.", ge=32, le=MOST_PIXELS
    )
    feature_size: int = setting(
        8, "ours", "Height and width of the features, and of the dense map.", ge=1, le=MOST_PIXELS
    )
    stages: backbone.Stages = setting(
        [4], "inferred", "Stages that make up the features, as timm's `out_indices`."
    )


class CutPaste(JointMethod):
    """Features learned by recognising pasted patches separate real defects from normal images too.

    The network classifies normal images, the same with a patch of their own pasted elsewhere (CutPaste), and
    the same with a long thin one, rotated (scar); both with changed colours. Then a Gaussian is fitted to the
    pooled features of the training images; minus the logarithm of its density is the image score. The DRDC
    paper lists image values only.

    The heatmap is a dense variant, ours: a second Gaussian of the features at the positions of the last
    feature map, one for all positions. The paper trains another network on patches of 64 pixels instead.

    Differs: no shifts or changes of colour of whole images; the projection head's widths are ours. `initial:
    pretrained` is the paper's variant with transfer learning, and may use more than one stage.
    """

    class Settings(TrainedSettings):
        """CutPaste (Li et al., CVPR 2021), three-way."""

        backbone: Network = setting(Network(), "inferred", "The network.")
        initial: Literal["random", "pretrained"] = setting(
            "random", "inferred", "Weights before training: random, or those of `backbone.weights`."
        )
        head: list[int] = setting([512, 128], "ours", "Widths between pooled features and classes.")
        area: tuple[float, float] = setting(
            (0.02, 0.15), "inferred", "Smallest and largest fraction of the image that a patch covers."
        )
        aspect: float = setting(
            0.3,
            "inferred",
            "Smallest ratio of a patch's sides; one divided by it is the largest.",
            gt=0,
            le=1,
        )
        scar_width: tuple[float, float] = setting(
            (2, 16), "inferred", "Smallest and largest width of a scar in pixels of an image of 256 × 256."
        )
        scar_height: tuple[float, float] = setting(
            (10, 25), "inferred", "Smallest and largest height of a scar in pixels of an image of 256 × 256."
        )
        rotation: float = setting(45, "inferred", "Largest angle of a scar in degrees.", ge=0, le=180)
        jitter: float = setting(
            0.1, "inferred", "Largest change of brightness, contrast, saturation, hue.", ge=0, le=0.5
        )
        shrinkage: float = setting(
            0.01, "ours", "Added to the variance of each feature, as a fraction of their mean variance.", gt=0
        )
        blur: float = setting(
            4.0,
            "ours",
            "Standard deviation of the Gaussian filter on the heatmap in pixels; 0 for none.",
            ge=0,
        )
        batch_size: int = setting(
            32, "inferred", "Images per step, each seen in all three ways.", ge=1, le=MOST_IMAGES
        )
        optimizer: Optimizer = setting("sgd", "inferred", OPTIMIZER)
        learning_rate: float = setting(0.03, "inferred", "Learning rate.", gt=0)
        weight_decay: float = setting(3e-5, "inferred", "Weight decay.", ge=0)
        schedule: Schedule = setting("cosine", "inferred", SCHEDULE)
        epochs: float = setting(
            580,
            "inferred",
            "Passes over the training images (65,536 steps on MVTec AD).",
            gt=0,
            le=MOST_EPOCHS,
        )

        @field_validator("area", "scar_width", "scar_height")
        @classmethod
        def _in_order(cls, value: tuple[float, float], info: Any) -> tuple[float, float]:
            most = 0.3 if info.field_name == "area" else PAPER_SIDE / 2
            if not 0 < value[0] <= value[1] <= most:
                raise ValueError(f"must be two numbers above 0 and at most {most:g}, the smaller one first")
            return value

    paper_name = "CutPaste"
    uses_features = False
    citation = (
        "Li et al., CutPaste: Self-Supervised Learning for Anomaly Detection and Localization, CVPR 2021"
    )
    differs = "dense heatmap ours"

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        untrained = weights is None and settings.initial == "random"
        state: Any = "random" if untrained else weights and below(weights, "network")
        self.network = FeatureExtractor(settings.backbone, state).requires_grad_(True)
        if untrained:  # it takes images in [-1, 1] as they are
            self.network.mean.fill_(127.5)
            self.network.std.fill_(127.5)
        channels = self.network.channels
        self.head = classifier(channels, settings.head)
        self.whole, self.place = Gaussian(channels), Gaussian(channels)
        self.recolour = ColorJitter(*[settings.jitter] * 4)

    @classmethod
    def pretrained(cls, settings: Any) -> list[Pretrained]:
        return [] if settings.initial == "random" else super().pretrained(settings)

    def loss(self, images: Tensor, features: Tensor) -> Tensor:
        views = [images, self._each(images, self.pasted), self._each(images, self.scarred)]
        classes = torch.arange(3, device=images.device).repeat_interleave(len(images))
        return F.cross_entropy(self.head(self._features(torch.cat(views)).mean((2, 3))), classes)

    def fit(self, trainer: Trainer) -> History:
        history = super().fit(trainer)
        self.eval()
        whole, place = Moments(), Moments()
        with torch.no_grad():
            for images, _ in trainer.batches():
                found = self._features(images)
                whole.add(found.mean((2, 3)))
                place.add(found.permute(0, 2, 3, 1).flatten(0, 2))
        self.whole.set(whole, self.settings.shrinkage)
        self.place.set(place, self.settings.shrinkage)
        return history

    def heatmaps_and_scores(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        found = self._features(images)
        energy = upsample_base(self.place(found.permute(0, 2, 3, 1)), self.shapes.image_size)
        return blurred(energy, self.settings.blur), self.whole(found.mean((2, 3)))

    def pasted(self, image: Tensor) -> Tensor:
        """An image (3, H, W) with a rectangle of its own, recoloured, at another position."""
        size, s = image.shape[-1], self.settings
        area, ratio = size**2 * _between(*s.area), _between(s.aspect, 1)
        ratio = ratio if _between(0, 1) < 0.5 else 1 / ratio
        height, width = (
            min(max(round(side), 1), size) for side in ((area * ratio) ** 0.5, (area / ratio) ** 0.5)
        )
        patch = self._recoloured(_cut(image, height, width))
        return _paste(image, patch, torch.ones_like(patch[:1]))

    def scarred(self, image: Tensor) -> Tensor:
        """An image (3, H, W) with a long thin rectangle of its own, recoloured and rotated, elsewhere."""
        s, unit = self.settings, image.shape[-1] / PAPER_SIDE
        height, width = (max(round(unit * _between(*side)), 1) for side in (s.scar_height, s.scar_width))
        patch = self._recoloured(_cut(image, height, width))
        opaque = torch.cat([patch, torch.ones_like(patch[:1])])
        turned = rotate(opaque, _between(-s.rotation, s.rotation), expand=True)
        return _paste(image, turned[:3], turned[3:])

    def _features(self, images: Tensor) -> Tensor:
        found: Tensor = self.network(backbone_pixels(images))
        return found

    def _recoloured(self, patch: Tensor) -> Tensor:
        changed: Tensor = self.recolour((patch + 1) / 2) * 2 - 1
        return changed

    @staticmethod
    def _each(images: Tensor, change: Any) -> Tensor:
        return torch.stack([change(image) for image in images])


class Gaussian(nn.Module):
    """A normal distribution of vectors; called, it gives minus their log density, up to a constant.

    Attributes:
        mean: (C,).
        whitening: L⁻¹ (C, C) of the covariance L Lᵀ.
    """

    mean: Tensor
    whitening: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("whitening", torch.eye(channels))

    def set(self, moments: Moments, shrinkage: float) -> None:
        """Take mean and covariance; `shrinkage` of the mean variance is added to each variance."""
        mean, covariance = moments.result()
        identity = torch.eye(len(mean), dtype=mean.dtype)
        covariance += (shrinkage * covariance.diagonal().mean()).clamp(min=1e-12) * identity
        inverse = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), identity, upper=False)
        self.mean.copy_(mean)
        self.whitening.copy_(inverse)

    def forward(self, vectors: Tensor) -> Tensor:
        """(..., C) -> (...): (z − μ)ᵀ Σ⁻¹ (z − μ) / 2."""
        return 0.5 * ((vectors - self.mean) @ self.whitening.T).square().sum(-1)


class Moments:
    """Mean and covariance of vectors that come in batches, in double precision on the CPU."""

    def __init__(self) -> None:
        self.count, self.total, self.products = 0, torch.zeros(()), torch.zeros(())

    def add(self, vectors: Tensor) -> None:
        """Add some vectors (N, C)."""
        values = vectors.double().cpu()
        self.count += len(values)
        self.total, self.products = self.total + values.sum(0), self.products + values.T @ values

    def result(self) -> tuple[Tensor, Tensor]:
        """(C,) and (C, C)."""
        mean = self.total / self.count
        return mean, self.products / self.count - mean[:, None] * mean


def classifier(channels: int, widths: list[int]) -> nn.Sequential:
    """Pooled features (B, C) -> (B, 3): layers with batch norm and ReLU, then a linear one."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip([channels, *widths], widths, strict=False):
        layers += [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear([channels, *widths][-1], 3))


def _between(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()


def _cut(image: Tensor, height: int, width: int) -> Tensor:
    """A random rectangle of an image (3, H, W)."""
    y, x = _corner(image, height, width)
    return image[:, y : y + height, x : x + width]


def _paste(image: Tensor, patch: Tensor, opaque: Tensor) -> Tensor:
    """The image with a patch (3, h, w) at a random position, where `opaque` (1, h, w) is above a half."""
    height, width = patch.shape[1:]
    y, x = _corner(image, height, width)
    changed = image.clone()
    place = changed[:, y : y + height, x : x + width]
    place.copy_(torch.where(opaque > 0.5, patch, place))
    return changed


def _corner(image: Tensor, height: int, width: int) -> tuple[int, int]:
    rows, columns = image.shape[1] - height + 1, image.shape[2] - width + 1
    return int(_between(0, rows)), int(_between(0, columns))
