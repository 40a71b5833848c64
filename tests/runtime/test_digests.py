"""Digests beside files: written first, compared by every reader, never in the way of the same command."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from drdc.results.scores import read_table, write_table
from drdc.runtime.digests import sidecar, verify
from drdc.runtime.errors import UserError
from drdc.runtime.files import artefact

TABLE = pd.DataFrame({"seed": [0, 1], "value": [0.5, 0.25]})


def test_a_table_is_whole_with_its_digest_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with pytest.raises(KeyboardInterrupt), artefact(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    write_table(path, TABLE)
    assert {entry.name for entry in tmp_path.iterdir()} == {"scores.csv", ".scores.csv.sha256"}
    assert read_table(path)["value"].tolist() == ["0.5", "0.25"]
    assert pd.read_csv(path).equals(TABLE), "plain for every other reader"


def test_a_kill_between_digest_and_file_ends_with_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, move = tmp_path / "scores.csv", os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target) == path:
            raise KeyboardInterrupt
        move(source, target)

    monkeypatch.setattr(os, "replace", killed)
    for before in (False, True):
        with pytest.raises(KeyboardInterrupt):
            write_table(path, TABLE)
        with pytest.raises(UserError, match="was changed by hand" if before else "is missing; run"):
            read_table(path)
        monkeypatch.setattr(os, "replace", move)
        write_table(path, TABLE)
        read_table(path)
        write_table(path, TABLE.head(1))
        monkeypatch.setattr(os, "replace", killed)


def test_a_file_that_was_deleted_is_not_told_to_be_damaged(tmp_path: Path) -> None:
    """Snakemake deletes a rule's outputs, and knows nothing of the digests."""
    path = tmp_path / "scores.csv"
    write_table(path, TABLE)
    path.unlink()
    with pytest.raises(UserError, match="is missing; run `drdc score`"):
        read_table(path)
    write_table(path, TABLE.head(1))
    assert len(read_table(path)) == 1


def test_a_short_write_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scores.csv"
    write_table(path, TABLE)
    before, write = path.read_bytes(), Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda self, content: write(self, content[:10]))
    with pytest.raises(UserError, match=r"cannot be written \(only 10 of \d+ bytes were written; "):
        write_table(path, TABLE.head(1))
    monkeypatch.undo()
    assert path.read_bytes() == before
    read_table(path)


def test_a_file_changed_in_this_process_is_compared_again(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    write_table(path, TABLE)
    verify(path, "score")
    path.write_text(path.read_text().replace("0.5", "0.6"))
    with pytest.raises(UserError, match="is damaged or was changed by hand"):
        verify(path, "score")
    assert sidecar(path).exists()
