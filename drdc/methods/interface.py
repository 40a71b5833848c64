"""The interface of a method: a network with settings that is fitted to normal images and gives heatmaps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur  # type: ignore[import-untyped]

from drdc.config.backbone import Network, other_backbone, title_of
from drdc.config.departures import departures
from drdc.config.optimisation import other_optimizer
from drdc.equations.fusion import image_score
from drdc.methods.inputs import Shapes
from drdc.methods.settings import MethodSettings, TrainedSettings
from drdc.models.backbone import pretrained
from drdc.models.pretrained import Pretrained
from drdc.runtime.errors import UserError
from drdc.training.state import History

if TYPE_CHECKING:
    from drdc.methods.trainer import Trainer

#: What the file of a method needs.
__all__ = ["History", "JointMethod", "Method", "MethodSettings", "Shapes", "TrainedSettings", "blurred"]


class Method(nn.Module):
    """A method. One subclass in a file of this folder is a method of the name of the file.

    Its state is its `state_dict`: the results of fitting belong into parameters and buffers. Children whose
    parameters are all frozen stay in evaluation mode.

    In all methods `images` are (B, 3, H, W) float32 in [-1, 1] and `features` (B, C, h, w) float32, those of
    the experiment's backbone. Randomness comes from torch's global generator, which the caller seeds.

    Args:
        settings: an instance of the class's `Settings`.
        shapes: sizes of images and features.
        weights: the state of a fitted method that is about to be loaded: pre-trained networks are taken from
            it instead of being fetched. None for a new method.

    Attributes:
        Settings: its settings, which may need only light imports.
        paper_name: its name in the DRDC paper's tables; empty where they do not have it.
        uses_features: whether `loss` or `heatmaps` use the experiment's features, if it has no `backbone` of
            its own; else they may be empty.
        citation: authors, title, place and year.
        differs: how this method differs from that, in few words, whatever the settings.
        minutes: time limit of its training on a cluster.
        imported: whether there is no network that is fitted here and predicts, but the heatmaps are read from
            files that were made elsewhere (`drdc.methods.heatmaps`).
        paper_backbone: the pre-trained network of its paper, as timm names it, where this method uses the
            experiment's features; empty for none. Others have it as the default of `backbone`.
    """

    Settings: ClassVar[type[MethodSettings]] = MethodSettings
    paper_name: ClassVar[str] = ""
    uses_features: ClassVar[bool] = True
    citation: ClassVar[str] = ""
    differs: ClassVar[str] = ""
    minutes: ClassVar[int] = 1440
    imported: ClassVar[bool] = False
    paper_backbone: ClassVar[str] = ""

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.settings, self.shapes = settings, shapes

    @classmethod
    def input_size(cls, settings: Mapping[str, Any], image_size: int) -> int:
        """Height and width of the images that it sees, with these settings, which are complete.

        Its own `input_size` or that of its own backbone, if it has one; else `dataset.image_size`.
        """
        own = (settings.get("backbone") or settings).get("input_size")
        return image_size if own is None else int(own)

    @classmethod
    def uses_features_with(cls, settings: Mapping[str, Any]) -> bool:
        """Whether it sees the experiment's features with these settings, which are complete."""
        return cls.uses_features and settings.get("backbone") is None

    @classmethod
    def name_in_paper(cls, settings: Mapping[str, Any]) -> str:
        """Its name in the paper's tables with these settings, which are complete; empty for none."""
        return cls.paper_name

    @classmethod
    def cited(cls, settings: Mapping[str, Any], backbone: str) -> str:
        """Its citation, and how it differs with these settings, which are complete; for the tables.

        The settings have a `citation` where the configuration names one in place of the method's own.
        `backbone` is the title of the experiment's.
        """
        published = cls.Settings()
        own = getattr(published, "backbone", None)
        used = title_of(settings["backbone"]) if settings.get("backbone") else backbone
        told = (
            settings.get("citation") or cls.citation,
            cls.differs,
            departures(settings, published),
            other_optimizer(settings, getattr(published, "optimizer", "")),
            other_backbone(used, own.name if own else cls.paper_backbone),
        )
        return "; ".join(filter(None, told))

    @classmethod
    def pretrained(cls, settings: Any) -> list[Pretrained]:
        """The pre-trained networks that it loads with these settings, an instance of `Settings`.

        The stage `weights` fetches them, because training does not use the network. By default that of its
        setting `backbone`, if it has one; a method that loads others lists them here.
        """
        own = getattr(settings, "backbone", None)
        return pretrained(own) if isinstance(own, Network) else []

    def loss(self, images: Tensor, features: Tensor) -> Tensor:
        """Training loss of a batch of normal images, a scalar."""
        raise NotImplementedError(f"{type(self).__name__} gives neither a loss nor a fit of its own")

    def fit(self, trainer: Trainer) -> History:
        """Fit to the training images; returns the loss curve, empty where nothing is trained by gradients.

        The default minimises `loss`. A method with several phases calls `trainer.descend` for each; one
        without gradients reads `trainer.batches()` and fills its buffers.
        """
        return trainer.descend(self, type(self).loss)

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        """(B, H, W) float32 anomaly scores of the pixels, higher = more anomalous; in evaluation mode.

        Noise should be derived from each image alone, so that its score does not depend on the batch.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no heatmaps")

    def image_scores(self, heatmaps: Tensor, images: Tensor, features: Tensor) -> Tensor:
        """(B,) float32 anomaly scores of the images; by default the maximum of the average-pooled heatmap."""
        return image_score(heatmaps, min(self.settings.pool_size, self.shapes.image_size))

    def heatmaps_and_scores(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """`heatmaps` and `image_scores`; of a `JointMethod` in one."""
        heatmaps = self.heatmaps(images, features).float()
        self.check_shape("heatmaps", heatmaps, images)
        return heatmaps, self.image_scores(heatmaps, images, features)

    def check_shape(self, what: str, found: Tensor, images: Tensor) -> None:
        """Raise UserError where its `heatmaps` are not (B, H, W), or its `scores` not (B,), of the images."""
        wanted = (len(images), *images.shape[2:]) if what == "heatmaps" else (len(images),)
        if found.shape != wanted:
            raise UserError(
                "",
                f"the {what} of {type(self).__name__} for {len(images)} images have the shape "
                f"{tuple(found.shape)}",
                f"return {wanted}",
            )

    def train(self, mode: bool = True) -> Method:
        super().train(mode)
        for child in self.children():
            parameters = list(child.parameters())
            if parameters and not any(p.requires_grad for p in parameters):
                child.eval()
        return self

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Load a saved state; buffers take the sizes that fitting gave them (memory banks)."""
        for name, buffer in list(self.named_buffers()):
            if name in weights and weights[name].shape != buffer.shape:
                path, _, leaf = name.rpartition(".")
                setattr(self.get_submodule(path), leaf, torch.empty_like(weights[name]))
        self.load_state_dict(dict(weights))


class JointMethod(Method):
    """A method that computes heatmaps and image scores together: it defines only `heatmaps_and_scores`."""

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        return self.heatmaps_and_scores(images, features)[0]

    def image_scores(self, heatmaps: Tensor, images: Tensor, features: Tensor) -> Tensor:
        return self.heatmaps_and_scores(images, features)[1]

    def heatmaps_and_scores(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError(f"{type(self).__name__} gives no heatmaps and scores")


def blurred(heatmaps: Tensor, deviation: float) -> Tensor:
    """Heatmaps (…, H, W) after a Gaussian filter; `deviation`: standard deviation in pixels, 0 for none."""
    if deviation == 0:
        return heatmaps
    reach = min(round(4 * deviation), heatmaps.shape[-1] - 1)  # what reflection at the border allows
    return gaussian_blur(heatmaps, [2 * reach + 1] * 2, [deviation] * 2)
