"""Locks where the file system has none, and files that would lead elsewhere what is written."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from drdc.runtime import locks
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic, exclusive
from drdc.runtime.locks import NO_LOCKS, lock, open_plain


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def without_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    locks._warn.cache_clear()


@pytest.mark.parametrize("number", sorted({*NO_LOCKS, errno.EOPNOTSUPP}))
def test_a_file_system_without_locks_is_told_once_and_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    without_locks(monkeypatch, number)
    (tmp_path / "state.pt.lock").touch()  # left behind by a process that was killed
    (tmp_path / ".table.csv.partial").touch()
    with caplog.at_level(logging.INFO):
        for text in ("first", "second"):
            with exclusive(tmp_path / "state.pt"), atomic(tmp_path / "table.csv") as temporary:
                temporary.write_text(text)
    assert [record.message.split(" (")[0] for record in caplog.records] == ["this file system has no locks"]
    assert (tmp_path / "table.csv").read_text() == "second"
    assert names(tmp_path) == ["table.csv"]


def test_other_errors_of_a_lock_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, errno.EIO)
    with pytest.raises(UserError, match="cannot be written"), exclusive(tmp_path / "state.pt"):
        pass


def test_a_lock_that_is_held_is_not_had(tmp_path: Path) -> None:
    first, second = open_plain(tmp_path / "gate"), open_plain(tmp_path / "gate")
    assert lock(first)
    assert not lock(second)
    os.close(first)
    assert lock(second)
    os.close(second)


def _link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def _hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def _dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("made by the link"))


def _pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("hostile", [_link, _hard_link, _dangling, _pipe])
@pytest.mark.parametrize("name", [".table.csv.partial", "table.csv.lock"])
def test_nothing_is_written_through_a_link(
    tmp_path: Path, name: str, hostile: Callable[[Path, Path], None]
) -> None:
    victim, path = tmp_path / "victim", tmp_path / name
    victim.write_text("precious")
    hostile(path, victim)
    use = atomic if name.endswith(".partial") else exclusive
    with pytest.raises(UserError, match="is a link or a device") as caught, use(tmp_path / "table.csv"):
        pass
    assert str(caught.value).startswith(str(path))
    assert victim.read_text() == "precious"
    assert names(tmp_path) == sorted({name, "victim"})
