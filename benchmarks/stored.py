"""An experiment in the working directory with random arrays in place of what earlier stages compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from drdc.config.variants import FULL
from drdc.data.manifest import COLUMNS, read_manifest
from drdc.experiment.experiment import Experiment, load_experiment
from drdc.results.layout import Layout
from drdc.results.predictions import record_type
from drdc.results.scores import write_table
from drdc.runtime.files import artefact

DEMO = Path(__file__).parents[1] / "config/config.yaml"


def demo_settings() -> dict[str, Any]:
    """config/config.yaml as a mapping."""
    settings: dict[str, Any] = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    return settings


def experiment_of(settings: dict[str, Any]) -> tuple[Experiment, Layout]:
    """Write settings as `config.yaml`; the experiment that they are, and its layout."""
    Path("config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    experiment = load_experiment("config.yaml")
    return experiment, Layout(experiment.experiment)


def write_manifest(layout: Layout, categories: list[str], *, size: int, **splits: int) -> None:
    """A manifest with so many images of each split in each category; every second test image is anomalous."""
    rows: list[dict[str, Any]] = []
    for category in categories:
        for split, count in splits.items():
            for number in range(count):
                anomalous = split == "test" and number % 2 == 1
                rows.append(
                    {
                        "path": f"{category}/{split}/{number}.png",
                        "category": category,
                        "split": split,
                        "label": int(anomalous),
                        "defect_type": "hole" if anomalous else "good",
                        "mask": "mask.png" if anomalous else "",
                        "width": size,
                        "height": size,
                        "stored": 8,
                        "bits": 8,
                        "sha256": f"{len(rows):064x}",
                        "pixels_sha256": f"{len(rows):064x}",
                    }
                )
    with artefact(layout.manifest) as path:
        pd.DataFrame(rows)[list(COLUMNS)].to_csv(path, index=False)


def write_array(layout: Layout, path: Path, values: NDArray[Any]) -> None:
    """An array with one row for each image of the manifest, as a stage writes it."""
    with artefact(path, layout.manifest) as temporary, temporary.open("wb") as file:
        np.save(file, values)


def write_images(layout: Layout, size: int) -> None:
    """Smooth random images of `size` pixels, (N, size, size, 3) uint8."""
    count = len(read_manifest(layout.manifest))
    write_array(layout, layout.images(size), smooth((count, size, size, 3)))


def write_masks(layout: Layout, size: int) -> None:
    """A square defect of a sixth of the side in every anomalous image."""
    table = read_manifest(layout.manifest)
    masks = np.zeros((len(table), size, size), dtype=bool)
    masks[table.label == 1, size // 3 : size // 2, size // 3 : size // 2] = True
    write_array(layout, layout.masks, masks)


def write_predictions(layout: Layout, *, size: int, feature_size: int, grid_sizes: list[int]) -> None:
    """Predictions of DRDC's first seed for the images that are not trained on, and their groups."""
    table, rng = read_manifest(layout.manifest), np.random.default_rng(0)
    for category in sorted(set(table.category)):
        own = np.flatnonzero((table.category == category) & (table.split != "train"))
        records = np.zeros(len(own), record_type(size, feature_size, grid_sizes))
        records["row"] = own
        for name in records.dtype.names or ():
            if name.startswith(("k", "base", "last")):
                records[name] = rng.random(records[name].shape, dtype=np.float32)
        records["reconstruction"] = smooth(records["reconstruction"].shape)
        write_array(layout, layout.predictions(0, FULL, category), records)
    groups = table.loc[table.split != "train", ["category", "split"]].rename_axis("row").reset_index()
    write_table(layout.groups, groups.assign(group=groups["category"], distance=1.0))


def smooth(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Images (N, H, W, 3) that compress about as well as photographs do."""
    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    smooth = gaussian_filter(noise, (0, shape[1] / 32, shape[2] / 32, 0))
    low, high = smooth.min(), smooth.max()
    return np.round(255 * (smooth - low) / (high - low)).astype(np.uint8)
