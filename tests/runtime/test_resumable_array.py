"""Arrays that take long to compute: one that is put back is found to be complete."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from drdc.runtime.resumable_array import ResumableArray, put_back


@pytest.fixture
def work(tmp_path: Path) -> ResumableArray:
    """Of five numbers, all computed."""
    (tmp_path / "manifest.csv").touch()
    array = again(tmp_path)
    array.complete(2, lambda rows: array.rows.__setitem__(rows, rows))
    return array


def again(folder: Path) -> ResumableArray:
    """The same command's."""
    paths = folder / "state/a.npy", folder / "made/a.npy", [folder / "manifest.csv"]
    return ResumableArray(*paths, {"seed": 0}, "i8", 5)


def refuse(_: NDArray[np.int64]) -> None:
    raise AssertionError("nothing is left to compute")


def test_what_was_put_back_is_not_computed_again(work: ResumableArray, tmp_path: Path) -> None:
    before = work.target.read_bytes()
    put_back(work.target, work.state)
    assert not work.target.exists()
    again(tmp_path).complete(2, refuse)
    assert work.target.read_bytes() == before
    assert not work.state.exists()


def test_an_array_that_was_begun_since_is_kept(work: ResumableArray) -> None:
    work.state.write_bytes(b"newer")
    put_back(work.target, work.state)
    assert work.state.read_bytes() == b"newer"
    assert work.target.exists()


def test_an_array_without_a_note_is_not_put_back(work: ResumableArray) -> None:
    work.note.unlink()
    put_back(work.target, work.state)
    assert not work.state.exists()
