"""MVTec AD 2: harder products, in a layout of its own, with further test images under other lighting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from drdc.data.listing import folders, images
from drdc.data.reader import Source
from drdc.data.samples import NORMAL, Sample, choose
from drdc.runtime.errors import UserError


def read_mvtec_ad_2(root: Path, categories: Sequence[str] | None = None) -> list[Sample]:
    """List ``<category>/train/good``, ``<category>/validation/good`` and ``<category>/test_public``.

    The normal images of the validation are training images here, of which `dataset.holdout` says how many are
    held out. Masks are ``test_public/ground_truth/bad/<stem>_mask.png``; the only defect type is "bad".
    The private test sets have no labels, so that they are not read.

    Raises:
        UserError: there is no category in this layout, or a wanted one is missing.
    """
    needed = ("train/good", "test_public")
    found = [own.name for own in folders(root) if all((own / part).is_dir() for part in needed)]
    if not found:
        raise UserError(
            root,
            "has no category with train/good and test_public",
            "name the folder of can/test_public, or set dataset.name to mvtec for MVTec AD's layout",
        )
    chosen = choose(categories, found, root)
    return [sample for name, own in chosen.items() for sample in _category(root, name, root / own)]


def _category(root: Path, category: str, folder: Path) -> Iterator[Sample]:
    public = folder / "test_public"
    normal: dict[str, Literal["train", "test"]] = {
        "train": "train",
        "validation": "train",
        "test_public": "test",
    }
    for part, split in normal.items():
        for image in images(folder / part / "good"):
            yield Sample(image.relative_to(root).as_posix(), category, split, 0, NORMAL)
    for image in images(public / "bad"):
        mask = public / "ground_truth/bad" / f"{image.stem}_mask.png"
        path, truth = (file.relative_to(root).as_posix() for file in (image, mask))
        yield Sample(path, category, "test", 1, "bad", truth)


# First address and SHA-256: open-edge-platform/anomalib, src/anomalib/data/datamodules/image/mvtecad2.py.
# Second address, of the same SHA-256, and size: as public repositories that verify both give them. Licence:
# its readme. Unpacked: PNG, which gzip hardly makes smaller. Counts: 2,528 training and 302 validation
# images, 379 + 705 of the public test, as several public repositories counted them in this archive.
READER = Source(
    name="mvtec_ad_2",
    title="MVTec AD 2",
    home="https://www.mvtec.com/research-teaching/datasets/mvtec-ad-2",
    licence="CC BY-NC-SA 4.0, not for commercial use",
    citation="Heckler-Kram et al., The MVTec AD 2 Dataset: Advanced Scenarios for Unsupervised Anomaly "
    "Detection, arXiv 2503.21622, 2025",
    by_hand="download MVTec AD 2 from www.mvtec.com/research-teaching/datasets/mvtec-ad-2 (a form) and "
    "unpack it there, so that it contains can/train/good, can/validation/good and can/test_public",
    file="mvtec_ad_2.tar.gz",
    urls=[
        "https://www.mydrive.ch/shares/121573/7f68fe2c4f7c2ceaa08f463aaeb2f414/download/466712769-1743422799/mvtec_ad_2.tar.gz",
        "https://www.mydrive.ch/shares/150997/701c90d3aea6588f404936e32a674602/download/466712769-1743429042/mvtec_ad_2.tar.gz",
    ],
    size=32_739_596_982,
    sha256="c0ded99ef32bfc8e352d52beb44515e5b292b8598cb963aadfa91ca0763505e4",
    unpacked=33_000_000_000,
    counts={
        "can": (412 + 46, 72, 90),
        "fabric": (387 + 43, 66, 90),
        "fruit_jelly": (263 + 37, 20, 60),
        "rice": (313 + 35, 42, 90),
        "sheet_metal": (137 + 19, 24, 90),
        "vial": (291 + 41, 35, 105),
        "wallplugs": (293 + 33, 60, 90),
        "walnuts": (432 + 48, 60, 90),
    },
    read=read_mvtec_ad_2,
)
