"""Plain networks that reconstruct images, (B, 3, H, W) in [-1, 1] -> the same."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.runtime.errors import UserError


def widths(width: int, levels: int) -> list[int]:
    """Channels of each level: doubled with every halving of the size, up to eight times the first."""
    return [width * min(2**level, 8) for level in range(levels)]


def smallest_side(image_size: int, levels: int) -> int:
    """Side of an image after so many halvings; UserError where it cannot be halved so often."""
    if image_size % 2**levels:
        raise UserError(
            "levels",
            f"an image of {image_size} pixels cannot be halved {levels} times",
            "use fewer levels, or another dataset.image_size",
        )
    return image_size // 2**levels


class AutoEncoder(nn.Module):
    """Convolutions of stride 2 down to a code, and transposed ones back.

    Args:
        image_size: H = W, divisible by 2^levels.
        width, levels: channels of the first level, and how often the size is halved.
        code: numbers that the decoder gets.
        numbers: numbers that the encoder gives; by default `code`.
    """

    def __init__(
        self, image_size: int, width: int, levels: int, code: int, numbers: int | None = None
    ) -> None:
        super().__init__()
        side, channels = smallest_side(image_size, levels), widths(width, levels)
        self.encoder = nn.Sequential(
            *(_halving(a, b) for a, b in zip([3, *channels], channels, strict=False)),
            nn.Flatten(),
            nn.Linear(channels[-1] * side**2, numbers or code),
        )
        back = channels[::-1]
        self.decoder = nn.Sequential(
            nn.Linear(code, channels[-1] * side**2),
            nn.Unflatten(1, (channels[-1], side, side)),
            *(_doubling(a, b) for a, b in zip(back, [*back[1:], width], strict=True)),
            nn.Conv2d(width, 3, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.decoder(self.encoder(images))


class Variational(nn.Module):
    """A variational autoencoder; its encoder gives mean and log-variance of each number of the code."""

    def __init__(self, image_size: int, width: int, levels: int, code: int) -> None:
        super().__init__()
        self.network = AutoEncoder(image_size, width, levels, code, 2 * code)

    def forward(self, images: Tensor) -> Tensor:
        mean, _ = self.code(images)
        return self.network.decoder(mean)

    def code(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, both (B, code)."""
        mean, log_variance = self.network.encoder(images).chunk(2, 1)
        return mean, log_variance.clamp(-20, 20)

    def sampled(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """A reconstruction from a drawn code, and the code's KL divergence from N(0, 1), (B,)."""
        mean, log_variance = self.code(images)
        drawn = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return self.network.decoder(drawn), divergence


class Adversarial(nn.Module):
    """An autoencoder, and a discriminator that judges its images: logits (B, 1, h, w), positive = true."""

    def __init__(self, image_size: int, width: int, levels: int, code: int) -> None:
        super().__init__()
        self.generator = AutoEncoder(image_size, width, levels, code)
        channels = widths(width, levels)
        self.discriminator = nn.Sequential(
            *(_judging(a, b) for a, b in zip([3, *channels], channels, strict=False)),
            nn.Conv2d(channels[-1], 1, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.generator(images)

    def losses(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Squared error; adversarial loss of the autoencoder; loss of the discriminator.

        The discriminator learns from the last alone, the autoencoder from the first two.
        """
        false = self.generator(images)
        fixed = {name: p.detach() for name, p in self.discriminator.named_parameters()}
        recognised = F.softplus(-torch.func.functional_call(self.discriminator, fixed, (false,))).mean()
        wrong = F.softplus(-self.discriminator(images)).mean()
        wrong = wrong + F.softplus(self.discriminator(false.detach())).mean()
        return F.mse_loss(false, images), recognised, wrong


class UNet(nn.Module):
    """U-Net: two convolutions at each level, skips between levels of the same size."""

    def __init__(self, image_size: int, width: int, levels: int) -> None:
        super().__init__()
        smallest_side(image_size, levels)
        channels = widths(width, levels + 1)
        self.down = nn.ModuleList(_double(a, b) for a, b in zip([3, *channels], channels, strict=False))
        pairs = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in pairs)
        self.merge = nn.ModuleList(_double(2 * b, b) for _, b in pairs)
        self.last = nn.Sequential(nn.Conv2d(width, 3, 1), nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        x, *others = images, *self.down
        skips = []
        for level, block in enumerate(others):
            x = block(x if level == 0 else F.max_pool2d(x, 2))
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], 1))
        return self.last(x)


def _halving(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2))


def _judging(inputs: int, outputs: int) -> nn.Sequential:
    """Without batch statistics, so that true and false images are judged by the same function."""
    convolution = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(1, outputs), nn.LeakyReLU(0.2))


def _doubling(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a in (inputs, outputs):
        layers += [nn.Conv2d(a, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
