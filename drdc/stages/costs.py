"""trained models -> costs: time, U-Net calls, parameters, operations and memory, measured in one run."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from drdc.baselines.fitted import Fitted
from drdc.config import Backbone, Sampling
from drdc.data.images import to_square
from drdc.data.manifest import read_manifest
from drdc.devices import device_name, torch_device
from drdc.diffusion import to_unit_range
from drdc.files import atomic, load_array
from drdc.fusion import feature_error
from drdc.layout import Layout
from drdc.models.backbone import FeatureExtractor
from drdc.models.inference import Inpainter, load_base
from drdc.variants import FULL

log = logging.getLogger(__name__)

REPEATS = 3
STATUS = Path("/proc/self/status")


def costs(
    layout: Layout,
    *,
    seeds: list[int],
    backbone: Backbone,
    sampling: Sampling,
    timed_steps: list[int],
    systems: dict[str, Any],
) -> None:
    """Write `costs.csv`: base model (with its backbone), DRDC with several numbers of timesteps, and the
    compared systems (with the backbone where they use its features; one that is not fitted is left out).

    All are measured one after the other on the same images and device, with `sampling.batch_size` images at a
    time, from decoded pixels to heatmaps. Columns: method, variant, unet_calls, seconds_per_image (median of
    three), parameters, flops (of one image, 2 × multiply-add), peak_memory (bytes: of the device, or on a
    CPU of the whole process), device, threads, batch_size.
    """
    table = read_manifest(layout.manifest)
    rows = np.flatnonzero(table.split != "train")[: sampling.batch_size]
    images = load_array(layout.images, len(table), "prepare")[rows]
    extractor, base = FeatureExtractor(backbone).to(torch_device()), load_base(layout, seeds[0])
    scaled = np.stack([to_square(Image.fromarray(image), backbone.input_size) for image in images])
    pixels = torch.from_numpy(scaled).permute(0, 3, 1, 2).to(torch_device())

    def base_maps(batch: slice) -> None:
        features = extractor(pixels[batch]).half().float()
        feature_error(features, base(features))

    about: dict[str, Any] = {"device": device_name(), "threads": torch.get_num_threads()}
    base_costs = measured(base_maps, [extractor, base], len(rows))
    found: list[dict[str, Any]] = [{"method": "base", "variant": FULL, "unet_calls": 0} | base_costs]
    for steps in sorted({*timed_steps, sampling.steps}):
        own = sampling.model_copy(update={"steps": steps})
        inpainter = Inpainter.load(layout, seeds[0], own)

        def drdc_maps(batch: slice, inpainter: Inpainter = inpainter) -> None:
            base_maps(batch)
            inpainter.reconstruct(to_unit_range(images[batch]), table.sha256[rows[batch]].tolist(), seeds[0])

        variant = FULL if steps == sampling.steps else f"steps={steps}"
        own_costs = measured(drdc_maps, [extractor, base, inpainter.denoiser], len(rows))
        found.append({"method": "drdc", "variant": variant, "unet_calls": inpainter.calls} | own_costs)
    own_images = to_unit_range(images).to(torch_device())
    for name in filter(lambda name: layout.model(seeds[0], f"systems/{name}").is_file(), systems):
        fitted = Fitted.load(layout, seeds[0], name)

        def system_maps(batch: slice, fitted: Fitted = fitted) -> None:
            used = fitted.system.uses_features
            fitted.maps_and_scores(own_images[batch], extractor(pixels[batch]) if used else None)

        networks = [fitted.system, *([extractor] if fitted.system.uses_features else [])]
        found.append({"method": name, "variant": FULL, **measured(system_maps, networks, len(rows))})
    frame = pd.DataFrame(found).assign(**about, batch_size=len(rows))
    log.info("\n%s", frame.to_string(index=False))
    with atomic(layout.costs) as path:
        frame.to_csv(path, index=False)


def measured(run: Callable[[slice], None], networks: list[nn.Module], images: int) -> dict[str, float]:
    """Seconds, parameters, operations and memory, as in `costs.csv`.

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
        times = []
        for _ in range(REPEATS):
            started = _now()
            run(slice(0, images))
            times.append(_now() - started)
    return {
        "seconds_per_image": statistics.median(times) / images,
        "parameters": sum(p.numel() for network in networks for p in network.parameters()),
        "flops": counter.get_total_flops(),
        "peak_memory": _peak(),
    }


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts again at what is in use now


def _peak() -> float:
    """Bytes; NaN where neither a GPU nor Linux can tell."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    if not STATUS.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return 1024 * int(lines["VmHWM"].split()[0])
