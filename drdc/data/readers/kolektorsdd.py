"""KolektorSDD (Kolektor Surface-Defect Dataset): fine cracks in the plastic of electrical commutators."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from drdc.data.reader import Source
from drdc.data.samples import NORMAL, Sample, choose
from drdc.runtime.errors import UserError

_CATEGORY = "commutator"
_TEST_SHARE = 0.2


def read_kolektorsdd(root: Path, categories: Sequence[str] | None = None) -> list[Sample]:
    """List the surfaces ``kos<commutator>/Part<surface>.jpg``, which make one category, "commutator".

    A surface is anomalous if its label, ``Part<surface>_label.bmp``, marks a pixel: the labels are opened.
    Exact labels and the published rectangles ("boxes") have the same layout.

    The dataset has no split for learning from normal images; this one is ours. All anomalous images are test
    images, and so is the last fifth of the normal ones, in the order of their names: 70, those of kos41 to
    kos50, or one of kos40 too if the only commutator with 7 surfaces instead of 8 is among these. The
    commutators that the dataset has twice (kos01 is kos26, kos27 is kos34) are all in the training.

    Raises:
        UserError: there are no such images, a label is missing or unreadable, or a category is unknown.
    """
    choose(categories, [_CATEGORY], root)
    paths = sorted(root.glob("kos*/Part*.jpg"))
    if not paths:
        raise UserError(
            root, "has no images kos01/Part0.jpg, ...", "name the folder that contains kos01 to kos50"
        )
    marked = {path: _marks(_label(path)) for path in paths}
    normal, anomalous = ([path for path in paths if marked[path] is kind] for kind in (False, True))
    train = len(normal) - math.ceil(_TEST_SHARE * len(normal))

    def named(path: Path) -> str:
        return path.relative_to(root).as_posix()

    return [
        *(Sample(named(path), _CATEGORY, "train", 0, NORMAL) for path in normal[:train]),
        *(Sample(named(path), _CATEGORY, "test", 0, NORMAL) for path in normal[train:]),
        *(Sample(named(path), _CATEGORY, "test", 1, "defect", named(_label(path))) for path in anomalous),
    ]


def _label(image: Path) -> Path:
    return image.with_name(f"{image.stem}_label.bmp")


def _marks(label: Path) -> bool:
    """Whether any pixel of a label is above 0."""
    from PIL import Image

    if not label.is_file():
        raise UserError(label, "the label of an image is missing", "unpack the whole archive there")
    try:
        with Image.open(label, formats=["BMP"]) as image:
            return image.getbbox() is not None
    except Exception as error:  # Pillow's decoders raise many kinds
        raise UserError(label, f"not a readable label ({error})", "restore it from the archive") from error


# First address: its home page. Second address and SHA-256: open-edge-platform/anomalib,
# src/anomalib/data/datamodules/image/kolektor.py. Size: as public repositories report it with the same
# SHA-256. Unpacked: an estimate, bitmaps of 630 kB and the images. Counts: the paper's 347 normal and 52
# anomalous images, split as above. The commutators that are there twice: found by comparing all files in a
# public report on the same archive.
READER = Source(
    name="kolektorsdd",
    title="KolektorSDD",
    home="https://www.vicos.si/resources/kolektorsdd/",
    licence="CC BY-NC-SA 4.0, not for commercial use",
    citation="Tabernik et al., Segmentation-Based Deep-Learning Approach for Surface-Defect Detection, "
    "Journal of Intelligent Manufacturing 31, 2020",
    tested="383 of its images at half size, put into its layout again",
    by_hand="download KolektorSDD from www.vicos.si/resources/kolektorsdd and unpack it there, so that it "
    "contains kos01/Part0.jpg and kos01/Part0_label.bmp",
    file="KolektorSDD.zip",
    urls=["https://data.vicos.si/datasets/KSDD/KolektorSDD.zip", "https://go.vicos.si/kolektorsdd"],
    size=101_831_129,
    sha256="65dc621693418585de9c4467d1340ea7958a6181816f0dc2883a1e8b61f9d4dc",
    unpacked=500_000_000,
    counts={_CATEGORY: (277, 70, 52)},
    read=read_kolektorsdd,
)
