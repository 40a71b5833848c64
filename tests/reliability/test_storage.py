"""Full disks, read-only folders and too little memory: one sentence each, and what was saved stays good."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from trainings import RESULTS, Forked, arguments, make_data, outputs, states, until

LONG = {"epochs": 10}
MIB = 2**20


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Another file system at `folder`; skips the test where that is not allowed."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def expected(folder: Path) -> dict[str, bytes]:
    """What an undisturbed training leaves."""
    make_data(folder)
    Forked(folder, "base", **LONG).wait()
    return outputs(folder, "base")


def fill(path: Path) -> None:
    """Write a file until the disk is full, to the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (65536, 1):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)


def test_a_disk_that_fills_up_keeps_the_last_state(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    with mounted(folder, "-t", "tmpfs", "-o", "size=2m", "tmpfs"):
        make_data(folder)
        state, filler = folder / RESULTS / "state/seed0-base.pt", folder / "filler"
        training = Forked(folder, "base", messages=tmp_path / "first.log", **LONG)
        until(state.exists, training)
        training.signal(signal.SIGSTOP)
        fill(filler)
        training.signal(signal.SIGCONT)
        message = training.wait(code=2)
        assert f"drdc: {state.relative_to(folder)}: cannot be written (" in message
        assert "0 MiB free there); free some space" in message
        saved = states(folder) - {"seed0-base.time.json"}
        assert saved <= {state.name, "seed0-base.previous.pt"}
        kept = [torch.load(state.with_name(name), weights_only=True)["step"] for name in saved]
        filler.unlink()
        messages = Forked(folder, "base", messages=tmp_path / "second.log", **LONG).wait()
        assert f"from step {max(kept)}" in messages
        assert outputs(folder, "base") == expected(tmp_path / "whole")


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("share", [0.1, 0.95])
def test_a_state_that_does_not_fit_keeps_the_one_before(tmp_path: Path, share: float) -> None:
    """Where nothing can be mounted: a limit on the size of files, at the beginning or the end of a state."""
    make_data(tmp_path)
    state = tmp_path / RESULTS / "state/seed0-base.pt"
    training = Forked(tmp_path, "base", **LONG)
    until(state.exists, training)
    training.kill()
    before = state.read_bytes()
    limit = partial(_limit_files, int(share * len(before)))
    message = Forked(tmp_path, "base", before=limit, **LONG).wait(code=2)
    assert f"{state.relative_to(tmp_path)}: cannot be written (" in message
    assert "MiB free there)" in message
    assert state.read_bytes() == before
    Forked(tmp_path, "base", **LONG).wait()
    assert outputs(tmp_path, "base") == expected(tmp_path / "whole")


def test_results_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    make_data(tmp_path)
    arguments(tmp_path, "base")  # the settings are there already
    results = tmp_path / RESULTS
    with mounted(results, "--bind", "-o", "ro", str(results)):
        message = Forked(tmp_path, "base").wait(code=2)
    assert f"drdc: {RESULTS}/state/seed0-base.pt: cannot be written (Read-only file system; " in message
    assert not (results / "seed0").exists()


def test_weights_that_cannot_be_written_leave_the_last_state(tmp_path: Path) -> None:
    """The folder of the results is read-only, the one of the states is not."""
    make_data(tmp_path)
    seed = tmp_path / RESULTS / "seed0"
    seed.mkdir()
    with mounted(seed, "--bind", "-o", "ro", str(seed)):
        message = Forked(tmp_path, "base").wait(code=2)
    assert f"{RESULTS}/seed0/base.losses.csv: cannot be written (Read-only file system; " in message
    assert states(tmp_path) == {"seed0-base.pt", "seed0-base.previous.pt", "seed0-base.time.json"}
    assert "from step 29" in Forked(tmp_path, "base").wait()


def _limit_memory(more: int) -> None:
    """Only `more` bytes beside what the process has already."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


@pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="this system does not tell a process's size"
)
@pytest.mark.parametrize(("model", "batch"), [("base", 100_000), ("diffusion", 4096)])
def test_too_little_memory_names_the_setting_to_lower(tmp_path: Path, model: str, batch: int) -> None:
    make_data(tmp_path)
    limit = partial(_limit_memory, 160 * MIB)
    message = Forked(tmp_path, model, before=limit, batch_size=batch).wait(code=2)
    (told,) = [line for line in message.splitlines() if line.startswith("drdc: ")]
    assert told.startswith("drdc: out of memory (")
    assert f"lower {model}.batch_size" in told
