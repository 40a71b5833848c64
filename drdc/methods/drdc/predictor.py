"""The trained models of DRDC in use: base maps (Eq. 2) and the errors of the reverse chain (Eq. 7-14)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from drdc.config.sampling import Sampling
from drdc.config.variants import Stored
from drdc.methods.inputs import Batch
from drdc.models.inpainter import Inpainter, load_base
from drdc.models.reconstructor import Reconstructor
from drdc.results.layout import Layout
from drdc.results.predictions import record_type, store_base, store_errors


@dataclass(frozen=True)
class DrdcPredictor:
    """A `drdc.methods.predictor.Predictor`.

    Attributes:
        base: the base model.
        inpainter: the diffusion model with its sampling.
        input_size: height and width in pixels at which the diffusion model compares.
        seed: of the run.
        detailed: see `drdc.config.variants.Stored`.
        key: from which the noise of all images follows; None where each image has its own.
        base_maps: the kinds of base heatmap to store, values of `fusion.base`.
    """

    base: Reconstructor
    inpainter: Inpainter
    input_size: int
    seed: int
    detailed: bool = True
    key: str | None = None
    base_maps: Sequence[str] = ("transformer",)

    uses_features = True

    @classmethod
    def load(
        cls, layout: Layout, seed: int, image_size: int, sampling: Sampling, stored: Stored
    ) -> DrdcPredictor:
        """Raises UserError where a trained model is missing or damaged."""
        base = load_base(layout, seed)
        inpainter = Inpainter.load(layout, seed, sampling, stored.model)
        base_maps = base.settings.base_maps
        return cls(base, inpainter, image_size, seed, stored.detailed, base_maps=base_maps)

    @property
    def record_type(self) -> np.dtype[np.void]:
        return record_type(self.input_size, self.base.feature_size, self._grid_sizes, self.base_maps)

    @property
    def batch_size(self) -> int:
        return self.inpainter.sampling.batch_size

    @property
    def calls(self) -> int:
        return self.inpainter.calls

    @property
    def networks(self) -> Sequence[nn.Module]:
        return [self.base, self.inpainter.denoiser]

    @property
    def _grid_sizes(self) -> list[int] | None:
        return self.inpainter.sampling.grid_sizes if self.detailed else None

    @torch.inference_mode()
    def store_base_maps(
        self, records: NDArray[np.void], places: NDArray[np.int64], features: Tensor, base_map: str
    ) -> None:
        """Write base maps (Eq. 2) of features (B, C, h, w) into `records`; `base_map`: as `fusion.base`."""
        store_base(records, places, base_map, self.base.errors(features, base_map))

    @torch.inference_mode()
    def predict(self, batch: Batch) -> NDArray[np.void]:
        records = np.zeros(len(batch.keys), self.record_type)
        everything = np.arange(len(records))
        for base_map in self.base_maps:
            self.store_base_maps(records, everything, batch.features, base_map)
        keys = list(batch.keys) if self.key is None else self.key
        errors = self.inpainter.reconstruct(batch.images, keys, self.seed)
        store_errors(records, everything, errors, self._grid_sizes)
        return records
