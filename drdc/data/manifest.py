"""The manifest, one row per image, and the masks in the same row order."""

from __future__ import annotations

import csv
import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from drdc.config.dataset import Acceptable
from drdc.data.checks import Facts, conclude, copies, inspect, training_ranges
from drdc.data.depth import Ranges
from drdc.data.images import decode_file, read_content, resize_mask
from drdc.data.problems import Problem, accepted, summary, write_problems
from drdc.data.regions import Regions, regions_after, vanished, write_regions
from drdc.data.samples import Sample, smallest_hashes
from drdc.runtime.batching import in_order, job_threads
from drdc.runtime.digests import sha256_of, verify
from drdc.runtime.errors import UserError, first_line
from drdc.runtime.files import atomic, create_array, stamp

COLUMNS = (
    *("path", "category", "split", "label", "defect_type", "mask", "width", "height"),
    *("stored", "bits", "sha256", "pixels_sha256"),
)
SPLITS = ("train", "val", "test")
_INTEGERS = ("label", "width", "height", "stored", "bits")

log = logging.getLogger(__name__)

Progress = Callable[[Sequence[int]], Iterable[int]]
#: Samples with their splits, in the order of the manifest.
Rows = Sequence[tuple[Sample, str]]
#: What one image's files tell, its resized mask, and the regions of the mask.
Inspected = tuple[Facts, NDArray[np.bool_] | None, Regions | None]


def prepare(
    samples: Sequence[Sample],
    root: Path,
    *,
    image_size: int,
    holdout: float,
    bits: int | None = None,
    manifest_path: Path,
    masks_path: Path,
    problems_path: Path,
    regions_path: Path,
    found: Sequence[Problem] = (),
    accept: Collection[Acceptable] = (),
    progress: Progress = iter,
) -> pd.DataFrame:
    """Decode every file once and write manifest, masks, problems and regions: all of them or none.

    Of training images with the same pixels one alone is used: held-out images are new to every model.

    Args:
        samples: the images of the dataset, in any order.
        root: the folder that the samples' paths are relative to.
        image_size: side of the square masks, in pixels.
        holdout: fraction in [0, 1) of each category's training images that become split "val".
        bits: bit depth of files of more than 8; None: as many as the training images of a category need.
        manifest_path: CSV with the columns ``COLUMNS``, sorted by category, split and path, without copies of
            training images (`drdc.data.checks.copies`).
        masks_path: array (N, image_size, image_size) bool, rows as in the manifest; all False where no mask
            is known.
        problems_path: CSV with the columns of `drdc.data.problems.HEAD`: warnings and accepted errors.
        regions_path: CSV, how resizing changes the regions of each mask, see `drdc.data.regions.Regions`.
        found: the problems found in listing the files.
        accept: kinds of errors that do not stop it.
        progress: wraps the iterable of row numbers, e.g. ``tqdm``.

    Returns:
        The manifest, as ``read_manifest`` would return it.

    Raises:
        UserError: no samples, a bad hold-out or size, a path listed twice, or an error that is not accepted
            (all of them, by kind). Nothing is written then.
    """
    _refuse(samples, image_size, holdout)
    samples = sorted(samples, key=lambda own: (own.split == "test", own.category, own.path))
    with (
        atomic(problems_path) as problems_tmp,
        atomic(regions_path) as regions_tmp,
        atomic(manifest_path) as manifest_tmp,
        atomic(masks_path) as masks_tmp,
    ):
        ranges = training_ranges(samples, root, bits, job_threads())
        decoded = _decode_all(samples, root, image_size, ranges, progress)
        training = [facts for facts, *_ in islice(decoded, sum(own.split == "train" for own in samples))]
        rows = _rows(samples, copies(training), holdout)
        masks = create_array(masks_tmp, np.bool_, (len(rows), image_size, image_size))
        tests, resized = _fill(masks, rows, decoded)
        facts = training + tests
        problems = accepted([*found, *conclude(facts), *vanished(resized, image_size)], accept, root)
        write_problems(problems, accept, problems_tmp)
        write_regions(resized, regions_tmp)
        masks.flush()
        _write(facts, rows, manifest_tmp)
        manifest = _parsed(manifest_tmp)
        digest = sha256_of(manifest_tmp)
        stamp(manifest_path, digest)
        stamp(problems_path, sha256_of(problems_tmp))
        stamp(regions_path, sha256_of(regions_tmp))
        stamp(masks_path, sha256_of(masks_tmp), {manifest_path: digest})
    for line in summary(problems, accept):
        log.warning("%s", line)
    return manifest


def read_manifest(path: Path) -> pd.DataFrame:
    """Read a manifest: its numbers as integers; all else text, where nothing is "" and never NaN.

    Of a file with `stored` bits a value, `bits` are in use. `sha256` is of the file, `pixels_sha256` of the
    image as 8-bit RGB (`drdc.data.images.pixel_digest`), from which the noise of an image follows.

    Raises:
        UserError: the file or a column is missing, a value is not of its column's kind, or the file is not as
            it was written.
    """
    if not path.is_file():
        raise UserError(path, "there is no manifest", "prepare the dataset first")
    table = _parsed(path)
    verify(path, "prepare")
    return table


