"""The diffusion model's network: ADM's U-Net (paper's [11]), with the condition as extra input."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from drdc.config.diffusion import Diffusion
from drdc.runtime.devices import use_bf16


class Denoiser(nn.Module):
    """ε_θ(x_t, c, t): (B, 3, H, W), (B, 3, H, W), (B,) -> predicted noise (B, 3, H, W), float32.

    With model conditioning, c is concatenated to x_t (6 input channels, Sec. 4.3); without, it is ignored.
    """

    def __init__(self, settings: Diffusion) -> None:
        super().__init__()
        self.conditional = settings.model_conditioning
        self.bf16 = settings.precision
        self.unet = adm_unet(settings)

    def forward(self, x_t: Tensor, condition: Tensor, timestep: Tensor) -> Tensor:
        x = torch.cat([x_t, condition], 1) if self.conditional else x_t
        with torch.autocast(x.device.type, torch.bfloat16, enabled=use_bf16(self.bf16, x.device)):
            noise: Tensor = self.unet(x, timestep, return_dict=False)[0]
        return noise.float()


def adm_unet(settings: Diffusion) -> Any:
    """ADM's U-Net: the arguments of diffusers that give ADM's architecture, and ADM's zero initialisation."""
    attention = [level in settings.attention_levels for level in range(len(settings.multipliers))]
    unet: Any = UNet2DModel(
        in_channels=6 if settings.model_conditioning else 3,
        out_channels=3,
        block_out_channels=tuple(settings.width * m for m in settings.multipliers),
        layers_per_block=settings.layers_per_block,
        down_block_types=tuple("AttnDownBlock2D" if a else "ResnetDownsampleBlock2D" for a in attention),
        up_block_types=tuple("AttnUpBlock2D" if a else "ResnetUpsampleBlock2D" for a in reversed(attention)),
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=min(64, settings.width),
        norm_num_groups=32,
        attn_norm_num_groups=32,
        norm_eps=1e-5,
        time_embedding_type="positional",
        flip_sin_to_cos=True,
        freq_shift=0,
    )
    for module in unet.modules():
        if isinstance(module, ResnetBlock2D):
            _zero(module.conv2)
        elif isinstance(module, Attention):
            _zero(module.to_out[0])
    _zero(unet.conv_out)
    return unet


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
