"""VisA in the layout of its archive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from drdc.data.reader import Source
from drdc.data.samples import NORMAL, Sample, choose
from drdc.runtime.csv_rows import read_rows
from drdc.runtime.errors import UserError


def read_visa(root: Path, categories: Sequence[str] | None = None) -> list[Sample]:
    """List VisA with the one-class split of `split_csv/1cls.csv`.

    Images are in ``<category>/Data/Images``, masks in ``<category>/Data/Masks``; every mask value above 0 is
    anomalous. The defect type is that of ``<category>/image_anno.csv``, "combined" for several, and "bad" for
    none.

    Raises:
        UserError: no split table, a row of it that is not a sample, or an unknown category.
    """
    rows = _visa_rows(root)
    found = sorted(name for name in {row["object"] for row in rows} if (root / name).is_dir())
    samples: list[Sample] = []
    for category, own in choose(categories, found, root).items():
        defects = _visa_defects(root / own / "image_anno.csv")
        for row in (row for row in rows if row["object"] == own):
            split: Literal["train", "test"] = "train" if row["split"] == "train" else "test"
            if row["label"] == "normal":
                samples.append(Sample(row["image"], category, split, 0, NORMAL))
            else:
                defect = defects.get(row["image"], "bad")
                samples.append(Sample(row["image"], category, split, 1, defect, row["mask"]))
    return samples


def _visa_rows(root: Path) -> list[dict[str, str]]:
    """The rows of VisA's one-class split: object, split, label, image and mask."""
    table = root / "split_csv" / "1cls.csv"
    if not table.is_file():
        raise UserError(
            table,
            "VisA's split table is missing",
            "unpack the whole archive there, or set dataset.name to mvtec for a copy in MVTec AD's layout",
        )
    rows = read_rows(table, ("object", "split", "label", "image", "mask"))
    allowed = {("train", "normal"), ("test", "normal"), ("test", "anomaly")}
    for place, row in rows:
        paths = [row["image"], row["mask"]] if row["label"] == "anomaly" else [row["image"]]
        inside = all(p.startswith(f"{row['object']}/") and ".." not in p.split("/") for p in paths)
        if (row["split"], row["label"]) not in allowed or not inside:
            raise UserError(place, "is not a sample of a one-class split", "restore the table")
    return [row for _, row in rows]


def _visa_defects(table: Path) -> dict[str, str]:
    """Defect type of each image that VisA's annotation names; empty without the table."""
    rows = read_rows(table, ("image", "label")) if table.is_file() else []
    return {row["image"]: "combined" if "," in row["label"] else row["label"] for _, row in rows}


# Address and SHA-256: openvinotoolkit/anomalib, src/anomalib/data/datamodules/image/visa.py. Size: reported
# with the same SHA-256 by several public repositories that downloaded it. Licence: its home page. Unpacked: a
# tar without compression. Counts: the home page's table (9,621 normal, 1,200 anomalous) with the split of
# split_csv/1cls.csv: nine tenths of the normal images are for training.
READER = Source(
    name="visa",
    title="VisA",
    home="https://github.com/amazon-science/spot-diff",
    licence="CC BY 4.0",
    citation="Zou et al., SPot-the-Difference Self-supervised Pre-training for Anomaly Detection and "
    "Segmentation, ECCV 2022",
    by_hand="download VisA, see github.com/amazon-science/spot-diff, and unpack it there, so that it has "
    "candle/Data/Images and split_csv/1cls.csv",
    file="VisA_20220922.tar",
    urls=["https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar"],
    size=1_929_840_640,
    sha256="2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
    unpacked=1_930_000_000,
    counts={
        "candle": (900, 100, 100),
        "capsules": (542, 60, 100),
        "cashew": (450, 50, 100),
        "chewinggum": (453, 50, 100),
        "fryum": (450, 50, 100),
        "macaroni1": (900, 100, 100),
        "macaroni2": (900, 100, 100),
        "pcb1": (904, 100, 100),
        "pcb2": (901, 100, 100),
        "pcb3": (905, 101, 100),
        "pcb4": (904, 101, 100),
        "pipe_fryum": (450, 50, 100),
    },
    read=read_visa,
)
