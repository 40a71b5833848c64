"""DiAD's autoencoder between pixels and latents, and the losses it is trained with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.methods.diad.settings import Autoencoder, groups

#: Images, normalised as the autoencoder's -> feature maps (B, C, h, w) of a frozen network.
Features = Callable[[Tensor], Sequence[Tensor]]
#: ImageNet's mean and standard deviation, for images in [-1, 1].
MEAN = tuple(2 * mean - 1 for mean in (0.485, 0.456, 0.406))
DEVIATION = tuple(2 * deviation for deviation in (0.229, 0.224, 0.225))


def normalised(images: Tensor) -> Tensor:
    """Images (B, 3, H, W) in [-1, 1] as the autoencoder takes them."""
    mean, deviation = (images.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (images - mean) / deviation


def unnormalised(images: Tensor) -> Tensor:
    """Outputs of the autoencoder (B, 3, H, W) as images in [-1, 1]; values beyond are clipped."""
    mean, deviation = (images.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (images * deviation + mean).clamp(-1, 1)


def kl_autoencoder(settings: Autoencoder) -> Any:
    """diffusers' `AutoencoderKL` with four latent channels; at the defaults that of Stable Diffusion 1.5."""
    from diffusers import AutoencoderKL  # seconds to import, which reading a configuration should not cost

    levels = len(settings.multipliers)
    return AutoencoderKL(
        block_out_channels=tuple(settings.width * m for m in settings.multipliers),
        layers_per_block=settings.layers_per_block,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=4,
        norm_num_groups=groups(settings.width),
    )


def discriminator(settings: Autoencoder) -> nn.Sequential:
    """Patch discriminator: (B, 3, H, W) -> (B, 1, h, w), high where a patch looks like one of a real image.

    Convolutions of side 4 with leaky ReLUs, batch norms between the first and the last; with three of stride
    2 each value sees 70×70 pixels (Isola et al., CVPR 2017).
    """
    width, halvings = settings.discriminator_width, settings.discriminator_layers
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    for i in range(1, halvings + 1):
        before, after = (width * min(2**k, 8) for k in (i - 1, i))
        stride = 2 if i < halvings else 1
        layers += [
            nn.Conv2d(before, after, 4, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.LeakyReLU(0.2),
        ]
    layers.append(nn.Conv2d(after, 1, 4, 1, 1))
    return nn.Sequential(*layers)


def reconstruction_loss(
    autoencoder: Any, images: Tensor, features: Features, settings: Autoencoder
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses of a batch of normalised images.

    Returns:
        Absolute error and perceptual distance together (scalar); the weighted KL divergence (scalar); the
        reconstructions, normalised, (B, 3, H, W).
    """
    posterior = autoencoder.encode(images).latent_dist
    decoded: Tensor = autoencoder.decode(posterior.sample()).sample
    error = (images - decoded).abs().mean()
    if settings.perceptual_weight:
        error = error + settings.perceptual_weight * perceptual_distance(features, images, decoded)
    divergence = settings.kl_weight * posterior.kl().mean() / images[0].numel()
    return error, divergence, decoded


def perceptual_distance(features: Features, images: Tensor, decoded: Tensor) -> Tensor:
    """Squared distance of features normalised at each position, its mean over positions, summed over stages.

    It is LPIPS (Zhang et al., CVPR 2018) with another network and without learned weights of the channels.
    """
    with torch.no_grad():
        targets = [F.normalize(stage, dim=1) for stage in features(images)]
    pairs = zip(targets, features(decoded), strict=True)
    distances = [(target - F.normalize(stage, dim=1)).square().sum(1).mean() for target, stage in pairs]
    return torch.stack(distances).sum()


class Adversaries(nn.Module):
    """Autoencoder and discriminator, which are trained together, each with its own loss."""

    def __init__(self, autoencoder: Any, discriminator: nn.Module) -> None:
        super().__init__()
        self.autoencoder, self.discriminator = autoencoder, discriminator


def adversarial_loss(
    adversaries: Adversaries, images: Tensor, features: Features, settings: Autoencoder
) -> Tensor:
    """Sum of both losses (scalar), built so that each acts on its own network alone.

    The adversarial term is weighted so that its gradient at the decoder's last layer is
    `discriminator_weight` times that of the reconstruction. Without gradients (held-out images) it is the
    loss of the reconstruction.
    """
    autoencoder, judge = adversaries.autoencoder, adversaries.discriminator
    error, divergence, decoded = reconstruction_loss(autoencoder, images, features, settings)
    if not torch.is_grad_enabled():
        return error + divergence
    fixed = {name: parameter.detach() for name, parameter in judge.named_parameters()}
    fooling = -torch.func.functional_call(judge, fixed, (decoded,)).mean()
    last = autoencoder.decoder.conv_out.weight
    wanted, given = (
        torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (error, fooling)
    )
    weight = settings.discriminator_weight * (wanted / (given + 1e-4)).clamp(max=1e4).detach()
    real, false = F.relu(1 - judge(images)), F.relu(1 + judge(decoded.detach()))
    return error + divergence + weight * fooling + (real.mean() + false.mean()) / 2
