"""The local files that pre-trained weights are read from."""

from __future__ import annotations

import os
from pathlib import Path

from drdc.models.pretrained import local_files


def test_a_file_is_told_by_its_size_and_its_last_change(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    assert local_files(str(path)) == []
    path.write_bytes(b"some")
    os.utime(path, ns=(0, 7))
    assert local_files(str(path)) == [(str(path), 4, 7)]


def test_of_a_folder_all_files_are_told_links_included(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "diffusion", tmp_path / "cache"
    elsewhere.mkdir()
    (elsewhere / "b").touch()
    folder.mkdir()
    (folder / "a").touch()
    (folder / "unet").symlink_to(elsewhere)
    (folder / "broken").symlink_to(tmp_path / "nothing")
    assert [path for path, *_ in local_files(str(folder))] == [str(folder / "a"), str(folder / "unet/b")]


def test_what_is_not_local_has_none() -> None:
    assert local_files("hub") == local_files("package") == []
