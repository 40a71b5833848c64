"""`dataset`: the images."""

from __future__ import annotations

from typing import Literal, get_args
from unicodedata import normalize

from pydantic import field_validator

from drdc.config.fusion import STORED_SCALES
from drdc.config.names import category_fault
from drdc.config.section import MOST_IMAGES, MOST_PIXELS, Section, setting
from drdc.runtime.arguments import LARGEST_SEED

MVTEC_CATEGORIES = [
    *("bottle", "cable", "capsule", "hazelnut", "metal_nut", "pill", "screw", "toothbrush", "transistor"),
    *("zipper", "carpet", "grid", "leather", "tile", "wood"),
]


#: Errors that would distort the numbers, unless listed in `dataset.accept`.
Acceptable = Literal[
    "mask-among-images",
    "mask-empty",
    "mask-full",
    "mask-inverted",
    "mask-missing",
    "test-image-in-training",
]


class Synthetic(Section):
    """Size of the synthetic dataset."""

    train: int = setting(72, "ours", "Normal training images per category.", ge=2, le=MOST_IMAGES)
    test_good: int = setting(16, "ours", "Normal test images per category.", ge=1, le=MOST_IMAGES)
    test_bad: int = setting(
        24, "ours", "Anomalous test images per category, over its defect types.", ge=1, le=MOST_IMAGES
    )
    size: int = setting(128, "ours", "Height and width of the images in pixels.", ge=32, le=MOST_PIXELS)
    seed: int = setting(
        0, "ours", "Seed of the images, independent of the training seeds.", ge=0, le=LARGEST_SEED
    )


class Drawn(Section):
    """Which training images are used: all of them, unless a study asks what fewer, or worse, would give."""

    images: int | None = setting(
        None,
        "ours",
        "Training images of each category, held-out ones included, drawn at random; null: all.",
        ge=2,
        le=MOST_IMAGES,
    )
    defective: float = setting(
        0.0,
        "ours",
        "Fraction of them that is replaced by anomalous test images, as if these had been taken for normal "
        "ones; they leave the test set.",
        ge=0,
        lt=1,
    )
    reserved: float = setting(
        0.0,
        "ours",
        "Smallest number of anomalous images that leave the test set, as a fraction of the training images, "
        "so that all values of `defective` are tested on the same images.",
        ge=0,
        lt=1,
    )
    draw: int = setting(0, "ours", "Number of the random draw.", ge=0, le=LARGEST_SEED)


class Dataset(Section):
    """The images, and their size in the diffusion model, the heatmaps and the pixel metrics."""

    name: str = setting(
        "mvtec",
        "paper",
        "One of [the datasets](../docs/datasets.md); `mvtec` also reads any folder in MVTec AD's layout.",
    )
    root: str | None = setting(
        None, "ours", "Folder of the dataset; not needed for `elpv` (in its package) and `synthetic` (drawn)."
    )
    download: bool = setting(
        False,
        "ours",
        "Download the dataset if `root` does not exist; an existing folder is never changed.",
    )
    categories: list[str] = setting(
        MVTEC_CATEGORIES, "paper", "Categories that the single model is trained and tested on.", min_length=1
    )
    image_size: int = setting(
        224,
        "paper",
        "Height and width of the resized images; a multiple of 16, so that maps exist at every scale.",
        ge=16,
        le=MOST_PIXELS,
        multiple_of=max(STORED_SCALES),
    )
    bits: int | None = setting(
        None,
        "ours",
        "Bit depth of image files with more than 8 bits per channel; null: as their tags say, else the "
        "smallest of 8, 10, 12, 14 and 16 that holds all such training images of a category.",
        ge=8,
        le=16,
    )
    holdout: float = setting(
        0.1,
        "ours",
        "Fraction of the normal training images held out of all trainings: for thresholds, validation "
        "losses, map normalisation and the self-check.",
        gt=0,
        lt=1,
    )
    good: list[str] | None = setting(
        None,
        "ours",
        "Further names of folders of normal images, case-insensitive, as `[ok, pass]`. null: stop at a test "
        "folder whose name suggests normal images; `[]`: such folders are defect types.",
    )
    accept: list[Acceptable] = setting(
        [],
        "ours",
        "Errors of `drdc check` to accept instead of stopping: "
        f"{', '.join(f'`{kind}`' for kind in get_args(Acceptable))}.",
    )
    drawn: Drawn = setting(Drawn(), "ours", "Which of the training images are used.")
    synthetic: Synthetic = setting(Synthetic(), "ours", "Size of the synthetic dataset.")

    @field_validator("categories")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len({normalize("NFC", name) for name in value}) < len(value):
            raise ValueError("names a category twice; name each once")
        if faults := [(name, fault) for name in value if (fault := category_fault(name))]:
            name, fault = faults[0]
            raise ValueError(f"cannot hold {name!r}, which {fault}; rename the folder")
        return value
