"""Files are whole or not there, and what cannot be written or read is one clear sentence."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from limits import size_limit
from safetensors.torch import save_file
from stamping import stamped

from drdc.runtime import files
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic, create_array, exclusive, load_array, load_weights, save_weights

WEIGHTS = {"layer.weight": torch.linspace(-1, 1, 24).view(4, 6), "count": torch.tensor(7)}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- atomic ----------------------------------------------------------------------------------------------


def test_the_file_appears_with_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "table.csv"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.parent == path.parent  # the same file system, so that the move is atomic
    assert path.read_text() == "new"
    assert names(path.parent) == ["table.csv"]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), UserError("", "bad image", "")])
def test_a_failure_leaves_the_old_file_alone(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(type(error)), atomic(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_a_failure_before_anything_was_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError), atomic(tmp_path / "table.csv"):
        raise ValueError
    assert names(tmp_path) == []


def test_what_a_killed_process_left_behind_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    with atomic(path) as temporary:
        stale = temporary
        temporary.write_text("first")
    stale.write_text("left behind by a killed process, and longer")
    with atomic(path) as temporary:
        assert temporary == stale
        temporary.write_text("second")
    assert path.read_text() == "second"
    assert names(tmp_path) == ["table.csv"]


def test_the_mode_of_a_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic(tmp_path / "table.csv") as temporary:
            temporary.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "table.csv").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_failing_move_names_the_file_and_the_free_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "table.csv"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError) as caught, atomic(path) as temporary:
        temporary.write_text("new")
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot be written")
    assert os.strerror(number) in message
    assert "MiB free" in message
    assert "\n" not in message
    assert path.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where a folder should be")
    path = tmp_path / "results" / "demo" / "scores.csv"
    with pytest.raises(UserError, match="cannot be written") as caught, atomic(path) as temporary:
        temporary.write_text("never")
    assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="cannot be written"), atomic(tmp_path / "a.csv") as temporary:
            temporary.write_text("x")
    finally:
        tmp_path.chmod(0o700)


# --- several processes -----------------------------------------------------------------------------------

WRITER = """
import logging, sys
from pathlib import Path
from drdc.runtime.files import atomic
logging.basicConfig(level=logging.INFO)
with atomic(Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("half", flush=True)
    sys.stdin.readline()
    temporary.write_text(sys.argv[2])
"""
HOLDER = """
import logging, sys
from pathlib import Path
from drdc.runtime.files import exclusive
logging.basicConfig(level=logging.INFO)
with exclusive(Path(sys.argv[1])):
    print("alone", flush=True)
    sys.stdin.readline()
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    """Its next line of output."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate("\n", timeout=60)
    assert process.returncode == 0, errors


@pytest.mark.parametrize("how", ["ends", "fails", "is killed"])
def test_two_processes_write_a_file_one_after_the_other(tmp_path: Path, how: str) -> None:
    """An orphan and its successor; the second one never sees or moves what is half-written by the first."""
    path = tmp_path / "table.csv"
    first = start(WRITER, path, "first")
    assert said(first) == "half"
    second = start(WRITER, path, "second")
    assert second.stderr is not None
    assert "another process writes" in second.stderr.readline()
    if how == "ends":
        go_on(first)
        assert path.read_text() == "first"
    elif how == "fails":
        first.send_signal(signal.SIGINT)
        first.communicate()
    else:
        first.kill()
        first.communicate()
    assert said(second) == "half"
    go_on(second)
    assert path.read_text() == "second"
    assert names(tmp_path) == ["table.csv"]


def test_many_writers_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    code = """
import sys
from pathlib import Path
from drdc.runtime.files import atomic
for number in range(50):
    with atomic(Path(sys.argv[1])) as temporary:
        temporary.write_text(sys.argv[2] * 50_000)
    assert len(set(Path(sys.argv[1]).read_text())) == 1
"""
    writers = [start(code, path, letter) for letter in "abcd"]
    for writer in writers:
        go_on(writer)
    assert path.read_text() in {letter * 50_000 for letter in "abcd"}
    assert names(tmp_path) == ["table.csv"]


@pytest.mark.parametrize("killed", [True, False])
def test_who_works_on_a_file_works_alone(tmp_path: Path, killed: bool) -> None:
    path = tmp_path / "state" / "seed0-base.pt"
    first = start(HOLDER, path)
    assert said(first) == "alone"
    second = start(HOLDER, path)
    assert second.stderr is not None
    assert f"another process works on {path}; waiting" in second.stderr.readline()
    if killed:
        first.kill()
        first.communicate()
    else:
        go_on(first)
    assert said(second) == "alone"
    go_on(second)


def test_a_lock_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    path = tmp_path / "state" / "seed0-base.pt"
    with pytest.raises(UserError, match="cannot be written") as caught, exclusive(path):
        pass
    assert str(path) in str(caught.value)


# --- a full disk -----------------------------------------------------------------------------------------


def test_text_that_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old")
    with size_limit(4096), pytest.raises(UserError, match="free"), atomic(path) as temporary:
        temporary.write_text("x" * 100_000)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with size_limit(4096), pytest.raises(UserError, match="cannot be written") as caught:
        save_weights(path, {"big": torch.zeros(10_000)}, {})
    assert str(path) in str(caught.value)
    assert names(tmp_path) == []


# --- weights ---------------------------------------------------------------------------------------------


def test_weights_and_their_description_come_back(tmp_path: Path) -> None:
    path = tmp_path / "seed0" / "base.safetensors"
    about = {"base": {"hidden": 8, "clip_norm": None, "list": [1, 2]}, "note": "größe"}
    save_weights(path, WEIGHTS, about)
    weights, back = load_weights(path, "base")
    assert len(back.pop("sha256")) == 64
    assert back == about
    assert weights.keys() == WEIGHTS.keys()
    for key, value in WEIGHTS.items():
        assert torch.equal(weights[key], value)
        assert weights[key].dtype == value.dtype
    assert names(path.parent) == ["base.safetensors"]


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    save_weights(tmp_path / "a", WEIGHTS, {"x": 1, "y": 2})
    save_weights(tmp_path / "b", dict(reversed(WEIGHTS.items())), {"y": 2, "x": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_slice_is_stored_as_what_it_shows(tmp_path: Path) -> None:
    table = torch.arange(12.0).view(3, 4)
    save_weights(tmp_path / "a", {"columns": table[:, 1:3], "turned": table.t().clone().t()}, {"base": {}})
    weights, _ = load_weights(tmp_path / "a", "base")
    assert torch.equal(weights["columns"], table[:, 1:3])
    assert torch.equal(weights["turned"], table)


def _garbage(path: Path) -> None:
    path.write_bytes(b"no weights at all " * 20)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    save_file({"a": torch.zeros(2)}, path)


def _foreign_metadata(path: Path) -> None:
    save_file({"a": torch.zeros(2)}, path, {"format": "pt"})


def _broken_metadata(path: Path) -> None:
    save_file({"a": torch.zeros(2)}, path, {"drdc": "{half"})


@pytest.mark.parametrize("damage", [_garbage, _cut, _empty, _foreign, _foreign_metadata, _broken_metadata])
def test_a_file_that_is_no_model_is_named(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "base.safetensors"
    save_weights(path, WEIGHTS, {"base": {}})
    damage(path)  # type: ignore[operator]
    with pytest.raises(UserError, match="train it again") as caught:
        load_weights(path, "base")
    assert str(caught.value).startswith(str(path))


def test_a_missing_model_is_told_with_the_command_that_trains_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"base\.safetensors: is missing; run `drdc train base` first$"):
        load_weights(tmp_path / "base.safetensors", "base")


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "base.safetensors", WEIGHTS, {"diffusion": {}})
    with pytest.raises(UserError, match="not a base model"):
        load_weights(tmp_path / "base.safetensors", "base")


# --- arrays ----------------------------------------------------------------------------------------------


def test_an_array_comes_back_without_being_read_whole(tmp_path: Path) -> None:
    rows = np.arange(12, dtype=np.float16).reshape(4, 3)
    np.save(tmp_path / "features.npy", rows)
    stamped(tmp_path / "features.npy")
    array = load_array(tmp_path / "features.npy", 4, "features")
    assert isinstance(array, np.memmap)
    assert array.dtype == np.float16
    assert np.array_equal(array, rows)


@pytest.mark.parametrize("damage", [_garbage, _cut, _empty, Path.unlink])
def test_a_damaged_array_names_the_command_that_makes_it(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "features.npy"
    np.save(path, np.zeros((4, 3)))
    stamped(path)
    damage(path)  # type: ignore[operator]
    with pytest.raises(UserError, match="run `drdc features`") as caught:
        load_array(path, 4, "features")
    assert str(caught.value).startswith(str(path))


def test_an_array_is_written_in_pieces(tmp_path: Path) -> None:
    array = create_array(tmp_path / "images.npy", np.uint8, (5, 2))
    array[3:] = 7
    array.flush()
    assert np.load(tmp_path / "images.npy").tolist() == [[0, 0]] * 3 + [[7, 7]] * 2
    assert (tmp_path / "images.npy").stat().st_size == 128 + 10


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this method cannot reserve space")
def test_an_array_that_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reserved: list[int] = []

    def full(_: int, offset: int, length: int) -> None:
        reserved.append(offset + length)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    path = tmp_path / "images.npy"
    with pytest.raises(UserError, match="No space left"), atomic(path) as temporary:
        create_array(temporary, np.uint8, (100, 50))
    assert reserved == [128 + 5000]
    assert names(tmp_path) == []


def test_an_array_is_made_where_space_cannot_be_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS."""
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    create_array(tmp_path / "images.npy", np.uint8, (100, 50))[:] = 1
    assert np.load(tmp_path / "images.npy").sum() == 5000


def test_an_array_of_another_manifest_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.zeros((4, 3)))
    stamped(tmp_path / "features.npy")
    with pytest.raises(UserError, match="has 4 rows, but the manifest 5"):
        load_array(tmp_path / "features.npy", 5, "features")
