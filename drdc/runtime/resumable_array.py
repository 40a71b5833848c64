"""An array that takes hours to compute: its finished rows outlive the process that computes them."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from drdc.runtime.batching import chunks, progress_bar
from drdc.runtime.digests import source_digests
from drdc.runtime.files import atomic, create_array, exclusive, move, stamp, write_whole
from drdc.runtime.identity import fingerprint_of

log = logging.getLogger(__name__)

#: Part of the time that may go into writing finished rows to the disk.
SAVING = 0.02


def put_back(target: Path, state: Path) -> None:
    """Take a finished array from its place to that of an unfinished one, where it is found to be complete.

    Nothing is done where it has no note, or another one was begun since. For `state`, see `ResumableArray`.
    """
    if target.exists() and state.with_suffix(".json").exists() and not state.exists():
        target.replace(state)


class ResumableArray:
    """A one-dimensional array that is filled from its first row to its last, and resumed after a kill.

    It is where nothing deletes it (Snakemake deletes a rule's outputs), next to it a note: what it depends on
    (`identity`), how many rows are done, and the SHA-256 of header and rows. The note stays when the array
    has moved to its place, so that the same command knows that there is nothing left to do. Only one process
    at a time may work on it, which `complete` ensures.

    Args:
        state: path of the array until it is finished; ends with `.npy`, the note's with `.json`.
        target: where the finished array belongs, on the same file system.
        sources: the manifest that its rows belong to, and models.
        identity: everything that the rows depend on, of types that JSON has.
        dtype, size: of the array.

    Attributes:
        done: how many rows are filled.
        rows: the array, memory-mapped.
    """

    def __init__(
        self,
        state: Path,
        target: Path,
        sources: Sequence[Path],
        identity: dict[str, Any],
        dtype: npt.DTypeLike,
        size: int,
    ) -> None:
        self.state, self.target, self.note = state, target, state.with_suffix(".json")
        self.sources = sources
        self.dtype, self.size, self.done = np.dtype(dtype), size, 0
        self.fingerprint = fingerprint_of([identity, str(self.dtype), size])
        self.rows = np.empty(0, self.dtype)
        self._digest, self._digested = hashlib.sha256(), 0
        self._saved, self._cost = 0.0, 0.0

    def finished(self) -> bool:
        """Whether the target is complete already."""
        done, digest = self._read_note()
        return done == self.size and self.target.exists() and self._open(self.target, "r", done, digest)

    def begin(self) -> None:
        """Open the array with the rows that are done already, or a new one.

        Raises:
            UserError: the disk is full or the folder cannot be written; names the path and the free space.
        """
        done, digest = self._read_note()
        if done and self.state.exists():
            if self._open(self.state, "r+", done, digest):
                log.info("%s: %d of %d are done already", self.state, done, self.size)
                return
            log.warning("%s is damaged; it is computed again from the beginning", self.state)
        self.done = 0
        self.note.unlink(missing_ok=True)
        with atomic(self.state) as path:
            create_array(path, self.dtype, (self.size,))
        self.rows = np.load(self.state, mmap_mode="r+", allow_pickle=False)
        self._begin_digest(self.state)
        self._write_note()

    def complete(self, batch_size: int, fill: Callable[[NDArray[np.int64]], None]) -> None:
        """Fill the rows that are missing, in the batches of an uninterrupted run, and move the array.

        Nothing is computed where the target is complete already. Where another process works on the same
        array, this one waits until that one has ended.

        Args:
            fill: writes the rows of these numbers, (B,), into `rows`.

        Raises:
            UserError: as `begin`.
        """
        with exclusive(self.state):
            if self.finished():
                log.info("%s exists already, of the same models and settings", self.target)
                self._stamp()
                return
            self.begin()
            started, before = time.monotonic(), self.done
            batches = list(chunks(np.arange(self.done, self.size), batch_size))
            for batch in progress_bar(batches, self.done // batch_size, batch_size):
                fill(batch)
                self.advance(int(batch[-1]) + 1)
            self.finish()
        seconds = (time.monotonic() - started) / max(1, self.size - before)
        log.info("%d images, %.3f s an image", self.size, seconds)

    def advance(self, done: int) -> None:
        """Rows before `done` are filled; they are written to the disk unless that was done just before."""
        self.done = done
        if time.monotonic() - self._saved > self._cost / SAVING:
            self._save()

    def finish(self) -> None:
        """Every row is filled: move the array to its place."""
        self._save()
        self._stamp()
        move(self.state, self.target)

    def _stamp(self) -> None:
        stamp(self.target, self._digest.hexdigest(), source_digests(self.sources))

    def _save(self) -> None:
        started = time.monotonic()
        self.rows.flush()  # type: ignore[attr-defined]  # a memory map
        self._write_note()
        self._saved = time.monotonic()
        self._cost = self._saved - started

    def _write_note(self) -> None:
        self._digest_up_to(self.done)
        note = {"fingerprint": self.fingerprint, "done": self.done, "sha256": self._digest.hexdigest()}
        with atomic(self.note) as path:
            write_whole(path, f"{json.dumps(note)}\n".encode())

    def _read_note(self) -> tuple[int, str]:
        """How many rows are done, and their digest; 0 where there is no note of this identity."""
        try:
            note = json.loads(self.note.read_text())
            fingerprint, done, digest = note["fingerprint"], int(note["done"]), note["sha256"]
        except FileNotFoundError:
            return 0, ""
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is damaged (%s); the array is computed from the beginning", self.note, error)
            return 0, ""
        if fingerprint == self.fingerprint:
            return done, digest
        if self.state.exists():
            log.info("%s belongs to other settings; it is computed again from the beginning", self.state)
        return 0, ""

    def _open(self, path: Path, mode: Literal["r", "r+"], done: int, digest: str) -> bool:
        """Open a file, and whether its first `done` rows are those of the note."""
        try:
            rows = np.lib.format.open_memmap(path, mode=mode)  # reads no pickles and no archives
        except (OSError, ValueError, EOFError):
            return False
        if rows.dtype != self.dtype or rows.shape != (self.size,) or not 0 <= done <= self.size:
            return False
        self.rows, self.done = rows, done
        self._begin_digest(path)
        self._digest_up_to(done)
        return self._digest.hexdigest() == digest

    def _begin_digest(self, path: Path) -> None:
        """Add the header: then, with all rows, the digest is that of the file."""
        with path.open("rb") as file:
            self._digest, self._digested = hashlib.sha256(file.read(self.rows.offset)), 0  # type: ignore[attr-defined]

    def _digest_up_to(self, done: int) -> None:
        """Add rows in batches, so that memory does not grow with their number."""
        for start in range(self._digested, done, 32):
            self._digest.update(self.rows[start : min(start + 32, done)].tobytes())
        self._digested = done
