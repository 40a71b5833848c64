"""What contestants other than ours compute with: torch's own defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

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
