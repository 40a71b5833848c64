"""The diffusion model's network: ADM's U-Net, with the condition as extra input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from drdc.config.diffusion import Diffusion
from drdc.models.adm import adm_unet
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

    def for_inference(self) -> Denoiser:
        """This network, its weights laid out and rounded once as autocast would round them at every call."""
        self.eval().to(memory_format=torch.channels_last)
        if use_bf16(self.bf16, next(self.parameters()).device):
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    layer.to(torch.bfloat16)
        return self

    def forward(self, x_t: Tensor, condition: Tensor, timestep: Tensor) -> Tensor:
        x = torch.cat([x_t, condition], 1) if self.conditional else x_t
        with torch.autocast(x.device.type, torch.bfloat16, enabled=use_bf16(self.bf16, x.device)):
            noise: Tensor = self.unet(x, timestep, return_dict=False)[0]
        return noise.float()
