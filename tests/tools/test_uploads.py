"""Uploads go by age, with their server, and after a server that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from drdc.tools.uploads import sweep, upload_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def old(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    for one in (path, path.parent):
        os.utime(one, (time.time() - 1000,) * 2)
    return path


def test_what_is_old_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    gone, stays = old(tmp_path / "a/old.png"), tmp_path / "b/new.png"
    stays.parent.mkdir()
    stays.touch()
    kept = old(tmp_path / "elsewhere/kept.png")
    (tmp_path / "b/link").symlink_to(kept.parent)
    sweep(tmp_path / "a", 600)
    sweep(tmp_path / "b", 600)
    assert not gone.exists()
    assert stays.exists()
    assert kept.exists()


def test_nothing_gets_old_while_the_server_runs() -> None:
    with upload_folder(0.2) as folder:
        (folder / "hash").mkdir()
        (folder / "hash/part").touch()
        deadline = time.monotonic() + 20
        while any(folder.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not list(folder.iterdir())
    assert not folder.exists()


def test_the_folder_of_a_killed_server_goes_when_the_next_one_starts(temporary: Path) -> None:
    code = (
        "import os, tempfile; tempfile.tempdir = os.sys.argv[1]\n"
        "from drdc.tools.uploads import upload_folder\n"
        "with upload_folder(600) as folder: (folder / 'photo.png').touch(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(temporary)], check=False)
    (left,) = temporary.iterdir()
    assert (left / "photo.png").exists()
    (temporary / "drdc-serve-link").symlink_to(Path(__file__).parent)
    with upload_folder(600) as living:
        assert not left.exists()
        with upload_folder(600) as second:
            assert living.exists()
            assert second != living
    assert [path.name for path in temporary.iterdir()] == ["drdc-serve-link"]
    assert Path(__file__).exists()
