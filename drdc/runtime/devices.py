"""The device of a job, and exclusive GPUs for each job on a machine that several jobs share."""

from __future__ import annotations

import logging
import os
import platform
import re
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drdc.runtime.errors import UserError, first_line
from drdc.runtime.identity import fingerprint_of_text
from drdc.runtime.locks import lock, open_plain

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

log = logging.getLogger(__name__)
#: Descriptors of the claimed GPUs' lock files: open as long as the process lives.
_held: list[int] = []


def visible_gpus() -> list[str]:
    """Ids of the GPUs that this process may use: CUDA_VISIBLE_DEVICES where it is set, else all.

    Numbers, UUIDs and MIG names are kept as given, each device once. As for CUDA, -1 ends the list.
    """
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is None:
        return list(filter(str.isdigit, _listed()))
    names = [name.strip() for name in given.split(",")]
    if "-1" in names:
        names = names[: names.index("-1")]
    names = [name for name in names if name not in ("", "NoDevFiles")]
    listed = _listed() if names else {}
    first = {_device(name, listed): name for name in reversed(names)}
    return list(reversed(first.values()))


def _device(name: str, listed: dict[str, str]) -> str:
    """One name for each device, whether given by its number, its UUID, or the beginning of that."""
    name = str(int(name)) if name.isdecimal() else name.lower()
    found = {device for uuid, device in listed.items() if len(name) > 4 and uuid.startswith(name)}
    return listed.get(name) or (found.pop() if len(found) == 1 else name)


def _listed() -> dict[str, str]:
    """By number and UUID the UUID of each device; of a GPU in MIG mode, CUDA takes its first part."""
    try:
        command = ["nvidia-smi", "-L"]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    listed: dict[str, str] = {}
    for gpu in re.split(r"^(?=GPU \d)", answer, flags=re.M):
        number = re.match(r"GPU (\d+)", gpu)
        uuids = [uuid.lower() for uuid in re.findall(r"\(UUID: ([^)\s]+)\)", gpu)]
        if number is not None:
            whole, *parts = uuids or [number[1]]
            first = (parts or [whole])[0]
            listed |= {part: part for part in parts} | {number[1]: first, whole: first}
    return listed


def claim_gpus(count: int) -> list[str]:
    """Wait for `count` free GPUs, hold them until this process ends, and show only them to CUDA.

    Snakemake counts GPUs but does not assign them. Each GPU is a kernel lock on a file of this host, which is
    released with the process, however it ends; a job takes all its GPUs or none. A GPU is the same by its
    number, as `nvidia-smi` counts, and by its UUID. Jobs that see the same GPUs queue, so jobs of one GPU
    cannot pass a job of two for ever. The locks work among the jobs of one user and host. A SLURM job that
    sees as many GPUs as it requests has them to itself. Without GPUs there is nothing to claim, and the job
    computes on the CPU.

    Must be called before torch is imported.

    Returns:
        The ids of the claimed GPUs; all visible ones if `count` is 0.

    Raises:
        UserError: there are GPUs, but fewer than `count`; or the folder of the locks is unusable.
    """
    ids = visible_gpus()
    slurm_job = os.environ.get("SLURM_JOB_ID")
    if not count:
        return ids
    if not ids:
        log.info("no GPU is visible: computing on the CPU")
        return ids
    if count > len(ids):
        raise UserError(
            "",
            f"{count} GPUs are requested, but only {len(ids)} can be used here ({', '.join(ids)})",
            "request fewer, or list more in CUDA_VISIBLE_DEVICES",
        )
    if slurm_job and count == len(ids):
        log.info("computing on GPU %s of SLURM job %s", ", ".join(ids), slurm_job)
        return ids
    claimed = _wait_for_gpus(ids, count, slurm_job)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(claimed)
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    log.info("computing on GPU %s", ", ".join(claimed))
    return claimed


def _wait_for_gpus(ids: list[str], count: int, slurm_job: str | None) -> list[str]:
    folder = _lock_folder(slurm_job)
    listed = _listed()
    locks = {name: folder / f"gpu-{_short(_device(name, listed))}.lock" for name in ids}
    queue = folder / f"queue-{_short(*sorted(path.name for path in locks.values()))}.lock"
    try:
        with _alone(queue):
            while not (claimed := _try_claim(folder, locks, count)):
                time.sleep(0.2)
            return claimed
    except OSError as error:
        raise _no_locks(folder, error.strerror or str(error)) from error


def _lock_folder(slurm_job: str | None) -> Path:
    # The same number is another GPU on another host, and in another SLURM job: each has locks of its own.
    owner = [str(os.getuid()), platform.node(), *([slurm_job] if slurm_job else [])]
    folder = Path(tempfile.gettempdir(), "-".join(["drdc-gpus", *owner]))
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
    except FileExistsError:
        raise _no_locks(folder, "it is not a folder") from None
    except OSError as error:
        raise _no_locks(folder, error.strerror or str(error)) from error
    if not stat.S_ISDIR(about.st_mode):
        raise _no_locks(folder, "it is a link")
    if about.st_uid != os.getuid():
        raise _no_locks(folder, "it belongs to another user")
    return folder


