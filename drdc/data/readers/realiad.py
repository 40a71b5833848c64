"""Real-IAD: 30 products, each photographed from five sides, listed in one JSON file for each category."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from drdc.data.reader import Reader
from drdc.data.samples import NORMAL, Sample, choose
from drdc.runtime.errors import UserError, first_line

_NORMAL = "OK"
#: The abbreviations of the defect types, from the home page.
_DEFECTS = {
    "AK": "pit",
    "BX": "deformation",
    "CH": "abrasion",
    "HS": "scratch",
    "PS": "damage",
    "QS": "missing parts",
    "YW": "foreign objects",
    "ZW": "contamination",
}

_CATEGORIES = [
    "audiojack",
    "bottle_cap",
    "button_battery",
    "end_cap",
    "eraser",
    "fire_hood",
    "mint",
    "mounts",
    "pcb",
    "phone_battery",
    "plastic_nut",
    "plastic_plug",
    "porcelain_doll",
    "regulator",
    "rolled_strip_base",
    "sim_card_set",
    "switch",
    "tape",
    "terminalblock",
    "toothbrush",
    "toy",
    "toy_brick",
    "transistor1",
    "u_block",
    "usb",
    "usb_adaptor",
    "vcpill",
    "wooden_beads",
    "woodstick",
    "zipper",
]


def read_realiad(root: Path, categories: Sequence[str] | None = None) -> list[Sample]:
    """List the images of one resolution, `root` (``realiad_1024``, ``realiad_512``, ``realiad_256``).

    The lists lie next to it, ``realiad_jsons/<category>.json`` (also where they were unpacked into a second
    folder of that name); they name the images below ``<category>``. Each side is an image of its own. As for
    the authors' code, a side of a defective product on which the defect cannot be seen has no mask and is
    normal.

    Raises:
        UserError: no lists, one that is malformed or has an anomalous training image, or an unknown category.
    """
    beside = root.absolute().parent / "realiad_jsons"
    lists = beside / beside.name if (beside / beside.name).is_dir() else beside
    found = sorted(file.stem for file in lists.glob("*.json") if (root / file.stem).is_dir())
    if not found:
        raise UserError(
            lists,
            f"has no list of a category that is a folder in {root}",
            "unpack realiad_jsons.zip there and name the folder of one resolution, such as realiad_1024",
        )
    chosen = choose(categories, found, root)
    return [sample for name, own in chosen.items() for sample in _category(name, own, lists / f"{own}.json")]


def _category(category: str, folder: str, table: Path) -> Iterator[Sample]:
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(table, f"is not a readable list ({first_line(error)})", "restore it") from None
    splits: tuple[Literal["train", "test"], ...] = ("train", "test")
    for split in splits:
        rows = content.get(split) if isinstance(content, dict) else None
        if not isinstance(rows, list):
            raise UserError(table, f"has no list '{split}'", "restore it")
        for number, row in enumerate(rows, start=1):
            sample = _sample(category, folder, split, row)
            if sample is None:
                place = f"{table}, '{split}', entry {number}"
                raise UserError(place, "is not an image of this layout", "use the lists of realiad_jsons")
            yield sample


def _sample(category: str, folder: str, split: Literal["train", "test"], row: Any) -> Sample | None:
    """One entry: None if it is malformed, leads out of the folder, or is anomalous but for training."""
    keys = ("image_path", "mask_path", "anomaly_class")
    values = [row.get(key) or "" for key in keys] if isinstance(row, dict) else []
    if not values or not all(isinstance(value, str) for value in values):
        return None
    image, mask, kind = values
    anomalous = bool(mask) and kind != _NORMAL
    outside = any(path.startswith("/") or ".." in path.split("/") for path in (image, mask))
    if outside or not image or not kind or (anomalous and split == "train"):
        return None
    path = f"{folder}/{image}"
    if not anomalous:
        return Sample(path, category, split, 0, NORMAL)
    return Sample(path, category, split, 1, _DEFECTS.get(kind, kind), f"{folder}/{mask}")


# Layout, and what is normal: the authors' code, Tencent/AnomalyDetection_Real-IAD. Licence: anomalib's
# documentation and public copies of the dataset's card, which asks for research use. No archive has a public
# address, and the numbers of each category are unavailable without the lists: 99,721 normal and 51,329
# anomalous images in all (the paper), of which 36,465 normal ones are for training (Guo et al., Dinomaly,
# CVPR 2025).
READER = Reader(
    name="realiad",
    title="Real-IAD",
    home="https://realiad4ad.github.io/Real-IAD/",
    licence="CC BY-NC-SA 4.0, for research, on request",
    citation="Wang et al., Real-IAD: A Real-World Multi-View Dataset for Benchmarking Versatile Industrial "
    "Anomaly Detection, CVPR 2024",
    by_hand="ask for access, see realiad4ad.github.io/Real-IAD, unpack realiad_jsons.zip and the archives of "
    "one resolution next to each other, so that there are realiad_jsons/audiojack.json and "
    "realiad_1024/audiojack/OK, and name realiad_1024 as the root",
    counts=dict.fromkeys(_CATEGORIES),
    read=read_realiad,
)
