"""Time and peak memory of prepare, images, features, predict and score for a number of images.

    python benchmarks/load.py --images 10000 --categories 10

The images are one picture of 128 x 128 pixels under many names, 32 x 32 after decoding; the models have
random weights and the reverse chain one step of two calls. Each stage is the real command in a process of its
own. Anonymous memory is what the process holds itself; resident memory also counts pages of files that the
method takes back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import drdc
from drdc.config.base import Base
from drdc.config.diffusion import Diffusion
from drdc.models.denoiser import Denoiser
from drdc.models.reconstructor import Reconstructor
from drdc.results.layout import Layout
from drdc.runtime.files import save_weights

NAME, SIZE, FEATURE_SIZE, TRAIN = "load", 32, 4, 4
STAGES = ("prepare", "images", "features", "predict", "score")
BASE = {
    "hidden": 8,
    "heads": 2,
    "feedforward": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "neighbour_window": 3,
}
DIFFUSION = {"width": 32, "multipliers": [1], "attention_levels": [], "layers_per_block": 1}


@dataclass(frozen=True)
class Measured:
    """Seconds, and the peaks of anonymous and resident memory in bytes."""

    seconds: float
    anonymous: int
    resident: int


def run_chain(folder: Path, images: int, categories: int, threads: int = 1) -> dict[str, Measured]:
    """Run the stages on new images in `folder`; `images` counts those to test, spread over categories."""
    names = [f"c{i:02d}" for i in range(categories)]
    make_images(folder, names, images // categories)
    config = configuration(folder, names)
    found = {}
    for stage in STAGES:
        size = [str(SIZE)] if stage == "images" else []
        if stage == "predict":
            make_models(folder)
        found[stage] = measured(folder, [stage, *size, "--config", str(config), "--threads", str(threads)])
    return found


def make_images(folder: Path, categories: list[str], test: int) -> None:
    """Normal images to train on, and `test` images in each category, every second one with a defect."""
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "image.png")
    Image.fromarray(np.eye(128, dtype=np.uint8) * 255).save(folder / "mask.png")
    for category in categories:
        own = folder / "data" / category
        for i in range(TRAIN):
            link(folder / "image.png", own / f"train/good/{i:05d}.png")
        for i in range(test):
            kind = ("good", "bent")[i % 2]
            link(folder / "image.png", own / f"test/{kind}/{i:05d}.png")
            if kind == "bent":
                link(folder / "mask.png", own / f"ground_truth/bent/{i:05d}_mask.png")


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
        "dataset": dataset | {"accept": ["test-image-in-training"]},
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
    base, diffusion = Base(**BASE), Diffusion(**DIFFUSION)
    about = {"base": base.model_dump(), "channels": channels, "feature_size": FEATURE_SIZE}
    network = Reconstructor(base, channels, FEATURE_SIZE)
    save_weights(folder / here.model(0, "base"), network.state_dict(), about)
    about = {"diffusion": diffusion.model_dump(), "image_size": SIZE}
    save_weights(folder / here.model(0, "diffusion"), Denoiser(diffusion).state_dict(), about)


def measured(folder: Path, arguments: list[str]) -> Measured:
    """Run `drdc` with these arguments and look at its memory a hundred times a second."""
    environment = os.environ | {"PYTHONPATH": str(Path(drdc.__file__).parents[1])}
    started, anonymous, resident = time.perf_counter(), 0, 0
    with (folder / f"{arguments[0]}.log").open("w") as messages:
        process = subprocess.Popen(
            [sys.executable, "-m", "drdc", *arguments], cwd=folder, env=environment, stderr=messages
        )
        while process.poll() is None:
            now = memory(process.pid)
            anonymous, resident = max(anonymous, now[0]), max(resident, now[1])
            time.sleep(0.01)
    if process.returncode:
        raise RuntimeError((folder / f"{arguments[0]}.log").read_text())
    return Measured(time.perf_counter() - started, anonymous, resident)


def memory(pid: int) -> tuple[int, int]:
    """Anonymous and resident memory of a process in bytes, as Linux tells; 0 when it has just ended."""
    lines = Path("/proc", str(pid), "status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    kib = [int(fields.get(name, "0 kB").split()[0]) for name in ("RssAnon", "VmRSS")]
    return 1024 * kib[0], 1024 * kib[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000, help="test images in all (default %(default)s)")
    parser.add_argument("--categories", type=int, default=10, help="number of categories (default 10)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each stage (default 1)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run_chain(Path(folder), options.images, options.categories, options.threads)
    print(f"{'images':>7}  {'stage':<9}{'seconds':>8}{'anonymous MB':>14}{'resident MB':>13}")
    for stage, one in found.items():
        memories = f"{one.anonymous / 1e6:>14.0f}{one.resident / 1e6:>13.0f}"
        print(f"{options.images:>7}  {stage:<9}{one.seconds:>8.0f}{memories}")


if __name__ == "__main__":
    main()
