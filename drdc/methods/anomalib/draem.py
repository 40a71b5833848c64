"""DRAEM of anomalib: the textures of its synthetic defects."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from drdc.methods.anomalib.adapter import Adapter
from drdc.methods.anomalib.images import images_below, made_textures
from drdc.methods.interface import History, Method
from drdc.methods.trainer import Trainer
from drdc.runtime.errors import UserError

_ADVICE = (
    "unpack https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz there and name the folder "
    "in arguments.dtd_dir, or leave that out for synthetic textures"
)


class FocalLoss(nn.Module):
    """Focal loss that weighs all pixels alike, as the authors'.

    That of anomalib 2.7 gives normal pixels the weight 1 − α = 0 with kornia 0.9: a map that calls everything
    anomalous costs nothing.
    """

    def forward(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Logits (B, 2, H, W) and classes (B, H, W) -> scalar."""
        loss = F.cross_entropy(logits, classes, reduction="none")
        return ((1 - (-loss).exp()).square() * loss).mean()


class Draem(Adapter):
    """DRAEM pastes textures into normal images; without a folder of them (`dtd_dir`) synthetic ones.

    `base_width` is the number of channels of the autoencoder at full size, 128 as published; the U-Net that
    segments has half of it. A CPU can train one a sixteenth as wide.
    """

    def __init__(self, settings: Any, weights: str) -> None:
        super().__init__(settings, weights)
        self.lightning.loss.focal_loss = FocalLoss()
        width = settings.arguments.get("base_width")
        if width is not None:
            self._narrow(width)

    def arguments(self) -> dict[str, Any]:
        given = super().arguments()
        given.pop("base_width", None)
        # anomalib fetches the textures where the folder is missing; a model that is loaded needs none
        return given | {"dtd_dir": Path(__file__).parent}

    def _narrow(self, width: Any) -> None:
        """Put networks of that width in place of the published ones."""
        from anomalib.models.image.draem.torch_model import DiscriminativeSubNetwork, ReconstructiveSubNetwork

        if not isinstance(width, int) or width < 2:
            raise UserError(
                "arguments.base_width", f"{width!r} is not a width", "use an integer from 2 to 128"
            )
        network, attention = self.lightning.model, self.lightning.sspcab
        network.reconstructive_subnetwork = ReconstructiveSubNetwork(base_width=width, sspcab=attention)
        network.discriminative_subnetwork = DiscriminativeSubNetwork(6, 2, base_width=width // 2)
        if attention:
            self.lightning.setup_sspcab()

    def fit(self, method: Method, trainer: Trainer) -> History:
        folder = self.settings.arguments.get("dtd_dir")
        made = folder is None
        with made_textures(trainer.job.seed) if made else nullcontext(images_below(folder, _ADVICE)) as paths:
            self.lightning.augmenter.anomaly_source_paths = paths
            return super().fit(method, trainer)
