"""EfficientAD of anomalib: its teacher, its natural images, and the scales of its maps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2  # type: ignore[import-untyped]

from drdc.equations.fusion import channel_scale
from drdc.methods.anomalib.adapter import Adapter
from drdc.methods.anomalib.images import images_below
from drdc.methods.interface import History, Method
from drdc.methods.trainer import Trainer
from drdc.runtime.digests import sha256_of
from drdc.runtime.errors import UserError

_RELEASES = "https://github.com/open-edge-platform/anomalib/releases/download"
_IMAGES = "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz"


class EfficientAd(Adapter):
    """A student of a distilled teacher, and an autoencoder.

    Before the training the teacher's channels are standardised over the training images; after it the two
    maps are scaled by their quantiles over the held-out normal images.
    """

    def __init__(self, settings: Any, weights: str) -> None:
        super().__init__(settings, weights)
        network = self.lightning.model
        if weights != "scratch":
            self._load_teacher(weights)
        for part in (network.teacher, network.mean_std, network.quantiles):
            part.requires_grad_(False)

    def fit(self, method: Method, trainer: Trainer) -> History:
        network = self.lightning.model
        self.lightning.imagenet_iterator = self._natural_images()
        with torch.no_grad():
            outputs = (network.teacher(self.prepared(images)) for images, _ in trainer.batches())
            scale = channel_scale(outputs)
        for name, values in zip(("mean", "std"), scale, strict=True):
            network.mean_std[name].copy_(values.view(1, -1, 1, 1))
        history = super().fit(method, trainer)
        method.eval()
        with torch.no_grad():
            held_out = (self.prepared(images) for images, _ in trainer.held_out())
            maps = zip(*(network.get_maps(images) for images in held_out), strict=True)
            for name, found in zip(("st", "ae"), maps, strict=True):
                low, high = self.lightning._get_quantiles_of_maps(list(found))
                network.quantiles[f"qa_{name}"].copy_(low)
                network.quantiles[f"qb_{name}"].copy_(high)
        return history

    def weights_digest(self) -> str:
        return sha256_of(Path(self.settings.weights))

    def _teacher_file(self) -> str:
        return f"pretrained_teacher_{self.lightning.model_size.value}.pth"

    def _unusable(self, problem: str) -> UserError:
        fix = (
            f"unpack {_RELEASES}/efficientad_pretrained_weights/efficientad_pretrained_weights.zip in any "
            f"folder and name {self._teacher_file()} here"
        )
        return UserError("weights", problem, fix)

    def _given(self, weights: str) -> Path:
        """The teacher's file; UserError where it is missing."""
        if not Path(weights).is_file():
            raise self._unusable(f"efficient_ad needs {self._teacher_file()} (there is no file {weights!r})")
        return Path(weights)

    def _load_teacher(self, weights: str) -> None:
        path = self._given(weights)
        try:
            self.lightning.model.teacher.load_state_dict(torch.load(path, "cpu", weights_only=True))
        except Exception as error:  # torch raises many kinds
            raise self._unusable(f"{weights} is not {self._teacher_file()}") from error

    def _natural_images(self) -> Iterator[list[Tensor]]:
        """Endless batches of natural images, on which the student must not imitate the teacher."""
        fix = f"unpack {_IMAGES} in any folder and name that here"
        if "imagenet_dir" not in self.settings.arguments:
            raise UserError("arguments.imagenet_dir", "efficient_ad needs a folder of natural images", fix)
        paths = images_below(self.settings.arguments["imagenet_dir"], fix)
        return self._drawn(paths)

    def _drawn(self, paths: list[Path]) -> Iterator[list[Tensor]]:
        size = self.settings.input_size
        change = v2.Compose(
            [
                v2.Resize((2 * size, 2 * size)),
                v2.RandomGrayscale(0.3),
                v2.CenterCrop(size),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
            ]
        )
        while True:
            chosen = torch.randint(len(paths), (self.settings.batch_size,)).tolist()
            yield [torch.stack([change(Image.open(paths[one]).convert("RGB")) for one in chosen])]
