"""A dataset's fingerprint changes with what a reader would read, and with nothing else."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drdc.config.dataset import Dataset
from drdc.data.fingerprint import Listing, is_tested, listing, note, trigger
from drdc.runtime.errors import UserError

FILES = ("train/good/0.png", "train/good/1.png", "test/good/0.png", "test/bent/0.png")


def write(path: Path, text: str = "picture") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two categories in MVTec AD's layout; nothing in the files is looked at."""
    for category in ("cap", "nut"):
        for name in FILES:
            write(tmp_path / "data" / category / name)
        write(tmp_path / "data" / category / "ground_truth/bent/0_mask.png")
    return tmp_path / "data"


def look(root: Path, name: str = "mvtec", categories: tuple[str, ...] = ("cap",)) -> Listing | None:
    return listing(Dataset.model_validate({"name": name, "root": str(root), "categories": categories}))


def fingerprint(root: Path, name: str = "mvtec", categories: tuple[str, ...] = ("cap",)) -> str:
    found = look(root, name, categories)
    assert found is not None
    return found.fingerprint


def rename(old: str, new: str) -> Callable[[Path], object]:
    return lambda cap: (cap / old).rename(cap / new)


@pytest.mark.parametrize(
    "change",
    [
        lambda cap: write(cap / "train/good/2.png"),
        lambda cap: write(cap / "test/scratched/0.png"),
        lambda cap: (cap / "train/good/1.png").unlink(),
        lambda cap: (cap / "ground_truth/bent/0_mask.png").unlink(),
        lambda cap: write(cap / "test/good/0.png", "another one"),
        lambda cap: write(cap / "ground_truth/bent/0_mask.png", "corrected"),
        lambda cap: os.utime(cap / "train/good/0.png", ns=(1, 1)),
        rename("test/good/0.png", "test/good/1.png"),
        rename("test/bent", "test/split"),
        lambda cap: shutil.rmtree(cap / "ground_truth"),
    ],
)
def test_what_a_reader_reads_counts(root: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint(root)
    change(root / "cap")
    assert fingerprint(root) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda root: None,
        lambda root: write(root / "nut/train/good/2.png"),  # no category of the experiment
        lambda root: write(root / "cap/test/good/.DS_Store"),
        lambda root: write(root / "cap/train/good/Thumbs.db"),
        lambda root: write(root / "cap/notes.txt"),
        lambda root: os.utime(root / "cap/test/good"),
        lambda root: (root / "cap/train/good/0.png").chmod(0o600),
    ],
)
def test_nothing_else_counts(root: Path, change: Callable[[Path], object]) -> None:
    before = fingerprint(root)
    change(root)
    assert fingerprint(root) == before


def test_links_count_as_what_they_lead_to(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    before = fingerprint(tmp_path / "link")
    assert before == fingerprint(root)
    write(root / "cap/train/good/0.png", "another one")
    assert fingerprint(tmp_path / "link") != before


def test_a_folder_that_is_one_category_is_read_as_such(root: Path) -> None:
    found = look(root / "cap")
    assert found is not None
    assert found.tested


def visa(root: Path, labels: str) -> None:
    write(root / "split_csv/1cls.csv", labels)
    for name in ("Images/Normal/0.JPG", "Images/Normal/1.JPG", "Images/Anomaly/0.JPG", "Masks/Anomaly/0.png"):
        write(root / "candle/Data" / name)


LABELS = """object,split,label,image,mask
candle,train,normal,candle/Data/Images/Normal/0.JPG,
candle,{},normal,candle/Data/Images/Normal/1.JPG,
"""


def test_a_label_table_counts(tmp_path: Path) -> None:
    visa(tmp_path, LABELS.format("train"))
    before = look(tmp_path, "visa", ("candle",))
    assert before is not None
    assert not before.tested
    visa(tmp_path, LABELS.format("test"))
    after = look(tmp_path, "visa", ("candle",))
    assert after is not None
    assert after.tested
    assert after.fingerprint != before.fingerprint
    write(tmp_path / "elpv/labels.csv", "images/0.png 0.0 mono\nimages/1.png 1.0 mono\n")
    before_elpv = fingerprint(tmp_path / "elpv", "elpv", ("mono",))
    write(tmp_path / "elpv/labels.csv", "images/0.png 0.0 mono\nimages/1.png 0.333 mono\n")
    assert fingerprint(tmp_path / "elpv", "elpv", ("mono",)) != before_elpv


@pytest.mark.parametrize("junk", [".DS_Store", "Thumbs.db", "readme.txt"])
def test_what_is_no_image_is_no_test_image(root: Path, junk: str) -> None:
    shutil.rmtree(root / "cap/test")
    for folder in ("test/good", "test"):
        write(root / "cap" / folder / junk)
    found = look(root)
    assert found is not None
    assert not found.tested


def test_a_folder_that_cannot_be_listed_is_told(root: Path) -> None:
    with pytest.raises(UserError, match="unknown category 'bolt'"):
        look(root, categories=("bolt",))


def test_what_is_not_there_is_unknown_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "not-mounted").mkdir()
    assert look(tmp_path / "not-mounted") is None
    assert look(tmp_path / "none") is None
    assert look(tmp_path, "synthetic") is None


def test_a_thousand_files_take_a_tenth_of_a_second(root: Path) -> None:
    for number in range(1000):
        (root / f"cap/train/good/{number:05}.png").touch()
    start = time.process_time()
    fingerprint(root)
    assert time.process_time() - start < 0.2, "no file is opened"


# --- what stands for a dataset in the workflow -----------------------------------------------------------


def seen(fingerprint: str) -> Listing:
    return Listing(fingerprint, tested=True)


def test_a_dataset_that_is_fetched_has_not_changed(tmp_path: Path) -> None:
    record = tmp_path / "dataset.json"
    planned = trigger(record, None)
    note(record, planned, seen("a"))
    assert trigger(record, seen("a")) == planned
    assert trigger(record, None) == planned, "and neither has one that was taken away again"


def test_each_change_is_noticed_once(tmp_path: Path) -> None:
    record = tmp_path / "dataset.json"
    told: list[str] = []
    for now in ("a", "b", "a"):
        planned = trigger(record, seen(now))
        assert planned not in told[-1:]
        note(record, planned, seen(now))
        assert trigger(record, seen(now)) == planned
        told.append(planned)


def test_a_change_between_planning_and_reading_is_read(tmp_path: Path) -> None:
    record = tmp_path / "dataset.json"
    note(record, trigger(record, seen("a")), seen("b"))
    assert trigger(record, seen("b")) == "a", "what the workflow knows it by"
    assert trigger(record, seen("a")) == "a"


def test_a_dataset_that_is_away_has_the_test_images_that_it_had(tmp_path: Path) -> None:
    record = tmp_path / "dataset.json"
    assert is_tested(record, None), "which is not known yet"
    for there in (False, True):
        note(record, "", Listing("a", tested=there))
        assert is_tested(record, None) is there
        assert is_tested(record, Listing("b", tested=not there)) is not there


def test_a_damaged_record_computes_again(tmp_path: Path) -> None:
    record = tmp_path / "dataset.json"
    record.write_text("[")
    assert trigger(record, seen("a")) == "a"
