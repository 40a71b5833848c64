"""Time and memory of prepare, images, features, groups, predict and score for many images.

The images are one picture of 128 × 128 pixels under many names in ten categories, 32 × 32 after decoding; the
models have random weights, and the reverse chain has one step of two calls. Each stage is the real command in
a process of its own; the memory is what that process holds itself, without the pages of files that the system
takes back when it needs them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

import drdc
from drdc.config.base import Base
from drdc.config.diffusion import Diffusion
from drdc.models.denoiser import Denoiser
from drdc.models.reconstructor import Reconstructor
from drdc.results.layout import Layout
from drdc.runtime.files import save_weights

from ..harness import Contestant, Race, Size, peak_of, python

NAME, SIZE, FEATURE_SIZE, TRAIN = "load", 32, 4, 4
#: So that a copy of the project that is not installed is found from another folder.
ENVIRONMENT = {"PYTHONPATH": str(Path(drdc.__file__).parents[1])}
STAGES = ("prepare", "images", "features", "groups", "predict", "score")
CATEGORIES = 10
BASE = {
    "hidden": 8,
    "heads": 2,
    "feedforward": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "neighbour_window": 3,
}
DIFFUSION = {"width": 32, "multipliers": [1], "attention_levels": [], "layers_per_block": 1}


def races(size: Size) -> Iterator[Race]:
    with TemporaryDirectory() as folder:
        for stage, run in stages(Path(folder), size.images, CATEGORIES):
            contestant = Contestant("drdc", run, peak=float)
            yield Race(f"`drdc {stage}`, {size.images} images", "stage", [contestant], rounds=1)


def stages(folder: Path, images: int, categories: int) -> Iterator[tuple[str, partial[float]]]:
    """By name what runs each stage, to be run before the next: its peak of anonymous memory in bytes.

    The experiment is made in `folder`; `images` counts those to test, spread over the categories.
    """
    names = [f"c{i:02d}" for i in range(categories)]
    make_images(folder, names, images // categories)
    config = configuration(folder, names)
    for stage in STAGES:
        size = [str(SIZE)] if stage == "images" else []
        if stage == "predict":
            make_models(folder)
        command = python("-m", "drdc", stage, *size, "--config", config, "--threads", "1")
        yield stage, partial(peak_of, command, folder=folder, environment=ENVIRONMENT, kind="RssAnon")


def make_images(folder: Path, categories: list[str], test: int) -> None:
    """Normal images to train on, and `test` images in each category, every second one with a defect."""
    rng = np.random.default_rng(0)
    picture(folder / "image.png", rng)
    Image.fromarray(np.eye(128, dtype=np.uint8) * 255).save(folder / "mask.png")
    for category in categories:
        own = folder / "data" / category
        for i in range(TRAIN):
            picture(own / f"train/good/{i:05d}.png", rng)
        for i in range(test):
            kind = ("good", "bent")[i % 2]
            link(folder / "image.png", own / f"test/{kind}/{i:05d}.png")
            if kind == "bent":
                link(folder / "mask.png", own / f"ground_truth/bent/{i:05d}_mask.png")


def picture(path: Path, rng: np.random.Generator) -> None:
    """An image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (128, 128, 3), dtype=np.uint8)).save(path)


def link(source: Path, path: Path) -> None:
    """One file under another name: thousands of images take the space of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.hardlink_to(source)


def configuration(folder: Path, categories: list[str]) -> Path:
    """A file with the settings of the experiment."""
    backbone = {"name": "tf_efficientnet_lite0", "weights": "package", "input_size": SIZE}
    dataset = {"name": "mvtec", "root": "data", "categories": categories, "image_size": SIZE}
    content = {
        "experiment": NAME,
        "dataset": dataset,
        "backbone": backbone | {"feature_size": FEATURE_SIZE},
        "base": BASE,
        "diffusion": DIFFUSION | {"grid_sizes": [4]},
        "sampling": {"steps": 1, "grid_sizes": [4], "batch_size": 8},
        "fusion": {"filter_size": 3, "pool_size": 4},
    }
    path = folder / "load.yaml"
    path.write_text(json.dumps(content))  # JSON is YAML
    return path


def make_models(folder: Path) -> None:
    """Models with random weights, which cost as much as trained ones."""
    here = Layout(NAME)
    channels = np.load(folder / here.features, mmap_mode="r").shape[1]
    base, diffusion = Base.model_validate(BASE), Diffusion.model_validate(DIFFUSION)
    about = {"base": base.model_dump(), "channels": channels, "feature_size": FEATURE_SIZE}
    network = Reconstructor(base, channels, FEATURE_SIZE)
    save_weights(folder / here.model(0, "base"), network.state_dict(), about)
    about = {"diffusion": diffusion.model_dump(), "image_size": SIZE}
    save_weights(folder / here.model(0, "diffusion"), Denoiser(diffusion).state_dict(), about)
