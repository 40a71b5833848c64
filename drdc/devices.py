"""Which device a job computes on, and GPUs of its own for each job on a machine that several jobs share."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from drdc.errors import UserError

log = logging.getLogger(__name__)
_held: list[FileLock] = []


def visible_gpus() -> list[str]:
    """Ids of the GPUs that this process may use: CUDA_VISIBLE_DEVICES where it is set, else all.

    Numbers, UUIDs and MIG names stand as they were given, each once. As for CUDA, -1 ends the list.
    """
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        names = [name.strip() for name in given.split(",")]
        if "-1" in names:
            names = names[: names.index("-1")]
        return list(dict.fromkeys(name for name in names if name not in ("", "NoDevFiles")))
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    gpus = [line for line in listed.splitlines() if line.startswith("GPU ")]  # below each, its MIG devices
    return [str(number) for number, _ in enumerate(gpus)]


def claim_gpus(count: int) -> list[str]:
    """Wait for `count` free GPUs, hold them until this process ends, and show only them to CUDA.

    Snakemake counts GPUs but gives out none. Each GPU is a kernel lock on a file of this host, which is gone
    with the process, however it ends; a job takes all its GPUs or none. Jobs that see the same GPUs queue,
    so jobs of one GPU cannot pass a job of two for ever. The locks hold among the jobs of one user and host.
    A SLURM job that sees as many GPUs as it asks for has them to itself. Without GPUs there is nothing to
    claim, and the job computes on the CPU.

    Must be called before torch is imported.

    Returns:
        The ids of the claimed GPUs; all visible ones if `count` is 0.

    Raises:
        UserError: there are GPUs, but fewer than `count`.
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
            f"{count} GPUs are asked for, but only {len(ids)} can be used here ({', '.join(ids)}); "
            "ask for fewer, or show more in CUDA_VISIBLE_DEVICES"
        )
    if slurm_job and count == len(ids):
        log.info("computing on GPU %s of SLURM job %s", ", ".join(ids), slurm_job)
        return ids
    claimed = _wait_for_gpus(ids, count, slurm_job)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(claimed)
    log.info("computing on GPU %s", ", ".join(claimed))
    return claimed


def _wait_for_gpus(ids: list[str], count: int, slurm_job: str | None) -> list[str]:
    # The same number is another GPU on another host, and in another SLURM job: each has locks of its own.
    owner = [str(os.getuid()), platform.node(), *([slurm_job] if slurm_job else [])]
    folder = Path(tempfile.gettempdir(), "-".join(["drdc-gpus", *owner]))
    folder.mkdir(mode=0o700, exist_ok=True)
    queue = hashlib.sha256(",".join(sorted(ids)).encode()).hexdigest()[:16]
    with FileLock(folder / f"queue-{queue}.lock"):
        while not (claimed := _try_claim(folder, ids, count)):
            time.sleep(0.2)
        return claimed


def _try_claim(folder: Path, ids: list[str], count: int) -> list[str]:
    with FileLock(folder / "gate.lock"):
        taken: list[tuple[str, FileLock]] = []
        for name in ids:
            lock = FileLock(folder / f"{name.replace('/', '_')}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                continue
            taken.append((name, lock))
            if len(taken) == count:
                _held.extend(lock for _, lock in taken)
                return [name for name, _ in taken]
        for _, lock in taken:
            lock.release()
        return []


@cache
def torch_device() -> str:
    """`cuda` where torch can use a GPU, else `cpu`; from then on the same computation gives the same numbers.

    On a CPU with the same number of threads, and on a GPU of the same kind: of several algorithms for a layer
    torch takes those that add in a fixed order (cuBLAS and cuDNN too). Where a GPU has none, torch warns in
    the log. Another device, number of threads or version of torch rounds differently.
    """
    import torch
    from torch.utils import deterministic

    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # slow, and read by nothing
    if torch.cuda.is_available():
        return "cuda"
    if ids := visible_gpus():
        log.warning("torch can use none of the visible GPUs (%s): computing on the CPU", ", ".join(ids))
    return "cpu"


def device_name() -> str:
    """What the device is called, for the records."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        text = Path("/proc/cpuinfo").read_text()
        return next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "cpu"
