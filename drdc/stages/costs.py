"""trained models -> costs: time, U-Net calls, parameters, operations and memory, measured in one run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from drdc.config.backbone import Backbone
from drdc.config.sampling import Sampling
from drdc.config.variants import DRDC, FULL
from drdc.data.manifest import read_manifest
from drdc.equations.fusion import feature_error
from drdc.methods.drdc.predictor import DrdcPredictor
from drdc.methods.fitted_method import FittedMethod
from drdc.methods.inputs import Batch
from drdc.methods.predictor import Predictor
from drdc.models.backbone import FeatureExtractor
from drdc.models.inpainter import Inpainter, load_base
from drdc.results.layout import Layout
from drdc.results.scores import write_table
from drdc.runtime.devices import device_name, to_device, torch_device
from drdc.runtime.files import load_array

log = logging.getLogger(__name__)

ROUNDS = 5
BATCH = 4  # images at a time on a CPU, where more bring no gain
STATUS = Path("/proc/self/status")

Run = Callable[[slice], Any]


def costs(
    layout: Layout,
    *,
    seeds: list[int],
    image_size: int,
    backbone: Backbone,
    sampling: Sampling,
    base_map: str,
    timed_steps: list[int],
    trained: list[str],
) -> None:
    """Write `costs.csv`: base model (with its backbone), DRDC with several numbers of timesteps, and other
    methods (with the backbone where they use its features; one that is not fitted is left out).

    All are measured on the same images and device, from decoded pixels to what is stored; a GPU gets
    `sampling.batch_size` images at a time, a CPU at most `BATCH`. Columns: method, variant, unet_calls,
    seconds_per_image and cpu_seconds_per_image (`timed`), parameters, flops and peak_memory (`described`),
    device, threads, batch_size. `base_map`: the kind of base heatmap that is fused, as `fusion.base`.
    """
    size = sampling.batch_size if torch.cuda.is_available() else min(BATCH, sampling.batch_size)
    images = _Images.read(layout, backbone, size)
    base = load_base(layout, seeds[0])
    found = _Measurements(len(images.rows))

    def base_maps(batch: slice) -> Tensor:
        features = images.features(batch)
        return feature_error(features, base.expected(features, base_map))

    found.add({"method": "base", "variant": FULL, "unet_calls": 0}, base_maps, [images.extractor, base])
    known = Inpainter.load(layout, seeds[0], sampling)
    for steps in sorted({*timed_steps, sampling.steps}):
        own = sampling.model_copy(update={"steps": steps})
        inpainter = Inpainter(known.denoiser, known.alpha_bar, own)
        predictor = DrdcPredictor(base, inpainter, image_size, seeds[0], base_maps=(base_map,))
        variant = FULL if steps == sampling.steps else f"steps={steps}"
        images.measure(found, {"method": DRDC, "variant": variant, "unet_calls": inpainter.calls}, predictor)
    for name in filter(lambda name: layout.model(seeds[0], name).is_file(), trained):
        fitted = FittedMethod.load(layout, seeds[0], name, image_size)
        images.measure(found, {"method": name, "variant": FULL}, fitted)
    about: dict[str, Any] = {
        "device": device_name(),
        "threads": torch.get_num_threads(),
        "batch_size": len(images.rows),
    }
    frame = pd.DataFrame(found.rows()).assign(**about)
    log.info("\n%s", frame.to_string(index=False))
    write_table(layout.costs, frame)


@dataclass(frozen=True)
class _Images:
    """The test images that all methods are measured on, and the experiment's backbone.

    Attributes:
        rows: of the manifest.
        keys: SHA-256 of their pixels.
    """

    layout: Layout
    rows: NDArray[np.int64]
    keys: list[str]
    total: int
    pixels: Tensor
    extractor: FeatureExtractor

    @classmethod
    def read(cls, layout: Layout, backbone: Backbone, count: int) -> _Images:
        table = read_manifest(layout.manifest)
        rows = np.flatnonzero(table.split != "train")[:count]
        size = backbone.input_size
        stored = load_array(layout.images(size), len(table), f"images {size}")[rows]
        pixels = to_device(stored).permute(0, 3, 1, 2)
        extractor = FeatureExtractor(backbone).to(torch_device())
        return cls(layout, rows, table.pixels_sha256[rows].tolist(), len(table), pixels, extractor)

    def features(self, batch: slice) -> Tensor:
        features: Tensor = self.extractor(self.pixels[batch])
        return features.half().float()

    def measure(self, found: _Measurements, head: dict[str, Any], predictor: Predictor) -> None:
        size = predictor.input_size
        stored = load_array(self.layout.images(size), self.total, f"images {size}")[self.rows]

        def predict(batch: slice) -> Any:
            features = self.features(batch) if predictor.uses_features else None
            return predictor.predict(Batch.of(stored[batch], features, self.keys[batch]))

        own = [self.extractor] if predictor.uses_features else []
        found.add(head, predict, [*own, *predictor.networks])


class _Measurements:
    """Rows of `costs.csv`: size and operations of each method as it is added, the times of all at the end."""

    def __init__(self, images: int) -> None:
        self.images = images
        self._rows: list[dict[str, Any]] = []
        self._runs: list[Run] = []
        self._loaded: dict[nn.Module, int] = {}  # bytes of all networks so far

    def add(self, head: dict[str, Any], run: Run, networks: list[nn.Module]) -> None:
        """See `described`; what other methods have loaded does not count as this one's memory."""
        self._loaded |= {network: _bytes(network) for network in networks}
        others = sum(size for network, size in self._loaded.items() if network not in networks)
        facts = described(run, networks, self.images)
        self._rows.append(head | facts | {"peak_memory": facts["peak_memory"] - others})
        self._runs.append(run)

    def rows(self) -> list[dict[str, Any]]:
        return [row | times for row, times in zip(self._rows, timed(self._runs, self.images), strict=True)]


