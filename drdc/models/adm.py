"""ADM's U-Net (paper's [11]): the arguments of diffusers that give its architecture, with faster blocks.

diffusers builds the network and names its weights. On a CPU, torch's group norm is slow where channels are
last in memory, the format of fast convolutions: its backward pass takes many times as long as the few sums
that it needs. And the block of diffusers divides all values by 1. The classes here compute the same faster.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from drdc.config.diffusion import Diffusion

#: Pixels below which torch's own forward pass, too, is slower than sums: it has another algorithm for them.
SMALL = 1024


def adm_unet(settings: Diffusion) -> Any:
    """The U-Net with ADM's zero initialisation; 6 input channels with model conditioning, else 3."""
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
            module.__class__ = ResidualBlock
            _zero(module.conv2)
        elif isinstance(module, nn.GroupNorm):
            module.__class__ = GroupNorm
        elif isinstance(module, Attention):
            _zero(module.to_out[0])
    _zero(unet.conv_out)
    return unet


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class ResidualBlock(ResnetBlock2D):
    """diffusers' block as ADM has it: the time embedding scales and shifts the second normalisation."""

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        """(B, C, H, W), embedding of the timestep (B, E) -> (B, C', H', W')."""
        hidden = F.silu(self.norm1(x))
        if (resample := self.upsample or self.downsample) is not None:
            x, hidden = resample(x), resample(hidden)
        hidden = self.conv1(hidden)
        scale, shift = self.time_emb_proj(F.silu(temb))[:, :, None, None].chunk(2, dim=1)
        hidden = torch.addcmul(shift, self.norm2(hidden), 1 + scale)
        hidden = self.conv2(F.silu(hidden))
        return hidden + (x if self.conv_shortcut is None else _pointwise(x, self.conv_shortcut))


def _pointwise(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """A convolution by 1×1 as a product of matrices, which one thread computes several times as fast."""
    return F.linear(x.permute(0, 2, 3, 1), layer.weight[..., 0, 0], layer.bias).permute(0, 3, 1, 2)


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm`; on a CPU by sums over the pixels of each channel, which are last in memory."""

    def forward(self, x: Tensor) -> Tensor:
        ours = x.device.type == "cpu" and x.dim() == 4 and not torch.compiler.is_compiling()
        arguments = self.weight, self.bias, self.num_groups, self.eps
        return _GroupNorm.apply(x, *arguments) if ours else super().forward(x)


class _GroupNorm(torch.autograd.Function):
    """y = w (x − μ) r + b, with the mean μ and r = 1 / √(σ² + ε) of a group of D channels of N pixels."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        batch, channels, height, width = x.shape
        pixels = height * width
        if pixels >= SMALL:
            y, mean, r = torch.native_group_norm(x, weight, bias, batch, channels, pixels, groups, eps)
        else:
            values = _by_pixel(x).float()
            size = pixels * channels // groups
            mean = values.sum(1).view(batch, groups, -1).sum(2) / size
            square = values.square().sum(1).view(batch, groups, -1).sum(2) / size
            r = (square - mean.square()).clamp(min=0).add(eps).rsqrt()
            scale = r[..., None] * weight.view(groups, -1)
            shift = bias.view(groups, -1) - mean[..., None] * scale
            scale, shift = (part.view(batch, 1, channels) for part in (scale, shift))
            y = _as_images(torch.addcmul(shift, values, scale).to(x.dtype), x)
        ctx.save_for_backward(x, weight, mean, r)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """With s = Σ dy and q = Σ dy x over the pixels of a channel: dw = Σ (q − μ s) r and db = Σ s over the
        images, and dx = w r dy + a x + c, where a = Σ w (s μ − q) r³ / (D N) and c = −a μ − Σ w s r / (D N),
        both sums over the channels of the group.
        """
        x, weight, mean, r = ctx.saved_tensors
        batch, channels, height, width = x.shape
        groups = mean.shape[1]
        size = height * width * channels // groups
        mean, r, w = mean.float()[..., None], r.float()[..., None], weight.view(groups, -1)
        values, gradients = _by_pixel(x).float(), _by_pixel(dy).float()
        s = gradients.sum(1).view(batch, groups, -1)
        q = (values * gradients).sum(1).view(batch, groups, -1)
        centred = q - mean * s
        a = (w * centred).sum(2, keepdim=True) * r**3 / -size
        c = -a * mean - (w * s).sum(2, keepdim=True) * r / size
        own, a, c = (part.expand_as(s).reshape(batch, 1, channels) for part in (w * r, a, c))
        dx = torch.addcmul(c, values, a).addcmul_(gradients, own).to(x.dtype)
        dw, db = (centred * r).sum(0).view(channels), s.sum(0).view(channels)
        return _as_images(dx, x), dw.to(weight.dtype), db.to(weight.dtype), None, None


def _by_pixel(images: Tensor) -> Tensor:
    """(B, C, H, W) as (B, H·W, C), a view where channels are last in memory."""
    return images.permute(0, 2, 3, 1).flatten(1, 2)


def _as_images(pixels: Tensor, like: Tensor) -> Tensor:
    """(B, H·W, C) as (B, C, H, W), the shape of `like`."""
    batch, channels, height, width = like.shape
    return pixels.view(batch, height, width, channels).permute(0, 3, 1, 2)
