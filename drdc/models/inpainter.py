"""The trained models in use: the base model, and the reverse chain of the diffusion model (Eq. 7-14)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from drdc.config.base import Base
from drdc.config.diffusion import Diffusion
from drdc.config.fusion import STORED_SCALES
from drdc.config.sampling import Sampling, single_grid_size
from drdc.equations.diffusion import Noise, equally_spaced, linear_schedule, reverse_chain
from drdc.equations.fusion import scale_error
from drdc.equations.inpainting import combine, masked_condition, partition
from drdc.models.denoiser import Denoiser
from drdc.models.reconstructor import Reconstructor
from drdc.results.layout import Layout
from drdc.results.predictions import Errors
from drdc.runtime.devices import torch_device
from drdc.runtime.errors import UserError
from drdc.runtime.files import load_weights
from drdc.runtime.identity import seed_of


def load_trained(
    layout: Layout, seed: int, model: str, kind: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and header of a trained model.

    Raises:
        UserError: the file is missing, damaged or of another kind, or a weight is NaN or infinite.
    """
    weights, about = load_weights(layout.model(seed, model), kind)
    if wrong := [name for name, values in weights.items() if not values.isfinite().all()]:
        raise UserError(
            layout.model(seed, model),
            f"{wrong[0]} is NaN or infinite",
            f"remove it and train it again, with a lower {kind}.learning_rate",
        )
    return weights, about


def load_base(layout: Layout, seed: int) -> Reconstructor:
    """The trained base model, ready for inference."""
    weights, about = load_trained(layout, seed, "base", "base")
    model = Reconstructor(Base(**about["base"]), about["channels"], about["feature_size"])
    model.restore(weights)
    return model.to(torch_device()).eval()


class Inpainter:
    """The diffusion model with its reverse chain, for batches of images."""

    def __init__(self, denoiser: Denoiser, alpha_bar: Tensor, sampling: Sampling) -> None:
        self.denoiser = denoiser.for_inference()
        self.alpha_bar, self.sampling = alpha_bar, sampling
        self.device = alpha_bar.device
        self.timesteps = equally_spaced(sampling.initial_index, sampling.steps)
        self.calls = sampling.disjoint_sets * len(sampling.grid_sizes) * len(self.timesteps)

    @classmethod
    def load(cls, layout: Layout, seed: int, sampling: Sampling, model: str = "diffusion") -> Inpainter:
        weights, about = load_trained(layout, seed, model, "diffusion")
        settings = Diffusion(**about["diffusion"])
        denoiser = Denoiser(settings)
        denoiser.load_state_dict(weights)
        alpha_bar = linear_schedule(settings.timesteps, settings.beta_start, settings.beta_end)
        return cls(denoiser.to(torch_device()), alpha_bar.to(torch_device()), sampling)

    def reconstruct(self, images: Tensor, keys: list[str] | str, seed: int) -> Errors:
        """Inpaint every disjoint set of every grid size of every image, all in one batch.

        Args:
            images: x₀ in [-1, 1], (B, 3, H, W).
            keys: one text for each image; its noise and partitions follow from (seed, key) alone. One text
                for all of them: they have the same noise and partitions, on any device.
            seed: seed of the run.
        """
        masks, draw_noise = self.drawn(images.shape[-1], keys, seed)
        if isinstance(keys, str):
            return self.inpainted(
                images.to(self.device),
                masks.expand(len(images), *masks.shape[1:]),
                lambda: draw_noise().repeat(len(images), 1, 1, 1),
            )
        return self.inpainted(images.to(self.device), masks, draw_noise)

    def drawn(self, size: int, keys: list[str] | str, seed: int) -> tuple[Tensor, Noise]:
        """What is random: masks M of the partitions of images of a size, (B, K, n, 1, H, W), and noise.

        Arguments as of `reconstruct`; B = 1 for one text.
        """
        each, device = keys, self.device
        if isinstance(keys, str):  # with one seed, another kind of device draws other numbers
            each, device = [keys], torch.device("cpu")
        generators = [torch.Generator(device).manual_seed(seed_of(seed, key)) for key in each]
        masks = torch.stack([self._partitions(size, g) for g in generators]).to(self.device)
        shape = (*masks.shape[1:3], 3, size, size)

        def draw_noise() -> Tensor:
            noise = [torch.randn(shape, generator=g, device=device) for g in generators]
            return torch.stack(noise).flatten(0, 2).to(self.device)

        return masks, draw_noise

    def inpainted(self, images: Tensor, masks: Tensor, draw_noise: Noise) -> Errors:
        """Inpaint the holes of images (B, 3, H, W); `masks` and `draw_noise` as `drawn` gives them."""
        shape = (*masks.shape[:3], *images.shape[1:])
        image, mask = images[:, None, None].expand(shape).flatten(0, 2), masks.flatten(0, 2)
        chain = reverse_chain(
            self.denoiser,
            image,
            mask,
            masked_condition(image, mask, draw_noise()),
            self.alpha_bar,
            self.timesteps,
            draw_noise,
            hole_init=self.sampling.hole_init,
            test_time_conditioning=self.sampling.test_time_conditioning,
            known_noise=self.sampling.known_noise,
            clip=self.sampling.clip,
        )
        sums: dict[int, Tensor | float] = dict.fromkeys(STORED_SCALES, 0.0)
        for _, predictions in chain:
            clean = combine(predictions.view(shape), masks)  # Eq. 8: (B, K, 3, H, W)
            for scale in STORED_SCALES:
                error = scale_error(images[:, None].expand_as(clean), clean, scale)
                sums[scale] = sums[scale] + error / len(self.timesteps)
        one = clean[:, self.sampling.grid_sizes.index(single_grid_size(self.sampling))]
        means = {scale: torch.as_tensor(maps) for scale, maps in sums.items()}
        return Errors(means, scale_error(images, one, 1), clean.mean(1))

    def _partitions(self, size: int, generator: torch.Generator) -> Tensor:
        s = self.sampling
        return torch.stack([partition(size, k, s.disjoint_sets, generator) for k in s.grid_sizes])
