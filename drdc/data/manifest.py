"""The manifest, one row per image, and the two arrays of decoded pixels in the same row order."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.data.datasets import smallest_hashes
from drdc.data.images import read_mask, read_rgb, resize_mask, to_square
from drdc.data.samples import Sample
from drdc.errors import UserError
from drdc.files import atomic, create_array, sha256_of
from drdc.names import path_fault, printable
from drdc.pieces import in_order, job_threads

COLUMNS = ("path", "category", "split", "label", "defect_type", "mask", "width", "height", "sha256")
SPLITS = ("train", "val", "test")
_INTEGERS = ("label", "width", "height")

Progress = Callable[[Iterable[int]], Iterable[int]]


def prepare(
    samples: Sequence[Sample],
    root: Path,
    *,
    image_size: int,
    holdout: float,
    manifest_path: Path,
    images_path: Path,
    masks_path: Path,
    progress: Progress = iter,
) -> pd.DataFrame:
    """Decode every file once and write the manifest and both caches; all three appear together or not at all.

    Args:
        samples: the images of the dataset, in any order.
        root: the folder that the samples' paths are relative to.
        image_size: side of the square cache images, in pixels.
        holdout: fraction in [0, 1) of each category's training images that become split "val".
        manifest_path: CSV with the columns ``COLUMNS``, sorted by category, split and path.
        images_path: array (N, image_size, image_size, 3) uint8 RGB, rows as in the manifest.
        masks_path: array (N, image_size, image_size) bool, all False where no mask is known.
        progress: wraps the iterable of row numbers, e.g. ``tqdm``.

    Returns:
        The manifest, as ``read_manifest`` would return it.

    Raises:
        UserError: no samples, a bad hold-out or size, a path listed twice, or files that cannot be
            decoded (all of them, each on a line of its own). Nothing is written then.
    """
    rows = _rows(samples, image_size, holdout)
    with (
        atomic(manifest_path) as manifest_tmp,
        atomic(masks_path) as masks_tmp,
        atomic(images_path) as images_tmp,
    ):
        shape = (len(rows), image_size, image_size)
        images = create_array(images_tmp, np.uint8, (*shape, 3))
        masks = create_array(masks_tmp, np.bool_, shape)
        _decode_all(rows, root, images, masks, progress)
        images.flush()
        masks.flush()
        _write(rows, manifest_tmp)
        manifest = read_manifest(manifest_tmp)
    return manifest


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest: integer label, width and height; all else text, where nothing is "" and never NaN.

    Raises:
        UserError: the file or a column is missing, or a value is not of its column's kind.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no manifest; prepare the dataset first.")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a readable CSV table ({error}); prepare the dataset again.") from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise UserError(f"{path}: column {', '.join(missing)} is missing; prepare the dataset again.")
    _check(table, path)
    return table[list(COLUMNS)].astype(dict.fromkeys(_INTEGERS, "int64"))


def _check(table: pd.DataFrame, path: Path) -> None:
    allowed = dict.fromkeys(_INTEGERS, r"\d+") | {"label": "[01]", "split": "|".join(SPLITS)}
    for name, pattern in allowed.items():
        bad = table[name][~table[name].str.fullmatch(pattern)]
        if len(bad):
            line, value = int(bad.index[0]) + 2, bad.iloc[0]
            raise UserError(
                f"{path}, line {line}: {name} '{value}' is not allowed; prepare the dataset again."
            )


def _rows(samples: Sequence[Sample], image_size: int, holdout: float) -> list[dict[str, object]]:
    """Manifest rows, sorted, still without what only decoding tells."""
    if not samples:
        raise UserError("dataset: it has no images; check the dataset's root and categories.")
    if not 0 <= holdout < 1:
        raise UserError(
            f"holdout: {holdout} is not in [0, 1); give the fraction of training images to hold out."
        )
    if image_size < 1:
        raise UserError(f"image_size: {image_size} is not a size; give at least 1 pixel.")
    if len({sample.path for sample in samples}) < len(samples):
        twice = sorted(s.path for s in samples)
        path = next(a for a, b in pairwise(twice) if a == b)
        raise UserError(f"{path}: the dataset lists this image twice; list it once.")
    paths = [path for sample in samples for path in (sample.path, sample.mask)]
    if faults := [
        f"{printable(p)}: this name {fault}; rename it." for p in paths if (fault := path_fault(p))
    ]:
        raise UserError("\n".join(faults))
    held = _held_out(samples, holdout)
    rows = [asdict(s) | ({"split": "val"} if s.path in held else {}) for s in samples]
    return sorted(rows, key=lambda row: (row["category"], row["split"], row["path"]))


def _held_out(samples: Iterable[Sample], holdout: float) -> set[str]:
    """Paths of the validation images: within each category the smallest SHA-256 of category/path."""
    train: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        if sample.split == "train":
            train[sample.category][f"{sample.category}/{sample.path}"] = sample.path
    return {paths[key] for paths in train.values() for key in smallest_hashes(paths, holdout)}


def _decode_all(
    rows: list[dict[str, object]],
    root: Path,
    images: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    progress: Progress,
) -> None:
    """Fill both arrays and the rows' width, height and sha256, or raise with every bad file."""
    faults: list[str] = []
    decoded = in_order(lambda row: _decode(row, root, images.shape[1]), rows, job_threads())
    for index, found in zip(progress(range(len(rows))), decoded, strict=True):
        if isinstance(found, UserError):
            faults.append(str(found))
        else:
            images[index], masks[index], facts = found
            rows[index].update(facts)
    if faults:
        raise UserError("\n".join(faults))


def _decode(
    row: dict[str, object], root: Path, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], dict[str, object]] | UserError:
    """Pixels, mask and facts of one image, or what is wrong with it."""
    path = root / str(row["path"])
    try:
        image = read_rgb(path)
        mask = np.zeros((size, size), dtype=np.bool_)
        if row["mask"]:
            mask = resize_mask(read_mask(root / str(row["mask"]), image.size), size)
        facts = {"width": image.width, "height": image.height, "sha256": sha256_of(path)}
    except UserError as error:
        return error
    return to_square(image, size), mask, facts


def _write(rows: list[dict[str, object]], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
