"""Where a number comes from: code, configuration, libraries, device and its rounding."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import drdc
from drdc.config.diffusion import Diffusion
from drdc.experiment.stage_settings import config_hash
from drdc.runtime.devices import device_name, on_gpu, use_bf16

LIBRARIES = ("torch", "timm", "diffusers", "numpy", "scipy", "snakemake")


def provenance(settings: dict[str, Any]) -> dict[str, str]:
    """What a number depends on besides the data: code, configuration, libraries, device and its rounding."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES]
    return {
        "code_version": drdc.__version__,
        "config_hash": config_hash(settings),
        "versions": "; ".join([f"python {platform.python_version()}", *versions]),
        "device": device_name(),
        "flags": _flags(settings.get("diffusion")),
    }


def _flags(diffusion: Diffusion | None) -> str:
    """How the device computes: always alike (`torch_device` sees to that), and where with fewer digits."""
    gpu = on_gpu()
    flags = {"deterministic": True, "tf32": gpu and _tf32()}
    if diffusion is not None:
        flags["bf16"] = use_bf16(diffusion.precision, "cuda" if gpu else "cpu")
    return "; ".join(f"{name} {'on' if on else 'off'}" for name, on in flags.items())


def _tf32() -> bool:
    import torch

    return torch.backends.cudnn.allow_tf32
