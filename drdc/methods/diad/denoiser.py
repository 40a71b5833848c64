"""DiAD's denoiser in latent space: Stable Diffusion's U-Net, the semantic-guided network, and their link."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from drdc.methods.diad.settings import Denoiser, groups

#: Channels of the convolutions that bring the image to the size of the latent.
HINT_WIDTHS = (16, 32, 96, 256)


def stable_unet(settings: Denoiser) -> Any:
    """diffusers' `UNet2DConditionModel`; at the defaults that of Stable Diffusion 1.5."""
    levels = len(settings.multipliers)
    return UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=tuple(settings.width * m for m in settings.multipliers),
        layers_per_block=settings.layers_per_block,
        down_block_types=("CrossAttnDownBlock2D",) * (levels - 1) + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (levels - 1),
        cross_attention_dim=settings.context_width,
        norm_num_groups=groups(settings.width),
        attention_head_dim=settings.heads,  # diffusers' name; for this network it is their number
    )


class FeatureFusion(nn.Module):
    """Spatial-aware feature fusion: adds features of one resolution to each of those of the next lower.

    Each pair of a source and a target has a convolution of stride 2 of its own, which starts at zero.

    Args:
        sources, targets: channels of each source and of each target.
    """

    def __init__(self, sources: list[int], targets: list[int]) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(source, target, 3, 2, 1) for source in sources) for target in targets
        )
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, sources: list[Tensor], targets: list[Tensor]) -> list[Tensor]:
        """Sources (B, ·, 2h, 2w) and targets (B, ·, h, w) -> fused targets."""
        return [
            F.silu(target + self._brought(sources, row))
            for target, row in zip(targets, self.convolutions, strict=True)
        ]

    @staticmethod
    def _brought(sources: list[Tensor], convolutions: Any) -> Tensor:
        pairs = zip(sources, convolutions, strict=True)
        return torch.stack([F.silu(F.instance_norm(conv(source))) for source, conv in pairs]).sum(0)


class GuidedDenoiser(nn.Module):
    """ε_θ(z_t, t, image): the U-Net, guided by the semantic-guided network.

    The semantic-guided network is a ControlNet: a copy of the U-Net's encoder and middle that also gets the
    image, and gives its features through convolutions that start at zero. Of these the middle one and those
    of the lowest resolution are added to the U-Net, the latter after feature fusion with the resolution
    above. The fusion takes that resolution's features before their zero convolutions: two layers of zeros in
    a row would never learn. With `fusion: none` the middle alone is added: so do the authors' released
    scripts, which set `only_mid_control`, so that the gradients of their fusion are exactly zero.

    Args:
        settings: sizes.
        levels: levels of the autoencoder, which determine the size of its latents.

    Attributes:
        context: the text's tokens (1, L, context_width), the same for every image; zeros without a text.
    """

    context: Tensor

    def __init__(self, settings: Denoiser, levels: int) -> None:
        super().__init__()
        self.unet = stable_unet(settings)
        self.guide: Any = ControlNetModel.from_unet(
            self.unet, conditioning_embedding_out_channels=HINT_WIDTHS[:levels]
        )
        widths = [settings.width * m for m in settings.multipliers]
        above = widths[-3] if len(widths) > 2 else widths[0]
        self.each = settings.layers_per_block + 1  # outputs of the encoder for each resolution
        # The first output of a resolution comes from the convolution that halves the size of the one above.
        sources, targets = (
            [first] + [own] * (self.each - 1) for first, own in ((above, widths[-2]), widths[-2:])
        )
        self.fusion = FeatureFusion(sources, targets) if settings.fusion == "paper" else None
        self.register_buffer("context", torch.zeros(1, 1, settings.context_width))

    def begin_guidance(self) -> None:
        """The guide starts as a copy of the U-Net, whose encoder and middle are fixed from now on."""
        for part in ("conv_in", "time_embedding", "down_blocks", "mid_block"):
            getattr(self.guide, part).load_state_dict(getattr(self.unet, part).state_dict())
        self.unet.requires_grad_(False)
        for part in (self.unet.up_blocks, self.unet.conv_norm_out, self.unet.conv_out):
            part.requires_grad_(True)

    def unguided(self, latents: Tensor, timesteps: Tensor) -> Tensor:
        """The noise as the U-Net alone predicts it."""
        return self.unet(latents, timesteps, self._context(latents), return_dict=False)[0]

    def forward(self, latents: Tensor, timesteps: Tensor, images: Tensor) -> Tensor:
        """Noisy latents z_t (B, 4, h, w), t (B,) from 0, normalised images (B, 3, H, W) -> noise as z_t."""
        outputs, middle = self._guidance(latents, timesteps, images)
        unused = [latents.new_zeros(())] * (len(self.guide.controlnet_down_blocks) - len(outputs))
        return self.unet(
            latents,
            timesteps,
            self._context(latents),
            down_block_additional_residuals=(*unused, *outputs),
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]

    def _guidance(self, latents: Tensor, timesteps: Tensor, images: Tensor) -> tuple[list[Tensor], Tensor]:
        """What is added to the U-Net's outputs of the lowest resolution, and to its middle."""
        guide, context = self.guide, self._context(latents)
        embedding = guide.time_embedding(guide.time_proj(timesteps).to(latents.dtype))
        hidden = guide.conv_in(latents) + guide.controlnet_cond_embedding(images)
        found = [hidden]
        for block in guide.down_blocks:
            attends = getattr(block, "has_cross_attention", False)
            given = {"encoder_hidden_states": context} if attends else {}
            hidden, outputs = block(hidden, embedding, **given)
            found += outputs
        middle = guide.controlnet_mid_block(guide.mid_block(hidden, embedding, encoder_hidden_states=context))
        if self.fusion is None:
            return [], middle
        sources, lowest = found[-2 * self.each : -self.each], found[-self.each :]
        zero_convolutions = guide.controlnet_down_blocks[-self.each :]
        targets = [zero(output) for zero, output in zip(zero_convolutions, lowest, strict=True)]
        return self.fusion(sources, targets), middle

    def _context(self, latents: Tensor) -> Tensor:
        return self.context.expand(len(latents), -1, -1)
