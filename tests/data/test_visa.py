"""VisA in its own layout: the published one-class split, nothing copied."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drdc.data.datasets import READERS, SOURCES, dataset_root
from drdc.data.download import obtain
from drdc.data.manifest import prepare
from drdc.data.reader import Source
from drdc.data.readers.visa import read_visa
from drdc.data.samples import Sample
from drdc.experiment.experiment import load_experiment
from drdc.runtime.digests import sha256_of
from drdc.runtime.errors import UserError

NOTES = {0: "bent", 1: "melt,scratch"}


def visa(root: Path, categories: tuple[str, ...] = ("candle", "pcb1")) -> Path:
    """A small VisA: of 4 normal images 3 are for training, 3 are anomalous; CSV with CRLF as published."""
    rows = ["object,split,label,image,mask"]
    for number, category in enumerate(categories):
        notes = ["image,label,mask"]
        for i in range(4):
            rows.append(
                f"{category},{'train' if i < 3 else 'test'},normal,{category}/Data/Images/Normal/{i:04d}.JPG,"
            )
            picture(root / category / f"Data/Images/Normal/{i:04d}.JPG", 100 * number + i)
        for i in range(3):
            image, mask = (
                f"{category}/Data/Images/Anomaly/{i:03d}.JPG",
                f"{category}/Data/Masks/Anomaly/{i:03d}.png",
            )
            rows.append(f"{category},test,anomaly,{image},{mask}")
            picture(root / image, 100 * number + 10 + i)
            marks = np.zeros((12, 20), np.uint8)
            marks[2:6, 3:9] = i + 1  # the published masks number the defects: 1, 2, ...
            (root / mask).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(marks).save(root / mask)
            if i in NOTES:
                notes.append(f'{image},"{NOTES[i]}",{mask}')
        (root / category / "image_anno.csv").write_bytes("\r\n".join(notes).encode())
    (root / "split_csv").mkdir(exist_ok=True)
    (root / "split_csv" / "1cls.csv").write_bytes("\r\n".join(rows).encode() + b"\r\n")
    return root


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


def test_the_split_table_decides(tmp_path: Path) -> None:
    samples = READERS["visa"].samples(visa(tmp_path))
    for category in ("candle", "pcb1"):
        counts = Counter((s.split, s.label) for s in samples if s.category == category)
        assert counts == {("train", 0): 3, ("test", 0): 1, ("test", 1): 3}
    image = "pcb1/Data/Images/Anomaly/000.JPG"
    expected = Sample(image, "pcb1", "test", 1, "bent", "pcb1/Data/Masks/Anomaly/000.png")
    assert next(s for s in samples if s.path == image) == expected


def test_defect_types_are_those_noted(tmp_path: Path) -> None:
    samples = read_visa(visa(tmp_path), ["candle"])
    assert [s.defect_type for s in samples if s.label] == ["bent", "combined", "bad"]
    (tmp_path / "candle" / "image_anno.csv").unlink()
    assert [s.defect_type for s in read_visa(tmp_path, ["candle"]) if s.label] == ["bad"] * 3


def test_the_manifest_points_into_the_original_layout(tmp_path: Path) -> None:
    root = visa(tmp_path / "visa")
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    names = ("manifest", "masks", "problems", "regions")
    paths = {f"{name}_path": tmp_path / "out" / name for name in names}
    table = prepare(read_visa(root), root, image_size=16, holdout=0.1, **paths)
    assert all((root / path).is_file() for path in table.path)
    masks = np.load(tmp_path / "out" / "masks")
    assert masks.any(axis=(1, 2)).tolist() == (table.label == 1).tolist()
    shares = masks[table.label == 1].mean(axis=(1, 2))
    assert np.ptp(shares) == 0, "mask values 1, 2 and 3 all count as anomalous"
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_an_archive_that_lacks_an_image_of_the_table_is_refused(tmp_path: Path) -> None:
    made = visa(tmp_path / "made")
    archive = tmp_path / "visa.tar"

    def placed() -> Source:
        """The archive of the tree as it is now, put where a user would put it."""
        with tarfile.open(archive, "w") as tar:
            tar.add(made, ".")
        counts = dict.fromkeys(("candle", "pcb1"), (3, 1, 3))
        facts = {"name": "visa", "file": archive.name, "counts": counts, "unpacked": 10**6}
        sha256, size = sha256_of(archive), archive.stat().st_size
        return SOURCES["visa"].model_copy(update=facts | {"sha256": sha256, "size": size})

    assert obtain(placed(), tmp_path / "whole")
    assert len(read_visa(tmp_path / "whole")) == 14
    (made / "pcb1/Data/Images/Normal/0003.JPG").unlink()
    with pytest.raises(UserError, match=r"pcb1 \(3, 0, 3\) instead of \(3, 1, 3\)"):
        obtain(placed(), tmp_path / "less")
    assert not (tmp_path / "less").exists()


def test_categories_that_are_not_there_are_not_listed(tmp_path: Path) -> None:
    """The table names 12 categories; a user may have unpacked some of them."""
    root = visa(tmp_path, ("candle", "fryum"))
    (root / "fryum").rename(tmp_path / "elsewhere")
    assert {s.category for s in read_visa(root)} == {"candle"}
    with pytest.raises(UserError, match="unknown category 'fryum'; found here: 'candle'"):
        read_visa(root, ["fryum"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("object,split\ncandle,train", "line 1: column label, image, mask is missing"),
        ("object,split,label,image,mask\ncandle,dev,normal,a.JPG,", "line 2: is not a sample"),
        ("object,split,label,image,mask\ncandle,train,anomaly,a.JPG,m.png", "line 2: is not a sample"),
        ("object,split,label,image,mask\ncandle,test,anomaly,a.JPG,", "line 2: is not a sample"),
        ("object,split,label,image,mask\ncandle,test,normal,,", "line 2: is not a sample"),
        ("object,split,label,image,mask\ncandle,test,normal,/a.JPG,", "line 2: is not a sample"),
        ("object,split,label,image,mask\ncandle,test,normal,candle/../../a.JPG,", "line 2: is not a sample"),
        ("a,b\nc,d", "line 1: column object, split, label, image, mask is missing"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_a_damaged_split_table_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    (visa(tmp_path) / "split_csv" / "1cls.csv").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    with pytest.raises(UserError, match=rf"1cls\.csv.*{message}"):
        read_visa(tmp_path)


def test_a_copy_in_another_layout_is_explained(tmp_path: Path) -> None:
    (tmp_path / "candle" / "train" / "good").mkdir(parents=True)
    with pytest.raises(UserError, match=r"1cls\.csv: VisA's split table .*set dataset\.name to mvtec"):
        read_visa(tmp_path)


def test_a_missing_folder_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run `drdc download visa --to .*none'?`, or download VisA, see"):
        dataset_root("visa", tmp_path / "none")


@pytest.mark.parametrize(("name", "categories"), [("mvtec", 15), ("btad", 3), ("visa", 12)])
def test_the_published_experiments_are_complete(name: str, categories: int) -> None:
    experiment = load_experiment(Path(__file__).parents[2] / "config" / f"{name}.yaml")
    assert experiment.experiment == experiment.dataset.name == name
    assert len(experiment.dataset.categories) == categories
    assert experiment.dataset.download
    assert len(experiment.seeds) == 5
