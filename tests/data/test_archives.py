"""Unpacking honest archives: every kind of compression, the same files out, and one sentence for damage."""

from __future__ import annotations

import io
import os
import resource
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from drdc.data.archives import unpack
from drdc.runtime.errors import UserError

FILES = {
    "bottle/train/good/000.png": np.random.default_rng(0).bytes(70_000),  # more than is read at a time
    "bottle/train/good/öäü 手.png": b"other letters",
    "bottle/test/broken/000.png": b"",
    "license.txt": b"x" * 512,
}


def tar(path: Path, mode: str, files: dict[str, bytes] = FILES, top: str = "") -> Path:
    """A tar as `tar -c` makes it, folders included; file modes are 0o4777: set-user-id, writable by all."""
    with tarfile.open(path, mode) as archive:
        for folder in ("bottle", "bottle/train", "bottle/train/good", "bottle/test", "bottle/test/broken"):
            info = tarfile.TarInfo(top + folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o000
            archive.addfile(info)
        for name, content in files.items():
            info = tarfile.TarInfo(top + name)
            info.size, info.mode, info.uid = len(content), 0o4777, 12345
            archive.addfile(info, io.BytesIO(content))
    return path


def zipped(path: Path, files: dict[str, bytes] = FILES) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("bottle")
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFREG | 0o4777) << 16
            archive.writestr(info, content)
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("mode", ["w:", "w:gz", "w:bz2", "w:xz", "zip"])
def test_every_kind_gives_the_same_files(tmp_path: Path, mode: str) -> None:
    archive = tmp_path / "data.archive"  # the content tells what it is, not the name
    _ = zipped(archive) if mode == "zip" else tar(archive, mode)
    unpack(archive, tmp_path / "out")
    assert content(tmp_path / "out") == FILES


def test_names_may_start_with_a_dot(tmp_path: Path) -> None:
    """As `tar -c .` writes them."""
    unpack(tar(tmp_path / "a.tar", "w", top="./"), tmp_path / "out")
    assert content(tmp_path / "out") == FILES


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_modes_and_owners_are_our_own(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "a"
    _ = zipped(archive) if kind == "zip" else tar(archive, "w")
    unpack(archive, tmp_path / "out")
    (tmp_path / "own").write_bytes(b"")
    expected = (tmp_path / "own").stat()
    for path in (tmp_path / "out").rglob("*"):
        if path.is_file():
            assert path.stat().st_mode == expected.st_mode
            assert path.stat().st_uid == expected.st_uid
        else:
            assert path.stat().st_mode & 0o700 == 0o700


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz", "zip"])
@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "text"])
def test_damage_is_one_sentence_that_names_the_archive(tmp_path: Path, mode: str, damage: str) -> None:
    archive = tmp_path / "data.archive"
    _ = zipped(archive) if mode == "zip" else tar(archive, mode)
    whole = archive.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "cut": whole[:middle],
        "changed": whole[:middle]
        + bytes(255 - b for b in whole[middle : middle + 50])
        + whole[middle + 50 :],
        "empty": b"",
        "text": b"<html>Not Found</html>",
    }
    archive.write_bytes(damaged[damage])
    with pytest.raises(UserError, match="is not a whole tar or zip archive") as caught:
        unpack(archive, tmp_path / "out")
    assert str(caught.value).startswith(str(archive))
    assert "\n" not in str(caught.value)


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.tar: cannot be read \(No such file"):
        unpack(tmp_path / "none.tar", tmp_path / "out")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_full_disk_names_the_file_and_the_free_space(tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "a"
    _ = zipped(archive) if kind == "zip" else tar(archive, "w:xz")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(UserError, match=r"000\.png: cannot be written .* MiB free there"):
            unpack(archive, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", "w")
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UserError, match="cannot be written"):
        unpack(archive, tmp_path / "locked" / "out")
