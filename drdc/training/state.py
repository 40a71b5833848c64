"""The files of a training for its next start: states to resume from, and why it must not continue."""

from __future__ import annotations

import copy
import errno
import json
import logging
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from drdc.runtime.errors import UserError, out_of_memory
from drdc.runtime.files import atomic, write_whole

log = logging.getLogger(__name__)


#: Rows of a loss curve, see `drdc.training.loop.train`.
History = list[dict[str, float]]


@dataclass
class Progress:
    """The progress of a training: finished steps, rows of its loss curve, losses since the last of them."""

    step: int
    history: History
    losses: list[float]


class State:
    """The files of an unfinished training: the last two states, its time so far, and why it was stopped.

    Args:
        path: the last state, a file of torch, `<name>.pt`.
        fingerprint: of the training, by `fingerprint_of`; files of another one are not used.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.previous = path.with_suffix(".previous.pt")
        self.unusable = path.with_suffix(".unusable.pt")
        self.stopped = path.with_suffix(".stopped.json")
        self.time = path.with_suffix(".time.json")

    def save(self, parts: Mapping[str, Any], progress: Progress) -> None:
        """Write a new last state; the previous one is kept.

        Args:
            parts: objects with a `state_dict`: network, optimiser, moving average.
            progress: of the training.

        Raises:
            UserError: the disk is full or cannot be written; earlier states are kept.
        """
        content = {"fingerprint": self.fingerprint, **asdict(progress)}
        content |= {name: part.state_dict() for name, part in parts.items()}
        with atomic(self.path) as temporary:
            try:
                torch.save(content, temporary)
            except RuntimeError as error:  # how torch reports a full disk
                raise OSError(errno.EIO, "torch could not write all of it") from error
            if self.path.exists():
                self.path.replace(self.previous)

    def resume(self, parts: Mapping[str, Any]) -> Progress:
        """Set `parts` to the last usable state of the same training, or leave them as they are.

        A state that is damaged, or that does not fit the network, is logged and set aside.

        Raises:
            UserError: it cannot be read from the disk.
        """
        for path in (self.path, self.previous):
            if path.exists() and (progress := self._resume_from(path, parts)) is not None:
                return progress
        return Progress(0, [], [])

    def _resume_from(self, path: Path, parts: Mapping[str, Any]) -> Progress | None:
        before = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
        try:
            content = _read(path)
            if content["fingerprint"] != self.fingerprint:
                log.info("%s belongs to other settings or data and is not used", path)
                return None
            progress = Progress(content["step"], content["history"], content["losses"])
            for name, part in parts.items():
                part.load_state_dict(content[name])
            return progress
        except OSError as error:
            raise UserError(
                path, f"cannot be read ({error.strerror or error})", "make it readable or delete it"
            ) from error
        except Exception as error:
            if out_of_memory(error):
                raise
            for name, part in parts.items():
                part.load_state_dict(before[name])
            path.replace(self.unusable)
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            log.warning("%s cannot be used (%s); set aside as %s", path, reason, self.unusable)
            return None

    def stop(self, error: UserError) -> None:
        """Note why the training must not be tried again as it is."""
        self._note(self.stopped, problem=error.problem, fix=error.fix)

    def refuse_if_stopped(self) -> None:
        """Raise the UserError that `stop` noted for the same training."""
        with suppress(KeyError):
            noted = self._noted(self.stopped)
            problem, fix = noted["problem"], noted["fix"]
            raise UserError("stopped on an earlier start, nothing is computed", problem, fix)

    def spend(self, began: float) -> float:
        """Note the seconds since a call began with the training; returns those of all its calls.

        `began`: in seconds since 1970. Where they cannot be written, the training goes on.
        """
        calls = self._noted(self.time).get("calls", {}) | {str(began): time.time() - began}
        with suppress(UserError):
            self._note(self.time, calls=calls)
        return sum(calls.values())

    def _note(self, path: Path, **facts: Any) -> None:
        with atomic(path) as temporary:
            write_whole(temporary, json.dumps({"fingerprint": self.fingerprint, **facts}).encode())

    def _noted(self, path: Path) -> dict[str, Any]:
        """The facts of `_note`; none where the file is missing, damaged or of another training."""
        with suppress(OSError, ValueError):
            noted = json.loads(path.read_text())
            if isinstance(noted, dict) and noted.get("fingerprint") == self.fingerprint:
                return noted
        return {}

    def clear(self) -> None:
        """Remove all of it when the training is finished, with the files of phases and killed processes.

        The lock goes with the process that holds it.
        """
        for path in self.path.parent.glob("*"):
            own = path.name.removeprefix(".").startswith(f"{self.path.stem}.")
            if own and path.suffix != ".lock":
                path.unlink(missing_ok=True)


def _read(path: Path) -> Any:
    """The content of a state, every byte checked: `torch.load` alone would not notice a changed weight."""
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} in it is damaged")
    return torch.load(path, weights_only=True, map_location="cpu")
