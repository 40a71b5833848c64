"""DiAD: a guided latent diffusion model reconstructs the image; features of both are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.config.backbone import Network
from drdc.config.optimisation import Optimisation
from drdc.equations.diffusion import ddim_step, predict_x0, q_sample
from drdc.equations.fusion import image_score, map_scale, upsample_base
from drdc.methods.diad import settings as sections
from drdc.methods.diad.autoencoder import (
    Adversaries,
    adversarial_loss,
    discriminator,
    kl_autoencoder,
    normalised,
    reconstruction_loss,
    unnormalised,
)
from drdc.methods.interface import History, Method, Shapes, TrainedSettings, blurred
from drdc.methods.trainer import Trainer
from drdc.models.backbone import FeatureExtractor, pretrained
from drdc.models.pretrained import Pretrained
from drdc.runtime.errors import UserError
from drdc.runtime.files import below
from drdc.runtime.identity import seed_of_bytes

if TYPE_CHECKING:
    from drdc.methods.diad.denoiser import GuidedDenoiser

#: What latents of Stable Diffusion's own autoencoder are multiplied by.
STABLE_SCALE = 0.18215
#: β of Stable Diffusion's schedule, equally spaced in √β.
BETAS, TIMESTEPS = (0.00085, 0.012), 1000


class DiAD(Method):
    """Reconstruction by a latent diffusion model that is guided by the image's semantics.

    An autoencoder brings images to latents an eighth their size. A denoiser predicts the noise of a noisy
    latent: the U-Net of Stable Diffusion 1.5 (encoder and middle frozen, decoder trained) and the
    semantic-guided network, a copy of encoder and middle that sees the image, with zero convolutions and
    spatial-aware feature fusion; see `drdc.methods.diad.denoiser`. For a test image the noised latent
    is denoised by ten DDIM steps and decoded. The heatmap is the cosine distance between pre-trained features
    of image and reconstruction, summed over three scales and smoothed; the image score is the maximum after
    eight average pools.

    What was tried so far: trained from scratch for forty CPU-minutes on the synthetic images of the demo, it
    reconstructs a small image without its defect (`config/demo-systems.yaml`, started at timestep 400: a
    guide that small cannot restore an image from pure noise). It has not been run at full size.

    Differs from the paper: the perceptual loss of the autoencoder compares features of `backbone` instead of
    VGG's; its discriminator is added after a number of epochs; gradients are not summed over several steps;
    latents are the means of the posterior; the last checkpoint counts, where the authors choose on test
    images. With `pretrained: scratch` the sizes are free, the U-Net is first trained unguided, and the text's
    tokens are zeros.
    """

    Settings = sections.Settings
    uses_features = False
    minutes = 4320  # 295,000 steps of its third training at 0.5 to 1.3 s, see docs/cluster.md
    paper_name = "DiAD"
    citation = "He et al., A Diffusion-Based Framework for Multi-Class Anomaly Detection, AAAI 2024"

    alpha_bar: Tensor
    latent_scale: Tensor

    @classmethod
    def cited(cls, settings: Mapping[str, Any], backbone: str) -> str:
        told = {
            super().cited(settings, backbone): True,
            "trained from scratch, without Stable Diffusion": settings["pretrained"] == "scratch",
            "without feature fusion, as the authors' scripts": settings["denoiser"]["fusion"] == "none",
        }
        return "; ".join(text for text, holds in told.items() if holds)

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        _check(settings, shapes.image_size)
        # diffusers takes seconds to import, which reading a configuration should not cost
        from drdc.methods.diad.denoiser import GuidedDenoiser
        from drdc.methods.diad.pretrained import load_stable_diffusion

        self.extractor = FeatureExtractor(
            Network(**settings.backbone.model_dump()), weights and below(weights, "extractor")
        )
        self.autoencoder = kl_autoencoder(settings.autoencoder)
        self.denoiser: GuidedDenoiser = GuidedDenoiser(
            settings.denoiser, len(settings.autoencoder.multipliers)
        )
        first, last = (beta**0.5 for beta in BETAS)
        betas = torch.linspace(first, last, TIMESTEPS, dtype=torch.float64).square()
        self.register_buffer("alpha_bar", torch.cumprod(1 - betas, 0).float())
        self.register_buffer("latent_scale", torch.tensor(STABLE_SCALE))
        if weights is None and settings.pretrained != "scratch":
            self.denoiser.context = load_stable_diffusion(
                settings.pretrained, self.autoencoder, self.denoiser.unet
            )

    @classmethod
    def pretrained(cls, settings: Any) -> list[Pretrained]:
        extractor = pretrained(Network(**settings.backbone.model_dump()))
        if settings.pretrained == "scratch":
            return extractor
        from drdc.methods.diad.pretrained import stable_diffusion

        return [*extractor, *stable_diffusion(settings.pretrained)]

    def fit(self, trainer: Trainer) -> History:
        settings = self.settings
        self._fit_autoencoder(trainer)
        if settings.pretrained == "scratch":
            with torch.no_grad():
                _, deviation = map_scale(
                    self._latents(images).flatten(1, 2) for images, _ in trainer.batches()
                )
            self.latent_scale.fill_(1 / max(deviation, 1e-6))
            phase = _phase(settings, settings.denoiser.pretraining_epochs, settings.denoiser.pretraining_rate)
            trainer.descend(self.denoiser.unet, self._unguided_loss, "unguided", phase)
        self.denoiser.begin_guidance()
        return trainer.descend(self.denoiser, self._guided_loss, "guided")

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        pairs = zip(self._stages(images), self._stages(self.reconstructed(images)), strict=True)
        maps = [
            upsample_base(1 - F.cosine_similarity(given, rebuilt), self.shapes.image_size)
            for given, rebuilt in pairs
        ]
        return blurred(torch.stack(maps).sum(0), self.settings.blur)

    def image_scores(self, heatmaps: Tensor, images: Tensor, features: Tensor) -> Tensor:
        for _ in range(self.settings.pools - 1):
            heatmaps = F.avg_pool2d(heatmaps[:, None], self.settings.pool_size, 1)[:, 0]
        return image_score(heatmaps, self.settings.pool_size)

    def reconstructed(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1], reconstructed by the guided diffusion model.

        As in the authors' code, a latent is noised to the last timestep, 999, and the network is told the
        first one of its chain, 901 with ten steps: both are noise alone. From a lower `start` it is noised to
        the one that is told.
        """
        hint, start = normalised(images), self.settings.start
        stride = start // self.settings.steps
        whole, told = start == len(self.alpha_bar), (self.settings.steps - 1) * stride + 1
        latents = self.latent_scale * self._latents(images)
        noised = self.alpha_bar[start - 1 if whole else told]
        latents = q_sample(latents, noised, noise_of(images, latents))
        for index in reversed(range(self.settings.steps)):
            t = index * stride + 1
            noise = self.denoiser(latents, torch.full((len(images),), t, device=images.device), hint)
            x0 = predict_x0(latents, self.alpha_bar[t], noise)
            latents = ddim_step(x0, self.alpha_bar[max(t - stride, 0)], noise)
        return unnormalised(self.autoencoder.decode(latents / self.latent_scale).sample)

    def _fit_autoencoder(self, trainer: Trainer) -> None:
        own = self.settings.autoencoder
        # Drawn before any phase, so that an interrupted fitting draws the same.
        judge = discriminator(own).to(self.alpha_bar.device)

        def plain(network: nn.Module, images: Tensor, features: Tensor) -> Tensor:
            found = reconstruction_loss(network, normalised(images), self._stages_of, own)
            return found[0] + found[1]

        def adversarial(network: Any, images: Tensor, features: Tensor) -> Tensor:
            return adversarial_loss(network, normalised(images), self._stages_of, own)

        trainer.descend(self.autoencoder, plain, "autoencoder", _phase(own, own.epochs))
        if own.adversarial_epochs:
            both = Adversaries(self.autoencoder, judge)
            trainer.descend(both, adversarial, "adversarial", _phase(own, own.adversarial_epochs))
        self.autoencoder.requires_grad_(False).eval()

    def _unguided_loss(self, network: nn.Module, images: Tensor, features: Tensor) -> Tensor:
        noisy, timesteps, noise = self._noised(images)
        return F.mse_loss(self.denoiser.unguided(noisy, timesteps), noise)

    def _guided_loss(self, network: nn.Module, images: Tensor, features: Tensor) -> Tensor:
        noisy, timesteps, noise = self._noised(images)
        return F.mse_loss(network(noisy, timesteps, normalised(images)), noise)

    @torch.no_grad()
    def _noised(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latents at a random timestep, the timesteps (B,), and the noise that is in them."""
        latents = self.latent_scale * self._latents(images)
        noise = torch.randn_like(latents)
        timesteps = torch.randint(self.settings.start, (len(latents),), device=latents.device)
        return q_sample(latents, self.alpha_bar[timesteps].view(-1, 1, 1, 1), noise), timesteps, noise

    def _latents(self, images: Tensor) -> Tensor:
        """(B, 4, h, w), the means of the autoencoder's posterior for images in [-1, 1]."""
        mean: Tensor = self.autoencoder.encode(normalised(images)).latent_dist.mean
        return mean

    def _stages_of(self, normal: Tensor) -> list[Tensor]:
        """Features of images that are normalised as the autoencoder's."""
        return self._stages(unnormalised(normal))

    def _stages(self, images: Tensor) -> list[Tensor]:
        """Feature maps of images in [-1, 1], one for each stage."""
        pixels = (images + 1) * 127.5
        return self.extractor.stages((pixels - self.extractor.mean) / self.extractor.std)


def noise_of(images: Tensor, latents: Tensor) -> Tensor:
    """Gaussian noise (B, C, h, w) for the latents of images (B, 3, H, W).

    That of each image is derived from its pixels alone: it has the same score in any batch.
    """

    def drawn(image: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(seed_of_bytes(image.cpu().numpy().tobytes()))
        return torch.randn(latents.shape[1:], generator=generator)

    return torch.stack([drawn(image) for image in images]).to(latents)


def _phase(own: Optimisation, epochs: float, rate: float | None = None) -> TrainedSettings:
    """Settings of one phase of the fitting."""
    shared = own.model_dump(include=set(Optimisation.model_fields))
    return TrainedSettings(**shared | {"epochs": epochs, "learning_rate": rate or own.learning_rate})


def _check(settings: sections.Settings, size: int) -> None:
    """Raise UserError where the settings are inconsistent, or do not fit images of that size."""
    halvings = len(settings.autoencoder.multipliers) + len(settings.denoiser.multipliers) - 2
    if size % 2**halvings or size // 2**halvings < 2:
        raise UserError(
            "",
            f"autoencoder.multipliers and denoiser.multipliers halve the size {halvings} times, which "
            f"leaves no 2×2 latent of dataset.image_size {size}",
            f"use a multiple of {2 ** (halvings + 1)}, or fewer of them",
        )
    if settings.steps * 2 > settings.start:
        raise UserError(
            "steps", f"{settings.steps} do not fit into start, {settings.start}", "use at most half"
        )
    if settings.denoiser.width % settings.denoiser.heads:
        raise UserError(
            "denoiser.heads", f"must divide denoiser.width, {settings.denoiser.width}", "change either"
        )
    if settings.pools * (settings.pool_size - 1) >= size:
        raise UserError(
            "", f"pools of pool_size leave nothing of dataset.image_size {size}", "use fewer of them"
        )
    if settings.autoencoder.adversarial_epochs and size >> settings.autoencoder.discriminator_layers < 4:
        raise UserError(
            "", f"autoencoder.discriminator_layers leave too little of {size} pixels", "use fewer"
        )
