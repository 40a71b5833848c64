"""How a model of anomalib is fitted with this project's training loop; one class for each kind of fitting."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from drdc.config.backbone import Network
from drdc.methods.anomalib.models import build
from drdc.methods.interface import History, Method
from drdc.methods.trainer import Trainer
from drdc.models.backbone import pretrained
from drdc.runtime.errors import UserError, out_of_memory


class Adapter:
    """A model that is trained by gradients of the loss that its `training_step` gives.

    Args:
        settings: of the method.
        weights: where its pre-trained networks come from, see `weights_from`.

    Attributes:
        lightning: anomalib's module; its `model` is the network.
        networks: timm's names of the pre-trained networks in it.
    """

    def __init__(self, settings: Any, weights: str) -> None:
        self.settings = settings
        built, self.networks = build(settings.model, self.arguments(), settings.input_size, weights)
        self.lightning: Any = built
        for name in ("log", "log_dict"):
            setattr(self.lightning, name, _unlogged)
        freeze_extractors(self.lightning)

    def arguments(self) -> dict[str, Any]:
        """Arguments of anomalib's class."""
        return dict(self.settings.arguments)

    def weights_digest(self) -> str:
        """SHA-256 of its pre-trained network, or, where it has several, of their digests."""
        used = [Network(name=name, weights=self.settings.weights) for name in self.networks]
        found = [network.digest() for own in used for network in pretrained(own)]
        return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()

    def fit(self, method: Method, trainer: Trainer) -> History:
        """Fit the network in place."""
        return trainer.descend(method, type(method).loss)

    def prepared(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1], prepared for the model, (B, 3, input_size, input_size)."""
        # contiguous, as some losses take views of the features
        return self.lightning.pre_processor.transform((images + 1) / 2).contiguous()

    def loss(self, images: Tensor) -> Tensor:
        """Training loss of a batch of images, prepared for the model."""
        self.lightning.to(images.device)
        with giving_losses(self.lightning), fitting_images(self.settings):
            return self.step(images)

    def step(self, images: Tensor) -> Tensor:
        """The loss as anomalib computes it."""
        from anomalib.data import ImageBatch

        normal = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool, device=images.device)
        batch = ImageBatch(image=images, gt_mask=normal, gt_label=normal[:, 0, 0])
        found = self.lightning.training_step(batch, 0)
        return found["loss"] if isinstance(found, Mapping) else found


class DrawsElsewhere(Adapter):
    """A model whose augmentation draws from generators that the training loop does not seed."""

    def step(self, images: Tensor) -> Tensor:
        with all_seeded():
            return super().step(images)


class HardPlaces(Adapter):
    """A model whose loss reduces the gradient of easy positions, and so needs one for held-out images too."""

    def loss(self, images: Tensor) -> Tensor:
        training = torch.is_grad_enabled()
        with torch.enable_grad():
            found = super().loss(images)
        return found if training else found.detach()


class Dinomaly(HardPlaces):
    """A model that concentrates on ever harder positions: it gets the number of the step."""

    def __init__(self, settings: Any, weights: str) -> None:
        super().__init__(settings, weights)
        self.lightning.model.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def loss(self, images: Tensor) -> Tensor:
        found = super().loss(images)
        self.lightning.model.steps += int(torch.is_grad_enabled())  # parts of batches; not held-out images
        return found

    def step(self, images: Tensor) -> Tensor:
        network = self.lightning.model
        return network(images, global_step=int(network.steps) // self.settings.accumulation)


def freeze_extractors(lightning: nn.Module) -> None:
    """Freeze the parts that anomalib never trains, so that optimiser and held-out loss ignore them."""
    from anomalib.models.components import TimmFeatureExtractor

    for part in lightning.modules():
        if isinstance(part, TimmFeatureExtractor) and not part.requires_grad:
            for parameter in part.parameters():
                parameter.requires_grad_(False)


@contextmanager
def giving_losses(lightning: Any) -> Iterator[None]:
    """anomalib's networks return the inputs of the loss in training mode, and scores otherwise.

    Only the outermost modules are switched: dropout and batch norm stay as the training loop has set them,
    also for the loss on held-out images.
    """
    flagged = [module for module in (lightning, lightning.model) if not module.training]
    for module in flagged:
        module.training = True
    try:
        yield
    finally:
        for module in flagged:
            module.training = False


@contextmanager
def fitting_images(settings: Any) -> Iterator[None]:
    """Turn the many exceptions of a model that refuses images of this size into one sentence."""
    try:
        yield
    except (AssertionError, RuntimeError, ValueError) as error:
        if out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            "",
            f"anomalib's {settings.model} cannot be fitted to images of {settings.input_size} pixels with "
            f"these arguments ({reason})",
            "change input_size or arguments",
        ) from error


@contextmanager
def all_seeded() -> Iterator[None]:
    """Seed the generators of NumPy and Python by torch's, and restore them afterwards."""
    before = np.random.get_state(), random.getstate()
    seed = int(torch.randint(2**31, ()))
    np.random.seed(seed)
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])


def _unlogged(*values: Any, **options: Any) -> None:
    """In place of Lightning's `log`, which warns without a trainer of its own."""
