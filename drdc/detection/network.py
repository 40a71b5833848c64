"""A detector of DRDC as a single network in torch, which other runtimes can be given: pixels in, score out.

It is the fast mode: one timestep, and the same noise for all images, as constants.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from drdc.detection.backends import FAST
from drdc.detection.detector import Detector
from drdc.equations.fusion import (
    centred,
    feature_error,
    image_score,
    mean_filter,
    mean_of,
    spatio_temporal_map,
    upsample_base,
)
from drdc.equations.stored_maps import normalise, weighted_sum
from drdc.evaluation.groups import NEIGHBOURS, Groups
from drdc.methods.drdc.predictor import DrdcPredictor
from drdc.results.heatmaps import DrdcReading
from drdc.results.predictions import Errors
from drdc.runtime.errors import UserError

UNIT = 2.0**22  # of Pillow's weights


class Output(NamedTuple):
    """What it gives for an image; all but the heatmap are scalars.

    Attributes:
        score: float32, higher = more anomalous.
        threshold: float32; the image is anomalous above it.
        anomalous: bool.
        heatmap: (H, H) float32, H = `dataset.image_size`.
        pixel_threshold: float32; a normal image has a pixel above it with the false-alarm rate at most.
        category: int64, the place of the category that the image is most like among the detector's.
    """

    score: Tensor
    threshold: Tensor
    anomalous: Tensor
    heatmap: Tensor
    pixel_threshold: Tensor
    category: Tensor


class DetectorNetwork(nn.Module):
    """The fast mode of a detector of DRDC, on the CPU, for one image at a time.

    Args:
        detector: with its networks in float32.
        rate: of false alarms, at most.

    Raises:
        UserError: the detector is of another method, or calibrated on too few images for the rate.
    """

    masks: Tensor
    noise: Tensor
    thresholds: Tensor
    embeddings: Tensor
    scale: Tensor
    votes: Tensor

    def __init__(self, detector: Detector, rate: float | None) -> None:
        super().__init__()
        if FAST not in detector.modes:
            raise UserError("", detector.about_fast, "name the file that `drdc export` writes for DRDC")
        backend = detector.modes[FAST].backend
        predictor, features, reading = backend.predictor, backend.features, backend.reading
        assert isinstance(predictor, DrdcPredictor)
        assert isinstance(reading, DrdcReading)
        assert features is not None
        self.extractor, self.base = features.extractor, predictor.base
        self.denoiser = predictor.inpainter.denoiser  # whose parameters are this module's
        self.features_size, self.size = features.settings.input_size, predictor.input_size
        self.inpainter, self.reading = predictor.inpainter, reading
        masks, draw_noise = self.inpainter.drawn(self.size, FAST, predictor.seed)
        self.register_buffer("masks", masks)
        self.register_buffer("noise", torch.stack([draw_noise(), draw_noise()]))  # condition and x_t
        references = [
            detector.reference(name if detector.groups else None, false_alarm_rate=rate, fast=True)
            for name in detector.categories
        ]
        limits = [(own.threshold, own.pixel_threshold) for own in references]
        self.register_buffer("thresholds", torch.tensor(limits, dtype=torch.float32))
        self.grouped = detector.groups is not None
        if detector.groups is not None:
            self._keep(detector.groups[0], detector.categories)

    def _keep(self, groups: Groups, categories: list[str]) -> None:
        places = torch.tensor([categories.index(name) for name in groups.categories.tolist()])
        self.register_buffer("embeddings", torch.from_numpy(groups.embeddings))
        self.register_buffer("scale", torch.from_numpy(groups.scale))
        self.register_buffer("votes", nn.functional.one_hot(places, len(categories)).float())

    def forward(self, image: Tensor) -> Output:
        """`image`: RGB, upright, uint8 (h, w, 3) of any size."""
        features = self.extractor(resized(image, self.features_size)[None]).half().float()
        pixels = resized(image, self.size)[None] / 127.5 - 1
        noise = iter(self.noise)
        errors = self.inpainter.inpainted(pixels, self.masks, lambda: next(noise))
        heatmap = self._fused(features, errors)
        score = image_score(heatmap, self.reading.fusion.pool_size)[0]
        category = self._category(features)
        threshold, pixel_threshold = self.thresholds[category].unbind()
        return Output(score, threshold, score > threshold, heatmap[0], pixel_threshold, category)

    def _fused(self, features: Tensor, errors: Errors) -> Tensor:
        """Eq. 2 and 14-17 with the rounding of stored predictions, (1, H, H)."""
        fusion, scale = self.reading.fusion, self.reading.scale
        expected = self.base.expected(features, fusion.base)
        maps = (feature_error(features, expected, own) for own in fusion.base_scales)
        base = mean_of(upsample_base(own, self.size) for own in maps)
        if fusion.timesteps == "last":
            diffusion = errors.last.half().float()
        else:
            sizes = self.inpainter.sampling.grid_sizes
            chosen = [sizes.index(k) for k in fusion.grid_sizes or sizes]
            scales: dict[int, Tensor] = {
                own: errors.scales[own][:, chosen].half().float().mean(1) for own in fusion.scales
            }
            diffusion = spatio_temporal_map(scales, self.size)
        diffusion = mean_filter(diffusion, fusion.filter_size)
        diffusion = normalise(diffusion, scale["diffusion"], fusion.normalisation)
        if fusion.centred:
            diffusion = centred(diffusion)
        base = normalise(base, scale["base"], fusion.normalisation)
        return weighted_sum(diffusion, base, fusion.weight)

    def _category(self, features: Tensor) -> Tensor:
        """The category of most of the nearest training images, as `drdc.evaluation.groups.Groups.nearest`."""
        if not self.grouped:
            return torch.zeros((), dtype=torch.int64)
        own = features.mean((2, 3)) / self.scale
        distances = (self.embeddings - own).square().sum(1)
        count = min(NEIGHBOURS, len(self.embeddings))
        votes = self.votes[distances.topk(count, largest=False).indices]
        nearer = torch.arange(count, 0, -1)[:, None] / (count + 1)  # of equal votes the nearest decides
        return (votes.sum(0) + (votes * nearer).amax(0)).argmax()


def resized(image: Tensor, size: int) -> Tensor:
    """An image (h, w, 3) of 0-255 as a square (3, size, size), as Pillow resizes it (`to_square`).

    Bilinear, with a triangle as wide as the reduction: first the rows and then the columns, each rounded; in
    whole numbers, because halves are frequent.
    """
    rows, columns = (_weights(image.shape[axis], size) for axis in (0, 1))
    planes = image.permute(2, 0, 1).double()
    return _rounded(rows @ _rounded(planes @ columns.T)).float()


def _weights(length: int, size: int) -> Tensor:
    """Weights in 2^-22 of the `length` pixels that each of `size` pixels is made of, (size, length)."""
    place = torch.arange(length, dtype=torch.float64)
    step = (place[-1] + 1) / size
    centre = (torch.arange(size, dtype=torch.float64)[:, None] + 0.5) * step
    weights = (1 - (place + 0.5 - centre).abs() / step.clamp(min=1)).clamp(min=0)
    return (weights / weights.sum(1, keepdim=True) * UNIT + 0.5).floor()


def _rounded(sums: Tensor) -> Tensor:
    return ((sums + UNIT / 2) / UNIT).floor()
