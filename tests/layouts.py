"""Small trees in the layouts of published datasets, with as many files as a test needs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

#: Of each normal commutator in the tree, so many surfaces.
SURFACES = 4


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def marks(path: Path, value: int = 255) -> None:
    """A mask with a small defect; of value 0 an empty one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((12, 20), np.uint8)
    mask[2:6, 3:9] = value
    Image.fromarray(mask).save(path)


def kolektorsdd(root: Path, commutators: int = 5) -> Path:
    """Each commutator has `SURFACES` normal surfaces, the first of them further one with a defect."""
    for commutator in range(1, commutators + 1):
        folder = root / f"kos{commutator:02}"
        for surface in range(SURFACES + (commutator == 1)):
            picture(folder / f"Part{surface}.jpg", 10 * commutator + surface)
            marks(folder / f"Part{surface}_label.bmp", 255 * (surface == SURFACES))
    return root


def mvtec_ad_2(root: Path, categories: tuple[str, ...] = ("can", "rice")) -> Path:
    """Of each category 3 training, 2 validation, and 1 normal and 2 anomalous public test images."""
    for number, category in enumerate(categories):
        counts = {"train/good": 3, "validation/good": 2, "test_public/good": 1, "test_public/bad": 2}
        counts |= {"test_private": 2, "test_private_mixed": 2}
        for offset, (part, count) in enumerate(counts.items()):
            for i in range(count):
                picture(root / category / part / f"{i:03}_regular.png", 100 * number + 10 * offset + i)
        for i in range(2):
            marks(root / category / "test_public/ground_truth/bad" / f"{i:03}_regular_mask.png")
    return root


def realiad(root: Path, categories: tuple[str, ...] = ("mint", "usb")) -> Path:
    """Of each category two sides of 2 training products, one of a good one and two of a scratched one.

    The scratch cannot be seen from the second side.

    Returns:
        The folder of the images.
    """
    for number, category in enumerate(categories):
        train = [f"OK/S{n:04}/{category}_{n:04}_OK_C{side}_1.jpg" for n in (1, 2) for side in (1, 2)]
        good = f"OK/S0003/{category}_0003_OK_C1_1.jpg"
        seen, unseen = (f"NG/HS/S0001/{category}_0001_NG_HS_C{side}_1.jpg" for side in (1, 2))
        mask = seen.replace(".jpg", ".png")
        rows = [*((path, "OK", None) for path in (*train, good)), (seen, "HS", mask), (unseen, "HS", None)]
        for seed, (path, _, _) in enumerate(rows, start=10 * number):
            picture(root / "realiad_256" / category / path, seed)
        marks(root / "realiad_256" / category / mask)
        entries = [
            {"category": category, "anomaly_class": kind, "image_path": path, "mask_path": truth}
            for path, kind, truth in rows
        ]
        lists = root / "realiad_jsons" / f"{category}.json"
        lists.parent.mkdir(exist_ok=True)
        meta = {"prefix": f"{category}/", "normal_class": "OK", "pre_transform": "none"}
        lists.write_text(json.dumps({"meta": meta, "train": entries[:4], "test": entries[4:]}))
    return root / "realiad_256"


def mpdd(root: Path) -> Path:
    """The category tubes in MVTec AD's layout: 3 training, 1 normal and 2 anomalous test images."""
    for offset, (part, count) in enumerate({"train/good": 3, "test/good": 1, "test/anomalous": 2}.items()):
        for i in range(count):
            picture(root / "tubes" / part / f"{i:03}.png", 10 * offset + i)
    for i in range(2):
        marks(root / "tubes/ground_truth/anomalous" / f"{i:03}_mask.png")
    return root


#: Of each dataset its tree, and the (training, normal test, anomalous test) images of its categories there.
TREES = {
    "mpdd": (mpdd, {"tubes": (3, 1, 2)}),
    "kolektorsdd": (kolektorsdd, {"commutator": (16, 4, 1)}),
    "mvtec_ad_2": (mvtec_ad_2, {"can": (5, 1, 2), "rice": (5, 1, 2)}),
    "realiad": (realiad, {"mint": (4, 2, 1), "usb": (4, 2, 1)}),
}
