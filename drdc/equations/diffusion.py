"""The diffusion: schedule, forward process and reverse chain (Sec. 3.3 and 4.2-4.3, Eq. 3-13).

Timestep indices follow the paper: 0 is the image, `timesteps` (1000) is pure noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

#: ε_θ(x_t, c, t): noisy image (B, 3, H, W), condition (B, 3, H, W), timestep (B,) -> noise (B, 3, H, W).
NoisePredictor = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Gives standard normal noise (B, 3, H, W) at each call; the caller decides on seeds.
Noise = Callable[[], Tensor]


def to_unit_range(pixels: Tensor) -> Tensor:
    """Pixels (B, H, W, 3) of 0-255 -> x₀, float32 (B, 3, H, W) in [-1, 1]."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def linear_schedule(timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Tensor:
    """ᾱ of the linear β schedule (Eq. 3, 4), float32 (timesteps + 1,): ᾱ₀ = 1, ᾱ_t = Π_{s≤t} (1 − β_s)."""
    betas = torch.linspace(beta_start, beta_end, timesteps, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)]).float()


def equally_spaced(initial_index: int, steps: int) -> list[int]:
    """The set T, from large to small: `steps` equally spaced indices, e.g. 250, 225, …, 25 (Sec. 4.5)."""
    return [round(initial_index * (steps - i) / steps) for i in range(steps)]


def q_sample(x0: Tensor, alpha_bar: Tensor, noise: Tensor) -> Tensor:
    """Eq. 4: x_t = √ᾱ_t x₀ + √(1 − ᾱ_t) ε. `alpha_bar` must broadcast to `x0` (B, 3, H, W)."""
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise


def predict_x0(x_t: Tensor, alpha_bar: Tensor, noise: Tensor) -> Tensor:
    """Eq. 7, which is Eq. 4 solved for x₀: x̂₀ = (x_t − √(1 − ᾱ_t) ε_θ) / √ᾱ_t."""
    return (x_t - (1 - alpha_bar).sqrt() * noise) / alpha_bar.sqrt()


def predict_noise(x_t: Tensor, alpha_bar: Tensor, x0: Tensor) -> Tensor:
    """Eq. 4 solved for ε: (x_t − √ᾱ_t x₀) / √(1 − ᾱ_t)."""
    return (x_t - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt()


def ddim_step(x0: Tensor, alpha_bar_next: Tensor, noise: Tensor) -> Tensor:
    """Eq. 12 by deterministic DDIM (η = 0): x_{t'} = √ᾱ_{t'} x̂₀ + √(1 − ᾱ_{t'}) ε_θ."""
    return q_sample(x0, alpha_bar_next, noise)


def reverse_chain(
    denoiser: NoisePredictor,
    image: Tensor,
    mask: Tensor,
    condition: Tensor,
    alpha_bar: Tensor,
    timesteps: Sequence[int],
    draw_noise: Noise,
    *,
    hole_init: str = "qsample",
    test_time_conditioning: bool = True,
    known_noise: str = "fresh",
    clip: bool = True,
) -> Iterator[tuple[int, Tensor]]:
    """Reverse diffusion of the masked image; gives (t, x̂₀) for each t of T, from large to small.

    Args:
        denoiser: ε_θ.
        image: test image x₀ in [-1, 1], (B, 3, H, W).
        mask: M, (B, 1, H, W), 0 in the hole.
        condition: c of Eq. 10, (B, 3, H, W).
        alpha_bar: schedule, (timesteps + 1,), on the device of `image`.
        timesteps: T, decreasing indices.
        draw_noise: gives standard normal noise (B, 3, H, W) at each call.
        hole_init: `qsample` starts from the diffused image, `noise` from the diffused condition.
        test_time_conditioning: restore the known pixels at each step (Eq. 13); off: plain reverse chain.
        known_noise: `fresh` noise for Eq. 11 at each step, or one `fixed` draw.
        clip: clip x̂₀ to [-1, 1], and take the step with the noise that belongs to it.
    """
    noise = draw_noise()
    x_t = q_sample(image if hole_init == "qsample" else condition, alpha_bar[timesteps[0]], noise)
    for i, t in enumerate(timesteps):
        epsilon = denoiser(x_t, condition, torch.full((len(image),), t, device=image.device))
        x0 = predict_x0(x_t, alpha_bar[t], epsilon)
        if clip:
            x0 = x0.clamp(-1, 1)
            epsilon = predict_noise(x_t, alpha_bar[t], x0)
        yield t, x0
        if i + 1 < len(timesteps):
            following = alpha_bar[timesteps[i + 1]]
            x_t = ddim_step(x0, following, epsilon)  # Eq. 12: unknown pixels from the model
            if test_time_conditioning:
                noise = draw_noise() if known_noise == "fresh" else noise
                known = q_sample(image, following, noise)  # Eq. 11: known pixels from the image
                x_t = mask * known + (1 - mask) * x_t  # Eq. 13
