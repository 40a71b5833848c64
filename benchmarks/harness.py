"""What a benchmark measures, and how: contestants in turn, in one process, the shortest of several rounds."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Whose CPU time counts: that of other processes alone where this one only looks on.
OTHERS = (resource.RUSAGE_CHILDREN,)
ALL = (resource.RUSAGE_SELF, *OTHERS)


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        tiny: as little as shows that a benchmark works.
        images: number of images where it is free.
    """

    tiny: bool = False
    images: int = 1000


@dataclass(frozen=True)
class Contestant:
    """One way to do the work.

    Attributes:
        name: in the table.
        run: does the work once and returns its result; None where its package is not installed.
        error: of a result, its largest deviation from the truth; None where there is none to compare with.
        peak: bytes of memory, of a result, where the work is another process's; None: see `Row.memory`.
        wanted: the limit that the project sets itself, in words.
        note: what is different here, in words.
    """

    name: str
    run: Callable[[], Any] | None
    error: Callable[[Any], float] | None = None
    peak: Callable[[Any], float] | None = None
    wanted: str = ""
    note: str = ""


@dataclass(frozen=True)
class Race:
    """Work that several contestants do.

    Attributes:
        what: the work, in words.
        unit: what the seconds are of: image, step, ...
        contestants: the first is the one that the others are compared with.
        units: number of units in one run.
        flops: floating-point operations of a unit, 2 for a multiply-add; None where that says nothing.
        rounds: how often each contestant runs, after one run to warm up; 1 for a single run.
    """

    what: str
    unit: str
    contestants: Sequence[Contestant]
    units: int = 1
    flops: float | None = None
    rounds: int = 5


@dataclass(frozen=True)
class Row:
    """What was measured of a contestant; NaN where there is nothing.

    Attributes:
        seconds, cpu_seconds: of a unit, the shortest: wall-clock time, and CPU time of threads and children.
        ratio: seconds as multiples of the first contestant's, where there are others.
        memory: bytes by which the process (and the GPU's memory) grew during the first measured run at
            most, or the peak of another process that did the work.
        error: see `Contestant`.
        flops: floating-point operations a second.
    """

    what: str
    contestant: str
    unit: str
    seconds: float
    cpu_seconds: float
    ratio: float
    memory: float
    error: float
    flops: float
    wanted: str
    note: str


def measured(race: Race) -> list[Row]:
    """Run all contestants in turn, round by round, so that other load on the machine meets all of them."""
    results = [_Result() for _ in race.contestants]
    for number in range(-1 if race.rounds > 1 else 0, race.rounds):  # -1 warms up
        for contestant, result in zip(race.contestants, results, strict=True):
            if contestant.run is not None:
                result.add(contestant, number)
    first = results[0].shortest()[0]
    return [
        _row(race, contestant, result, first)
        for contestant, result in zip(race.contestants, results, strict=True)
    ]


@dataclass
class _Result:
    """What is known of one contestant."""

    times: list[NDArray[np.float64]] = field(default_factory=list)
    memory: float = np.nan
    error: float = np.nan

    def add(self, contestant: Contestant, number: int) -> None:
        assert contestant.run is not None
        gc.collect()
        before = _settled() if number == 0 else 0
        whose = OTHERS if contestant.peak else ALL
        started = _clock(whose)
        found = contestant.run()
        times = _clock(whose) - started
        if number < 0:
            return
        self.times.append(times)
        if number == 0:
            self.memory = contestant.peak(found) if contestant.peak else _peak() - before
            self.error = contestant.error(found) if contestant.error else np.nan

    def shortest(self) -> NDArray[np.float64]:
        """Wall-clock and CPU seconds of a run."""
        return np.min(self.times, axis=0) if self.times else np.full(2, np.nan)


def _row(race: Race, contestant: Contestant, result: _Result, first: float) -> Row:
    seconds, cpu_seconds = (float(value) for value in result.shortest())
    return Row(
        what=race.what,
        contestant=contestant.name,
        unit=race.unit,
        seconds=seconds / race.units,
        cpu_seconds=cpu_seconds / race.units,
        ratio=seconds / first if len(race.contestants) > 1 else np.nan,
        memory=result.memory,
        error=result.error,
        flops=(race.flops or np.nan) * race.units / seconds,
        wanted=contestant.wanted,
        note="not installed" if contestant.run is None else contestant.note,
    )


def installed(package: str, run: Callable[[], Any]) -> Callable[[], Any] | None:
    """`run`, or None where the package that it needs is not installed."""
    return run if find_spec(package) else None


def _clock(whose: Sequence[int]) -> NDArray[np.float64]:
    """Wall-clock and CPU seconds, of this process or children that have ended; the GPU has done its work."""
    if (cuda := _cuda()) is not None:
        cuda.synchronize()
    used = [resource.getrusage(who) for who in whose]
    return np.array([time.perf_counter(), sum(one.ru_utime + one.ru_stime for one in used)])


def _cuda() -> Any:
    """`torch.cuda` where a GPU can be used, else None."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _settled() -> float:
    """Bytes that the process and the GPU hold now; free memory is given back, and the peaks begin here."""
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")
    if (cuda := _cuda()) is not None:
        cuda.reset_peak_memory_stats()
    return _status("VmRSS") + (cuda.memory_allocated() if cuda is not None else 0)


def _peak() -> float:
    """The largest number of bytes that the process and the GPU have held since `_settled`."""
    cuda = _cuda()
    return _status("VmHWM") + (cuda.max_memory_allocated() if cuda is not None else 0)


def peak_of(
    command: Sequence[str | Path],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    kind: str = "VmHWM",
) -> float:
    """Run a command to its end; the largest memory of its process in bytes, by a hundred looks a second.

    What the system itself notes of an ended process begins with the size of the one that started it.

    Args:
        kind: as Linux names it: `VmHWM` for all resident memory, `RssAnon` for what is not of files.

    Raises:
        RuntimeError: it failed, with what it printed.
    """
    with TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | dict(environment or {}),
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _status(kind, process.pid))
            time.sleep(0.01)
        if process.returncode:
            printed.seek(0)
            raise RuntimeError(f"{' '.join(map(str, command))}\n{printed.read()}")
    return peak


def _status(name: str, process: int | str = "self") -> float:
    """A size that Linux notes of a process, in bytes; 0 when it has ended, NaN on other systems."""
    if not Path("/proc/self/status").exists():
        return np.nan
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024.0 * int(dict(line.split(":", 1) for line in lines).get(name, "0 kB").split()[0])


def python(*arguments: str | Path) -> list[str | Path]:
    """The command that runs this Python with these arguments."""
    return [sys.executable, *arguments]
