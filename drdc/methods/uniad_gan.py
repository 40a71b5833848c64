"""UniAD+GAN: UniAD's map refined by an autoencoder of images with a discriminator."""

from __future__ import annotations

from torch import Tensor, nn

from drdc.config.section import MOST_CHANNELS, setting
from drdc.methods.uniad.base import CITATION
from drdc.methods.uniad.networks import Adversarial
from drdc.methods.uniad.refined import Refined, RefinedSettings


class UniADGAN(Refined):
    """UniAD, and an autoencoder of images that also has to deceive a discriminator.

    Its loss is the squared error and the non-saturating adversarial loss, weighted; the discriminator learns
    in the same steps, on each batch and its reconstruction.
    """

    class Settings(RefinedSettings):
        """UniAD with a GAN (a variant of the DRDC paper)."""

        code: int = setting(
            256,
            "ours",
            "Dimension of the code between the two halves of the generator.",
            ge=1,
            le=MOST_CHANNELS,
        )
        adversarial_weight: float = setting(
            0.01, "ours", "Weight of the adversarial loss relative to the squared error.", ge=0
        )

    paper_name = "UniAD+GAN"
    citation = (
        f"{CITATION}, with the adversarial "
        "loss of Goodfellow et al., Generative Adversarial Nets, NeurIPS 2014"
    )

    def image_network(self) -> nn.Module:
        s = self.settings
        return Adversarial(self.shapes.image_size, s.width, s.levels, s.code)

    def image_loss(self, image_model: Adversarial, images: Tensor) -> Tensor:
        error, recognised, wrong = image_model.losses(images)
        return error + self.settings.adversarial_weight * recognised + wrong