def described(run: Run, networks: list[nn.Module], images: int) -> dict[str, float]:
    """What a method needs: `parameters`, `flops` of one image (2 × multiply-add) and `peak_memory` in bytes.

    The memory is that of the device, or on a CPU that of the whole process.

    Args:
        run: predicts a slice of the images.
        networks: what it uses; their parameters are frozen.
        images: how many there are.
    """
    for network in networks:
        network.requires_grad_(False)  # the counter follows gradients where there are any
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            run(slice(0, 1))
        _reset_peak()
        run(slice(0, images))
    return {
        "parameters": sum(p.numel() for network in networks for p in network.parameters()),
        "flops": counter.get_total_flops(),
        "peak_memory": _peak(),
    }


def timed(runs: Sequence[Run], images: int) -> list[dict[str, float]]:
    """Shortest seconds per image of each method: wall-clock time, and CPU time of all cores.

    Each of `ROUNDS` rounds runs all methods one after the other, so that other load on the machine affects
    all of them alike, and the shortest time is the least disturbed one.
    """
    times = np.empty((ROUNDS, len(runs), 2))
    with torch.inference_mode():
        for place in np.ndindex(times.shape[:2]):
            started = _now()
            runs[place[1]](slice(0, images))
            times[place] = _now() - started
    return [
        {"seconds_per_image": float(wall), "cpu_seconds_per_image": float(cpu)}
        for wall, cpu in times.min(0) / images
    ]


def _now() -> NDArray[np.float64]:
    """Wall-clock and CPU seconds, when the device has finished all its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return np.array([time.perf_counter(), time.process_time()])


def _bytes(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in chain(network.parameters(), network.buffers()))


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")  # Linux: resets the peak to what is in use now


def _peak() -> float:
    """Bytes; NaN where neither a GPU nor Linux can tell."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if not STATUS.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return 1024 * int(lines["VmHWM"].split()[0])
