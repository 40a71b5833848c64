"""trained models -> predictions: base maps (Eq. 2) and the reverse chain's errors (Eq. 7-14)."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drdc.config import BASE_SCALES, STORED_SCALES, Base, Diffusion, Sampling, single_grid_size
from drdc.data.manifest import read_manifest
from drdc.devices import torch_device
from drdc.diffusion import equally_spaced, linear_schedule, reverse_chain, to_unit_range
from drdc.errors import UserError
from drdc.files import atomic, create_array, load_array, load_weights
from drdc.fusion import feature_error, scale_error
from drdc.inpainting import combine, masked_condition, partition
from drdc.layout import Layout
from drdc.models.denoiser import Denoiser
from drdc.models.reconstructor import Reconstructor
from drdc.predictions import chunks, record_type
from drdc.stages.prepare import progress_bar
from drdc.variants import Stored

log = logging.getLogger(__name__)


def predict(layout: Layout, seed: int, category: str, *, sampling: Sampling, stored: Stored) -> None:
    """Write `seed<k>/predictions/<name>/<category>.npy`, the category `all` standing for all of them.

    One record for each test and each held-out normal image, see `drdc.predictions`.
    """
    table = read_manifest(layout.manifest)
    chosen = (table.category == category) | (category == "all")
    rows = np.flatnonzero(chosen & (table.split != "train"))
    if not len(rows):
        known = ", ".join(sorted(set(table.category)))
        raise UserError(f"category {category!r} has no images in {layout.manifest}; known: {known}")
    images = load_array(layout.images, len(table), "prepare")
    features = load_array(layout.features, len(table), "features")
    base, inpainter = load_base(layout, seed), Inpainter.load(layout, seed, sampling, stored.model)
    started = time.monotonic()
    with atomic(layout.predictions(seed, stored.name, category)) as path, torch.inference_mode():
        grid_sizes = sampling.grid_sizes if stored.detailed else None
        dtype = record_type(images.shape[1], features.shape[2], grid_sizes)
        records = create_array(path, dtype, (len(rows),))
        records["row"] = rows
        batches = list(chunks(np.arange(len(rows)), sampling.batch_size))
        for number in progress_bar(range(len(batches))):
            batch = batches[number]
            own = torch.from_numpy(features[rows[batch]]).to(inpainter.device).float()
            reconstructed = base(own)
            for scale in BASE_SCALES:
                records[f"base{scale}"][batch] = feature_error(own, reconstructed, scale).cpu().numpy()
            keys = table.sha256[rows[batch]].tolist()
            errors = inpainter.reconstruct(to_unit_range(images[rows[batch]]), keys, seed)
            _store(records, batch, errors, grid_sizes)
        records.flush()
    seconds = (time.monotonic() - started) / len(rows)
    log.info("%d images, %.3f s an image, %d U-Net calls an image", len(rows), seconds, inpainter.calls)


def _store(
    records: np.ndarray, batch: NDArray[np.int64], errors: Errors, grid_sizes: list[int] | None
) -> None:
    for scale, maps in errors.scales.items():
        if grid_sizes is None:
            records[f"scale{scale}"][batch] = maps.mean(1).cpu().numpy()
            continue
        for place, k in enumerate(grid_sizes):
            records[f"k{k}.scale{scale}"][batch] = maps[:, place].cpu().numpy()
    if grid_sizes is not None:
        records["last"][batch] = errors.last.cpu().numpy()
        records["reconstruction"][batch] = _to_bytes(errors.reconstruction)


def load_base(layout: Layout, seed: int) -> Reconstructor:
    """The trained base model, ready for inference."""
    weights, about = load_weights(layout.model(seed, "base"), "base")
    model = Reconstructor(Base(**about["base"]), about["channels"], about["feature_size"])
    model.load_state_dict(weights)
    return model.to(torch_device()).eval()


@dataclass(frozen=True)
class Errors:
    """What a reverse chain gives for a batch of images.

    Attributes:
        scales: for each stored scale the mean over timesteps of ‖D_s(x) − D_s(x̂₀)‖₂ (inner part of Eq. 14),
            grid sizes apart, (B, K, H / s, W / s).
        last: ‖x − x̂₀‖₂ of the last timestep and `single_grid_size` (Eq. 9), (B, H, W).
        reconstruction: mean over grid sizes of the last x̂₀, (B, 3, H, W) in [-1, 1].
    """

    scales: dict[int, Tensor]
    last: Tensor
    reconstruction: Tensor


class Inpainter:
    """The diffusion model with its reverse chain, for batches of images."""

    def __init__(self, denoiser: Denoiser, alpha_bar: Tensor, sampling: Sampling) -> None:
        self.denoiser = denoiser.eval().to(memory_format=torch.channels_last)
        self.alpha_bar, self.sampling = alpha_bar, sampling
        self.device = alpha_bar.device
        self.timesteps = equally_spaced(sampling.initial_index, sampling.steps)
        self.calls = sampling.disjoint_sets * len(sampling.grid_sizes) * len(self.timesteps)

    @classmethod
    def load(cls, layout: Layout, seed: int, sampling: Sampling, model: str = "diffusion") -> Inpainter:
        weights, about = load_weights(layout.model(seed, model), "diffusion")
        settings = Diffusion(**about["diffusion"])
        denoiser = Denoiser(settings)
        denoiser.load_state_dict(weights)
        alpha_bar = linear_schedule(settings.timesteps, settings.beta_start, settings.beta_end)
        return cls(denoiser.to(torch_device()), alpha_bar.to(torch_device()), sampling)

    def reconstruct(self, images: Tensor, keys: list[str], seed: int) -> Errors:
        """Inpaint every disjoint set of every grid size of every image, all in one batch.

        Args:
            images: x₀ in [-1, 1], (B, 3, H, W).
            keys: one text for each image; its noise and partitions follow from (seed, key) alone.
            seed: seed of the run.
        """
        images = images.to(self.device)
        generators = [self._generator(key, seed) for key in keys]
        masks = torch.stack([self._partitions(images.shape[-1], g) for g in generators])  # (B, K, n, 1, H, W)
        shape = (*masks.shape[:3], *images.shape[1:])

        def draw_noise() -> Tensor:
            noise = [torch.randn(shape[1:], generator=g, device=self.device) for g in generators]
            return torch.stack(noise).flatten(0, 2)

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

    def _generator(self, key: str, seed: int) -> torch.Generator:
        digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
        return torch.Generator(self.device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def _to_bytes(images: Tensor) -> np.ndarray:
    """[-1, 1] (B, 3, H, W) -> uint8 (B, H, W, 3)."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
