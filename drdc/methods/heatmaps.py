"""Heatmaps that were made elsewhere, by any program, scored by the same rules as those of every other method.

A folder holds `heatmaps.csv`, a row for each image, and the heatmaps as files of NumPy:

    path,heatmap,score
    wood/test/good/000.png,0001.npy,0.31

`path` is that of the image in the manifest, `heatmap` that of its file below the folder: a 2-D array of any
size and scale, higher = more anomalous, over the whole image. `score`, of the image, may be missing; it is
then the maximum of the average-pooled heatmap (`pool_size`) at `dataset.image_size`. Every test image needs a
row. The held-out normal images may all be missing: then there is no threshold, and what needs one is not
defined. What made the heatmaps must not have been trained on them, else the thresholds are too low.

Each heatmap is brought to `dataset.image_size` as those of methods with an input size of their own (bilinear,
anti-aliased where it is reduced); its values stay as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from drdc.config.section import setting
from drdc.equations.fusion import image_score
from drdc.methods.fitted_method import resized
from drdc.methods.interface import Method, MethodSettings
from drdc.results.heatmaps import stored_type
from drdc.runtime.csv_rows import read_rows
from drdc.runtime.errors import UserError, first_line

INDEX = "heatmaps.csv"
NEEDED = ("path", "heatmap")
#: Kinds of numbers of a heatmap: truth values, integers, floats.
_NUMBERS = "biuf"


class Heatmaps(Method):
    """A method without a network: its heatmaps are read from files."""

    class Settings(MethodSettings):
        """Settings of heatmaps that were made elsewhere."""

        folder: str = setting(
            "heatmaps",
            "ours",
            f"Folder of `{INDEX}` and the heatmaps; `{{seed}}` in it stands for the seed of the run.",
        )

    citation = "source unknown"
    uses_features = False
    imported = True

    @classmethod
    def cited(cls, settings: Mapping[str, Any], backbone: str) -> str:
        alike = "" if "{seed}" in settings["folder"] else ", the same for every seed"
        made = f"heatmaps made elsewhere ({settings['folder']}{alike}); no costs, self-check and detector"
        return f"{super().cited(settings, backbone)}; {made}"


@dataclass(frozen=True)
class Imported:
    """The heatmaps of some images.

    Attributes:
        files: of the images, by path in the manifest.
        scores: of the same images; empty where the file has none.
    """

    files: Mapping[str, Path]
    scores: Mapping[str, float]

    @classmethod
    def read(cls, folder: Path) -> Imported:
        """Those of `heatmaps.csv`; UserError, with file and line, where it is wrong."""
        files: dict[str, Path] = {}
        scores: dict[str, float] = {}
        for place, row in read_rows(folder / INDEX, NEEDED):
            path = row["path"]
            if path in files:
                raise UserError(place, f"{path} has a heatmap already", "keep one of its rows")
            files[path] = folder / row["heatmap"]
            if text := row.get("score", ""):
                scores[path] = _score(text, place)
        if scores and (absent := [path for path in files if path not in scores]):
            raise UserError(folder / INDEX, f"{absent[0]} has no score", "give every image one, or none")
        return cls(files, scores)

    def needed(self, about: pd.DataFrame, index: Path) -> pd.Series[bool]:
        """Which of some images, rows of the manifest, have a heatmap: all, or all but the held-out ones.

        Raises UserError where a test image has none, or some of the held-out images and not all.
        """
        there = about["path"].isin(list(self.files))
        for split, kind in (("test", "test"), ("val", "held-out normal")):
            own = about[about["split"] == split]
            absent = own.loc[~there[own.index], "path"]
            if len(absent) and (split == "test" or len(absent) < len(own)):
                what = (
                    f"{len(absent)} of {len(own)} {kind} images have no heatmap, the first {absent.iloc[0]}"
                )
                fix = "" if split == "test" else ", or leave out those of all of them"
                raise UserError(index, what, f"add a row for each{fix}")
        return there

    def records(self, about: pd.DataFrame, image_size: int, pool_size: int) -> Iterator[NDArray[np.void]]:
        """What is stored of each image, (1,) of `stored_type`; NaN of one without a heatmap."""
        for row, path in about["path"].items():
            record = np.zeros(1, stored_type(image_size, "f4"))
            record["row"], record["heatmap"], record["score"] = row, nan, nan
            if path in self.files:
                whole = torch.from_numpy(read_map(self.files[path]))[None]
                shown = resized(whole, image_size)
                pooled = float(image_score(shown, min(pool_size, image_size)))
                record["heatmap"], record["score"] = shown.numpy(), self.scores.get(path, pooled)
            yield record


def folder_of(folder: str, seed: int) -> Path:
    """That of a run."""
    return Path(folder.replace("{seed}", str(seed)))


def fingerprint(folder: str, seeds: Sequence[int]) -> str:
    """12 hexadecimal digits; others once a file that these runs read is added, removed, renamed or
    replaced.

    Raises:
        UserError: there is no `heatmaps.csv`, or it is wrong.
    """
    stamps = []
    for root in dict.fromkeys(folder_of(folder, seed) for seed in seeds):
        if not (root / INDEX).is_file():
            raise UserError(root / INDEX, "is missing", "write it, with a row for each image")
        files = set(Imported.read(root).files.values())
        for path in sorted([root / INDEX, *filter(Path.is_file, files)]):
            status = path.stat()
            stamps.append([str(path), status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:12]


def read_map(path: Path) -> NDArray[np.float32]:
    """A heatmap, (H, W); UserError where it is not one of finite numbers."""
    fix = "save a 2-D array of finite numbers with numpy.save"
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise UserError(path, f"cannot be read ({first_line(error)})", fix) from None
    if not isinstance(found, np.ndarray) or found.dtype.kind not in _NUMBERS:
        raise UserError(path, "is not an array of numbers", fix)
    if found.ndim != 2 or not found.size:
        raise UserError(path, f"has the shape {found.shape}", fix)
    with np.errstate(over="ignore"):  # what overflows is refused as infinite
        numbers = found.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise UserError(path, "is NaN or infinite somewhere", fix)
    return numbers


def _score(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not isfinite(value):
        raise UserError(place, f"score {text!r} is not a finite number", "correct it")
    return value
