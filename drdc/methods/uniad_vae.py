"""UniAD+VAE: UniAD's map refined by a variational autoencoder of images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from drdc.config.section import MOST_CHANNELS, setting
from drdc.methods.uniad.base import CITATION
from drdc.methods.uniad.networks import Variational
from drdc.methods.uniad.refined import Refined, RefinedSettings


class UniADVAE(Refined):
    """UniAD, and an autoencoder of images whose code is drawn in training and kept near N(0, 1).

    Its loss is the squared error and the code's KL divergence for each number of the image, weighted. At test
    the mean code is decoded.
    """

    class Settings(RefinedSettings):
        """UniAD with a VAE (a variant of the DRDC paper)."""

        code: int = setting(256, "ours", "Dimension of the code.", ge=1, le=MOST_CHANNELS)
        kl_weight: float = setting(0.01, "ours", "Weight of the KL divergence; 1 is the plain bound.", ge=0)

    paper_name = "UniAD+VAE"
    citation = (
        f"{CITATION}, with the autoencoder of Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014"
    )

    def image_network(self) -> nn.Module:
        s = self.settings
        return Variational(self.shapes.image_size, s.width, s.levels, s.code)

    def image_loss(self, image_model: Variational, images: Tensor) -> Tensor:
        if not image_model.training:  # the held-out loss is that of the reconstruction behind the heatmaps
            return F.mse_loss(image_model(images), images)
        reconstructed, divergence = image_model.sampled(images)
        per_number = divergence.mean() / images[0].numel()
        return F.mse_loss(reconstructed, images) + self.settings.kl_weight * per_number
