"""Where a number comes from: code, configuration, libraries, device and its rounding."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import torch

import drdc
from drdc.config.diffusion import Diffusion
from drdc.experiment.stage_settings import config_hash
from drdc.runtime.devices import device_name, torch_device, use_bf16

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
    """How the device computes: whether always alike, and where with fewer digits."""
    device = torch.device(torch_device())
    flags = {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "tf32": device.type == "cuda" and torch.backends.cudnn.allow_tf32,
    }
    if diffusion is not None:
        flags["bf16"] = use_bf16(diffusion.precision, device)
    return "; ".join(f"{name} {'on' if on else 'off'}" for name, on in flags.items())
