"""UniAD+UNet: UniAD's map refined by a U-Net that reconstructs images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from drdc.config.section import setting
from drdc.methods.uniad.base import CITATION
from drdc.methods.uniad.networks import UNet
from drdc.methods.uniad.refined import Refined, RefinedSettings


class UniADUNet(Refined):
    """UniAD, and a U-Net that learns to reconstruct its input, by the squared error.

    It sees the whole image and has skips at full size, so that it may learn to copy defects too.
    """

    class Settings(RefinedSettings):
        """UniAD with a U-Net (a variant of the DRDC paper)."""

        levels: int = setting(4, "ours", "Number of downsamplings of the image network.", ge=1, le=12)

    paper_name = "UniAD+UNet"
    citation = (
        f"{CITATION}, with the network of "
        "Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015"
    )
    differs = "fusion is ours"

    def image_network(self) -> nn.Module:
        return UNet(self.shapes.image_size, self.settings.width, self.settings.levels)

    def image_loss(self, image_model: UNet, images: Tensor) -> Tensor:
        return F.mse_loss(image_model(images), images)