def _parsed(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UserError(
            path, f"not a readable CSV table ({first_line(error)})", "prepare the dataset again"
        ) from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise UserError(path, f"column {', '.join(missing)} is missing", "prepare the dataset again")
    _check(table, path)
    return table[list(COLUMNS)].astype(dict.fromkeys(_INTEGERS, "int64"))


def read_original(root: Path, row: Any) -> Image.Image:
    """Read the image file of a manifest's row again, with the range that is noted there; RGB, upright.

    Args:
        root: the folder that the manifest's paths are relative to.
        row: one of the manifest's `itertuples`.

    Raises:
        UserError: the file is missing, or not the one that was prepared.
    """
    path = root / row.path
    content = read_content(path)
    if hashlib.sha256(content).hexdigest() != row.sha256:
        raise UserError(path, "has changed since it was prepared", "prepare the dataset again")
    return decode_file(path, content).rgb(row.bits)


def noted_ranges(table: pd.DataFrame, bits: int | None) -> Ranges:
    """The ranges of grey values in a manifest; `bits` is the setting."""
    deep = table[(table.stored > 8) & (table.split != "test")]
    return Ranges.measured(zip(deep.category, deep.bits.tolist(), strict=True), bits)


def _check(table: pd.DataFrame, path: Path) -> None:
    allowed = dict.fromkeys(_INTEGERS, r"\d+") | {"label": "[01]", "split": "|".join(SPLITS)}
    allowed |= dict.fromkeys(("sha256", "pixels_sha256"), "[0-9a-f]{64}")
    for name, pattern in allowed.items():
        bad = table[name][~table[name].str.fullmatch(pattern)]
        if len(bad):
            line, value = int(bad.index[0]) + 2, bad.iloc[0]
            raise UserError(
                f"{path}, line {line}", f"{name} '{value}' is not allowed", "prepare the dataset again"
            )


def _refuse(samples: Sequence[Sample], image_size: int, holdout: float) -> None:
    """Raise UserError for no samples, one that is listed twice, or a bad setting."""
    if not samples:
        raise UserError("dataset", "it has no images", "check the dataset's root and categories")
    if not 0 <= holdout < 1:
        raise UserError(
            "holdout", f"{holdout} is not in [0, 1)", "give the fraction of training images to hold out"
        )
    if image_size < 1:
        raise UserError("image_size", f"{image_size} is not a size", "give at least 1 pixel")
    if len({sample.path for sample in samples}) < len(samples):
        twice = sorted(s.path for s in samples)
        path = next(a for a, b in pairwise(twice) if a == b)
        raise UserError(path, "the dataset lists this image twice", "list it once")


def _rows(samples: Sequence[Sample], copied: Collection[Sample], holdout: float) -> Rows:
    """All but the copied ones, with "val" for those held out, sorted as the manifest is."""
    used = [sample for sample in samples if sample not in copied]
    held = _held_out(used, holdout)
    rows = ((sample, "val" if sample.path in held else sample.split) for sample in used)
    return sorted(rows, key=lambda row: (row[0].category, row[1], row[0].path))


def _held_out(samples: Iterable[Sample], holdout: float) -> set[str]:
    """Paths of the validation images: within each category the smallest SHA-256 of category/path."""
    train: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for sample in samples:
        if sample.split == "train":
            train[sample.category][f"{sample.category}/{sample.path}"] = sample.path
    return {paths[key] for paths in train.values() for key in smallest_hashes(paths, holdout)}


def _decode_all(
    samples: Sequence[Sample], root: Path, size: int, ranges: Ranges, progress: Progress
) -> Iterator[Inspected]:
    """One after the other, in their order."""
    decoded = in_order(lambda sample: _decode(sample, root, size, ranges), samples, job_threads())
    for _, own in zip(progress(range(len(samples))), decoded, strict=True):
        yield own


def _fill(
    masks: NDArray[np.bool_], rows: Rows, decoded: Iterable[Inspected]
) -> tuple[list[Facts], list[tuple[Sample, Regions | None]]]:
    """Fill the `masks` of test images, but for those that cannot be read; their facts and their regions."""
    places = {sample: place for place, (sample, _) in enumerate(rows)}
    facts, resized = [], []
    for fact, mask, regions in decoded:
        facts.append(fact)
        resized.append((fact.sample, regions))
        if mask is not None:
            masks[places[fact.sample]] = mask
    return facts, resized


def _decode(sample: Sample, root: Path, size: int, ranges: Ranges) -> Inspected:
    facts, mask = inspect(sample, root, ranges)
    if mask is None:
        return facts, None, None
    return facts, resize_mask(mask, size), regions_after(mask, size)


def _write(facts: Sequence[Facts], rows: Rows, path: Path) -> None:
    found = {fact.sample: fact for fact in facts}
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for sample, split in rows:
            fact = found[sample]
            width, height = fact.size or (0, 0)
            own = {"split": split, "width": width, "height": height, "stored": fact.stored, "bits": fact.bits}
            digests = {"sha256": fact.sha256, "pixels_sha256": fact.digest}
            writer.writerow(asdict(sample) | own | digests)
