"""What contestants compute with: torch's defaults, or ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from drdc.runtime.devices import torch_device, use_bf16

Result = TypeVar("Result")


def plain(run: Callable[[], Result]) -> Callable[[], Result]:
    """`run` without the deterministic algorithms that drdc asks torch for, as its user would have it."""

    def run_plainly() -> Result:
        ours = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(False)
        try:
            return run()
        finally:
            torch.use_deterministic_algorithms(ours, warn_only=True)

    return run_plainly


def in_bf16(precision: str) -> str:
    """A note where drdc computes in bf16 on this machine; the others compute in float32."""
    return "bf16" if use_bf16(precision, torch.device(torch_device())) else ""
