"""The networks compute what they did when they agreed with the authors' code (docs/parity.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cases import CASES, computed
from safetensors.torch import load_file

GOLDEN = Path(__file__).with_name("golden.safetensors")


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_agreed_with_the_public_code(name: str) -> None:
    expected = {
        key.partition(".")[2]: value for key, value in load_file(GOLDEN).items() if key.startswith(f"{name}.")
    }
    given = computed(name)
    assert given.keys() == expected.keys()
    for key, value in expected.items():
        scale = value.abs().max().item()
        torch.testing.assert_close(
            given[key], value, rtol=1e-4, atol=1e-4 * scale, msg=lambda text, k=key: f"{k}: {text}"
        )
