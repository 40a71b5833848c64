"""Folders of photos as people keep them: the commands that are printed make a dataset of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drdc.data.datasets import scan
from drdc.data.natural import commands
from drdc.runtime.errors import UserError


def photos(folder: Path, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(folder / f"IMG {number}.png")


#: The folders with their numbers of images, and (category, split, label) -> number of what they become.
KEPT = {
    "flat": ({"": 5}, {("flat", "train", 0): 5}),
    "said": ({"good": 5}, {("said", "train", 0): 5}),
    "it's sorted": ({"OK": 5, "nok": 2}, {("it's sorted", "train", 0): 5, ("it's sorted", "test", 1): 2}),
    "several": (
        {"lid/good": 3, "lid/torn": 1, "gear #2": 4},
        {("lid", "train", 0): 3, ("lid", "test", 1): 1, ("gear #2", "train", 0): 4},
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_the_printed_commands_make_a_dataset(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, expected = KEPT[name]
    root = tmp_path / name
    for folder, count in folders.items():
        photos(root / folder, count)
    work = tmp_path / "work here"
    work.mkdir()
    monkeypatch.chdir(work)
    with pytest.raises(UserError, match="no category in the layout") as caught:
        scan("mvtec", root)
    command = caught.value.fix.partition("run `")[2].rpartition("`, and name ")[0]
    subprocess.run(["bash", "-euc", command], check=True)
    samples, problems = scan("mvtec", work / f"{name}-dataset")
    found: dict[tuple[str, str, int], int] = {}
    for sample in samples:
        key = (sample.category, sample.split, sample.label)
        found[key] = found.get(key, 0) + 1
    assert found == expected
    assert not [one for one in problems if one.kind == "no-training-images"]


@pytest.mark.parametrize(
    "parts",
    [
        ("lid/good_monday", "lid/good_tuesday", "lid/scratch"),
        ("lid", "lid/good", "lid/nok"),
        ("gear/good", "lid/good 1", "lid/good 2"),
        ("lid/ok", "lid/nok/scratch", "lid/nok/dent"),
        ("gear/ok", "lid/nok"),
        ("lid/good", "lid/bad", "lid/masks"),
        ("lid/good", "lid/bad", "lid/Ground_Truth"),
        ("", "lid", "gear"),
    ],
)
def test_no_image_is_left_out_or_taken_for_another_where_it_is_not_plain_what_they_are(
    parts: tuple[str, ...], tmp_path: Path
) -> None:
    for part in parts:
        photos(tmp_path / "photos" / part, 2)
    assert commands(tmp_path / "photos") == ""


def test_a_second_time_the_commands_write_nothing_into_the_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path / "photos/gear", 3)
    photos(tmp_path / "photos/lid", 3)
    monkeypatch.chdir(tmp_path)
    command = commands(tmp_path / "photos").strip("`").partition("`, and")[0]
    codes = [subprocess.run(["bash", "-euc", command], check=False).returncode for _ in range(2)]
    assert codes[0] == 0 != codes[1]
    assert len(list((tmp_path / "photos").rglob("*"))) == 8


def test_of_a_folder_without_images_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty/below").mkdir(parents=True)
    (tmp_path / "empty/notes.txt").touch()
    assert commands(tmp_path / "empty") == ""
    with pytest.raises(UserError, match="correct the root"):
        scan("mvtec", tmp_path / "empty")
