"""The machine and the software that something was measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

import drdc

ROOT = Path(__file__).parents[1]
#: Of the flags of /proc/cpuinfo those that matter for the networks and for sorting.
INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16", "sve")
LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "torchmetrics",
    "anomalib",
    "ADEval",
    "diffusers",
    "snakemake",
)


def machine(threads: int) -> dict[str, str]:
    """Processor, instruction sets, cores, memory, GPU, threads that were used, and versions of libraries."""
    from drdc.runtime.devices import torch_device

    found = {
        "processor": _noted("model name") or platform.processor() or platform.machine(),
        "instruction sets": ", ".join(_instruction_sets()),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "threads": str(threads),
        "libraries": "; ".join(
            [f"python {platform.python_version()}", *filter(None, map(_version, LIBRARIES))]
        ),
    }
    if torch_device() == "cuda":
        import torch

        found["GPU"] = torch.cuda.get_device_name()
    return found


def name_of(about: dict[str, str]) -> str:
    """A file name for the kind of machine."""
    largest = about["instruction sets"].split(", ")[-1]
    text = f"{about.get('GPU', about['processor'])} {largest} {about['cores']} cores"
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")


def code() -> str:
    """The commit that was measured, with `+` where the code differs from it; without git the version."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
        )
        same = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", "drdc", "benchmarks"], check=False)
    except (OSError, subprocess.CalledProcessError):
        return drdc.__version__
    return commit.stdout.strip() + ("+" if same.returncode else "")


def _instruction_sets() -> list[str]:
    flags = (_noted("flags") or _noted("Features")).split()
    return [name for name in INSTRUCTION_SETS if name in flags]


def _noted(name: str) -> str:
    """What /proc/cpuinfo notes of the first core."""
    path = Path("/proc/cpuinfo")
    text = path.read_text() if path.exists() else ""
    found = re.search(rf"^{name}\s*:\s*(.*)$", text, re.M)
    return found[1].strip() if found else ""


def _version(library: str) -> str:
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return ""