def _no_locks(folder: Path, reason: str) -> UserError:
    return UserError(
        folder,
        f"the locks of the GPUs cannot be kept there ({reason})",
        "remove it, or set TMPDIR to another folder, the same for all jobs",
    )


def _short(*names: str) -> str:
    return fingerprint_of_text("\n".join(names))[:16]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    handle = open_plain(path)
    try:
        lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _try_claim(folder: Path, locks: dict[str, Path], count: int) -> list[str]:
    """The names of `count` free GPUs, now locked; none where there are fewer."""
    with _alone(folder / "gate.lock"):
        taken: dict[str, int] = {}
        for name, path in locks.items():
            handle = open_plain(path)
            if not lock(handle):
                os.close(handle)
                continue
            taken[name] = handle
            if len(taken) == count:
                _held.extend(taken.values())
                return list(taken)
        for handle in taken.values():
            os.close(handle)
        return []


@cache
def use_bf16(precision: str, device: torch.device | str) -> bool:
    """Whether to compute in bf16; `auto` where the hardware multiplies it natively."""
    kind = str(device).partition(":")[0]
    if precision != "auto":
        return precision == "bf16"
    if kind == "cuda":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and not {"amx_tile", "avx512_bf16"}.isdisjoint(_cpu().get("flags", "").split())


@cache
def compiles(setting: bool | str) -> bool:
    """Whether torch compiles a network before its training; `auto` on a GPU where Triton can.

    Raises:
        UserError: it is asked for, and torch or Triton finds no compiler.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    on_gpu = torch_device() == "cuda"
    if setting is True and not on_gpu:
        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            raise UserError(
                "compile", "torch finds no C++ compiler", "install g++, or choose false"
            ) from None
    if setting is False or not on_gpu:
        return setting is True
    if reason := _without_triton():
        if setting is True:
            raise UserError("compile", reason, "install gcc and Python's headers, or choose false")
        log.warning("networks are not compiled, which is slower: %s", reason)
    return not reason


def _without_triton() -> str:
    """Why Triton cannot compile for this GPU; "" if it can. It builds a helper in C when it is first used."""
    from torch.utils._triton import has_triton

    if not has_triton():
        return "Triton does not support this GPU"
    try:
        _ = import_module("triton.runtime").driver.active.utils  # comes with torch for GPUs
    except Exception as error:  # of a compiler, a header, a linker
        return f"Triton cannot compile its helper ({first_line(error)})"
    return ""


def torch_device() -> str:
    """`cuda` where torch can use a GPU, else `cpu`; from then on the same computation gives the same numbers.

    On a CPU with the same number of threads, and on a GPU of the same kind: of several algorithms for a layer
    torch chooses those that add in a fixed order (cuBLAS and cuDNN too). Where a GPU has none, as for the
    gradient of attention, torch warns in the log. Another device, number of threads or version of torch
    rounds differently.
    """
    import torch
    from torch.utils import deterministic

    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow, and read by nothing
    if torch.cuda.is_available():
        return "cuda"
    _warn_of_unused_gpus()
    return "cpu"


@cache  # said once, and asking nvidia-smi takes longer than a step of a small training
def _warn_of_unused_gpus() -> None:
    if ids := visible_gpus():
        log.warning("torch can use none of the visible GPUs (%s): computing on the CPU", ", ".join(ids))


def to_device(values: NDArray[Any] | Tensor) -> Tensor:
    """A copy on the device, made from pinned memory, so that a GPU need not wait for it."""
    import torch

    tensor = torch.as_tensor(values)
    return tensor if torch_device() == "cpu" else tensor.pin_memory().to("cuda", non_blocking=True)


def on_gpu() -> bool:
    """Whether torch computes on a GPU; imports torch only where the system has one."""
    if not any(any(Path("/dev").glob(pattern)) for pattern in ("nvidia[0-9]*", "kfd", "dxg")):
        return False
    import torch

    return torch.cuda.is_available()


def total_memory() -> int:
    """Bytes of this computer's memory."""
    import psutil

    return int(psutil.virtual_memory().total)


def device_name() -> str:
    """The device's name, for the records."""
    if on_gpu():
        import torch

        return torch.cuda.get_device_name()
    return _cpu().get("model name") or platform.processor() or "cpu"


@cache
def _cpu() -> dict[str, str]:
    """What Linux says of the first core."""
    try:
        first = Path("/proc/cpuinfo").read_text("utf-8").split("\n\n")[0]
    except OSError:
        return {}
    return {
        key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())
    }
