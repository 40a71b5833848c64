"""Which device a job computes on, and one GPU for one job on a machine that several jobs share."""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)
_held: list[FileLock] = []


def visible_gpus() -> list[str]:
    """Ids of the GPUs that this process may use: CUDA_VISIBLE_DEVICES where it is set, else all."""
    if (given := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number, _ in enumerate(listed.splitlines())]


def claim_gpus(count: int) -> list[str]:
    """Wait for `count` free GPUs, hold them until this process ends, and show only them to CUDA.

    Snakemake counts GPUs but gives out none. Each GPU is a kernel lock on a file of this host, which is gone
    with the process, however it ends; one more lock lets a job take all its GPUs or none. Under SLURM the
    scheduler has chosen already, and without GPUs there is nothing to claim.

    Must be called before torch is imported.
    """
    ids = visible_gpus()
    if not count or not ids or "SLURM_JOB_ID" in os.environ:
        return ids
    if count > len(ids):
        log.warning("%d GPUs asked for, %d visible: continuing with these", count, len(ids))
        count = len(ids)
    folder = Path(tempfile.gettempdir(), f"drdc-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    while not (claimed := _try_claim(folder, ids, count)):
        time.sleep(0.5)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(claimed)
    log.info("computing on GPU %s", ", ".join(claimed))
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


def torch_device() -> str:
    """`cuda` where a GPU is visible, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    """What the device is called, for the records."""
    import platform

    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        text = Path("/proc/cpuinfo").read_text()
        return next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "cpu"
