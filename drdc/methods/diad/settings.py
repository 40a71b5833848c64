"""Settings of DiAD, by part."""

from __future__ import annotations

import math
from typing import Literal

from drdc.config.backbone import Stages
from drdc.config.optimisation import BETAS, OPTIMIZER, Betas, Optimisation, Optimizer
from drdc.config.section import MOST_CHANNELS, MOST_EPOCHS, MOST_IMAGES, MOST_PIXELS, Section, setting
from drdc.methods.interface import TrainedSettings


class Autoencoder(Optimisation):
    """The KL autoencoder between pixels and latents, fine-tuned (or trained) before the denoiser."""

    width: int = setting(
        128, "inferred", "Channels of the first level.", ge=16, le=MOST_CHANNELS, multiple_of=16
    )
    multipliers: list[int] = setting(
        [1, 2, 4, 4],
        "inferred",
        "Channels of each level as multiples of `width`; each after the first halves the resolution "
        "(factor 8).",
        min_length=2,
        max_length=4,
    )
    layers_per_block: int = setting(2, "inferred", "Residual blocks per level.", ge=1, le=100)
    epochs: float = setting(
        60,
        "ours",
        "Passes over the training images without the discriminator (50,000 steps on MVTec).",
        gt=0,
        le=MOST_EPOCHS,
    )
    adversarial_epochs: float = setting(
        20, "ours", "Further passes with the discriminator; 0 for none.", ge=0, le=MOST_EPOCHS
    )
    kl_weight: float = setting(
        1e-6,
        "inferred",
        "Weight of the KL divergence from a unit Gaussian, summed over latents and pixels alike.",
        ge=0,
    )
    perceptual_weight: float = setting(
        1.0, "inferred", "Weight of the perceptual distance, in features of `backbone`.", ge=0
    )
    discriminator_weight: float = setting(
        0.5, "inferred", "Weight of the adversarial gradient relative to that of the reconstruction.", ge=0
    )
    discriminator_width: int = setting(
        64, "inferred", "Channels of the discriminator's first layer.", ge=1, le=MOST_CHANNELS
    )
    discriminator_layers: int = setting(
        3, "inferred", "Downsampling layers of the discriminator.", ge=1, le=4
    )
    batch_size: int = setting(
        4, "inferred", "Images per step (the authors sum the gradients of 8 steps).", ge=1, le=MOST_IMAGES
    )
    optimizer: Optimizer = setting("adam", "inferred", OPTIMIZER)
    betas: Betas = setting((0.5, 0.9), "inferred", BETAS)
    learning_rate: float = setting(1.8e-4, "inferred", "Learning rate.", gt=0)
    weight_decay: float = setting(0.0, "inferred", "Weight decay.", ge=0)


class Denoiser(Section):
    """The denoising U-Net in latent space; the defaults are Stable Diffusion 1.5."""

    width: int = setting(
        320, "inferred", "Channels of the first level.", ge=16, le=MOST_CHANNELS, multiple_of=16
    )
    multipliers: list[int] = setting(
        [1, 2, 4, 4],
        "inferred",
        "Channels of each level as multiples of `width`; each after the first halves the resolution.",
        min_length=2,
        max_length=6,
    )
    layers_per_block: int = setting(2, "inferred", "Residual blocks per level.", ge=1, le=100)
    heads: int = setting(8, "inferred", "Attention heads; they divide the width.", ge=1, le=16_384)
    fusion: Literal["paper", "none"] = setting(
        "paper",
        "paper",
        "Spatial-aware feature fusion; none: of the guide only its middle is added, as in the authors' "
        "released training and test scripts (`only_mid_control`).",
    )
    context_width: int = setting(768, "inferred", "Channels of the text's tokens.", ge=1, le=MOST_CHANNELS)
    pretraining_epochs: float = setting(
        300,
        "ours",
        "With `pretrained: scratch`: passes in which the whole U-Net is trained unguided.",
        gt=0,
        le=MOST_EPOCHS,
    )
    pretraining_rate: float = setting(1e-4, "ours", "Learning rate of that training.", gt=0)


class Extractor(Section):
    """The frozen pre-trained network whose features of input and reconstruction are compared."""

    name: str = setting("resnet50.a1_in1k", "inferred", "timm model.")
    weights: str = setting(
        "hub",
        "ours",
        "`hub`, `package` or a file, as for the experiment's own backbone (`backbone.weights`).",
    )
    stages: Stages = setting([1, 2, 3], "inferred", "Stages (strides 4, 8, 16), as timm's `out_indices`.")


class Settings(TrainedSettings):
    """DiAD (He et al., AAAI 2024)."""

    pretrained: str = setting(
        "hub",
        "ours",
        "Stable Diffusion 1.5 from the `hub`, or its folder in diffusers' format (vae, unet, text_encoder); "
        "`scratch`: nothing, and the autoencoder and the U-Net are trained from scratch first.",
    )
    autoencoder: Autoencoder = setting(Autoencoder(), "inferred", "The autoencoder.")
    denoiser: Denoiser = setting(Denoiser(), "inferred", "The denoising U-Net.")
    backbone: Extractor = setting(Extractor(), "inferred", "The feature extractor.")
    start: int = setting(
        1000, "inferred", "The latent is noised to the last of that many timesteps.", ge=2, le=1000
    )
    steps: int = setting(10, "inferred", "DDIM steps, equally spaced over them.", ge=1, le=16_384)
    blur: float = setting(
        5.0, "inferred", "Standard deviation of the Gaussian filter on the heatmap in pixels.", ge=0
    )
    pool_size: int = setting(8, "inferred", "Side of each average pool (image score).", ge=1, le=MOST_PIXELS)
    pools: int = setting(
        8, "inferred", "Average pools one after the other before the maximum.", ge=1, le=16_384
    )
    batch_size: int = setting(
        12, "inferred", "Images per step (the authors sum the gradients of 4).", ge=1, le=MOST_IMAGES
    )
    learning_rate: float = setting(1e-5, "inferred", "Learning rate.", gt=0)
    weight_decay: float = setting(0.01, "inferred", "Weight decay.", ge=0)
    epochs: float = setting(1000, "inferred", "Passes over the training images.", gt=0, le=MOST_EPOCHS)


def groups(width: int) -> int:
    """Groups of the group norms of a network whose first level has that width: 32 from 128 channels on, as
    in Stable Diffusion, and below at least four channels in each.

    With one channel in a group the norm before the last layer would remove each channel's mean, and with it
    the image's colours.
    """
    return math.gcd(width, min(width // 4, 32))
