"""An image in `detect`, in its ONNX file, and in anomalib's PatchCore, PaDiM, EfficientAD; how each loads.

Ours is the demo's detector: of `results/demo` where there is one, else with untrained weights, which are as
fast. anomalib's models are as `Engine.export` writes them and `TorchInferencer` reads them, with random
weights; PatchCore keeps a tenth of the patches of 242 images, the mean category of MVTec AD. All of them read
a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import chdir
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml
from PIL import Image

from drdc import Detector, cli
from drdc.results.layout import Layout

from ..harness import Contestant, Race, Size, peak_of, python
from ..plain import plain
from ..stored import demo_settings, smooth

BANK, SIDE = 242, 256
TRUST = {"TRUST_REMOTE_CODE": "1"}
WITH_ONNXRUNTIME = """
import numpy, onnxruntime, PIL.Image
onnxruntime.InferenceSession({path!r}, providers=["CPUExecutionProvider"])
"""
#: The untrained experiment: 20 held-out images, as a false-alarm rate of 5 % needs, and a step of training.
FEW: dict[str, Any] = {
    "seeds": [0],
    "dataset": {"holdout": 0.5, "synthetic": {"train": 10, "test_good": 1, "test_bad": 1}},
    "base": {"epochs": 0.5, "validations": 1},
    "diffusion": {"images": 8, "validations": 1},
    "evaluation": {"ablation": False, "sweeps": {}, "costs": []},
}
TINY: dict[str, Any] = {
    "dataset": {"image_size": 32},
    "diffusion": {"multipliers": [1], "attention_levels": []},
}


def races(size: Size) -> Iterator[Race]:
    found = Path("results/demo/detectors/drdc.safetensors").resolve()
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = found if found.is_file() and not size.tiny else untrained(folder, size.tiny)
        image = folder / "image.png"
        Image.fromarray(smooth((1, SIDE, SIDE, 3))[0]).save(image)
        exported = {} if find_spec("anomalib") is None else anomalib_models(folder, size.tiny)
        detector, whole = Detector.load(model), in_onnx(model, folder)
        yield Race(
            what=f"an image of {SIDE} px, steady state",
            unit="image",
            contestants=[
                Contestant("drdc", partial(detector.detect, image), wanted="≤ 70 ms"),
                Contestant("drdc, fast", partial(detector.detect, image, fast=True), wanted="≤ 35 ms"),
                Contestant("drdc, fast, as an ONNX file", with_onnxruntime(whole, image)),
                *(Contestant(title, inferencer(path, image)) for title, path in exported.items()),
                *([] if exported else [Contestant("anomalib", None)]),
            ],
            rounds=1 if size.tiny else 5,
        )
        start = f"from drdc import Detector; Detector.load({str(model)!r})"
        yield Race(
            what="imports and loading, in a new process",
            unit="start",
            contestants=[
                Contestant("drdc", partial(peak_of, python("-c", start)), peak=float, wanted="≤ 2 s"),
                Contestant(
                    "drdc, fast, as an ONNX file",
                    partial(peak_of, python("-c", WITH_ONNXRUNTIME.format(path=str(whole)))),
                    peak=float,
                ),
                *(started(title, path) for title, path in list(exported.items())[:1]),
            ],
            rounds=1 if size.tiny else 3,
        )


def in_onnx(model: Path, folder: Path) -> Path:
    """The detector as `drdc onnx` writes it."""
    path = folder / "detector.onnx"
    command = ("onnx", "--model", str(model), "--output", str(path), "--false-alarm-rate", "0.2")
    with patch.dict(os.environ):
        if code := cli.main(command):
            raise RuntimeError(f"drdc onnx ended with {code}")
    return path


def with_onnxruntime(path: Path, image: Path) -> Callable[[], Any]:
    """Prediction from the file of an image, on one thread like the others."""
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": np.asarray(Image.open(image).convert("RGB"))})


def untrained(folder: Path, tiny: bool) -> Path:
    """The demo's detector after a step of training; made by the commands, in `folder`."""
    settings = demo_settings()
    for section, changes in (*FEW.items(), *(TINY.items() if tiny else ())):
        settings[section] = settings[section] | changes if isinstance(changes, dict) else changes
    with chdir(folder), patch.dict(os.environ):
        Path("config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        images = [f"images {settings['dataset']['image_size']}", "images 224"]
        trained = ["features", "groups", "train base", "train diffusion", "predict"]
        for stage in ["prepare", *images, *trained, "export"]:
            if code := cli.main([*stage.split(), "--config", "config.yaml", "--threads", "1"]):
                raise RuntimeError(f"drdc {stage} ended with {code}")
    return folder / Layout(settings["experiment"]).detector()


def anomalib_models(folder: Path, tiny: bool) -> dict[str, Path]:
    """By title the exported models of anomalib: its defaults, and two for smaller images."""
    small = {
        "PatchCore, ResNet-18, 128 px": partial(patchcore, 128, "resnet18"),
        "PaDiM, ResNet-18, 128 px": partial(padim, 128),
    }
    default: dict[str, Callable[[], Any]] = {
        "PatchCore, WRN-50, 256 px": partial(patchcore, 256, "wide_resnet50_2"),
        "PaDiM, ResNet-18, 256 px": partial(padim, 256),
        "EfficientAD-S, 256 px": import_module("anomalib.models").EfficientAd,
    }
    built = small if tiny else default | small
    return {
        title: build().to_torch(folder / str(number)) for number, (title, build) in enumerate(built.items())
    }


def patchcore(size: int, backbone: str) -> Any:
    kind = import_module("anomalib.models").Patchcore
    model = kind(
        backbone=backbone, pre_trained=False, pre_processor=kind.configure_pre_processor((size, size))
    )
    network = model.model
    patches, channels = network(torch.rand(1, 3, size, size)).shape
    network.embedding_store.clear()
    network.memory_bank = torch.rand(round(model.coreset_sampling_ratio * BANK * patches), channels)
    return model


def padim(size: int) -> Any:
    kind = import_module("anomalib.models").Padim
    model = kind(pre_trained=False, pre_processor=kind.configure_pre_processor((size, size)))
    _, channels, height, width = model.model(torch.rand(1, 3, size, size)).shape
    model.model.memory_bank.clear()
    gaussian = model.model.gaussian
    gaussian.mean = torch.rand(channels, height * width)
    gaussian.inv_covariance = torch.eye(channels).repeat(height * width, 1, 1)
    return model


def inferencer(path: Path, image: Path) -> Callable[[], Any]:
    """Prediction from the file of an image to its heatmap; without gradients, as anomalib's engine does."""
    with patch.dict(os.environ, TRUST):
        loaded = import_module("anomalib.deploy").TorchInferencer(path)
    return plain(torch.inference_mode()(partial(loaded.predict, image)))


def started(title: str, path: Path) -> Contestant:
    start = f"from anomalib.deploy import TorchInferencer; TorchInferencer({str(path)!r})"
    return Contestant(title, partial(peak_of, python("-c", start), environment=TRUST), peak=float)
