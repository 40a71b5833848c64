"""What is a mistake in the input, and what is one in the program."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from drdc.runtime.errors import UserError, enough_memory


def _more_than_there_is_by_numpy() -> None:
    np.zeros(2**60, np.uint8)


def _more_than_there_is_by_torch() -> None:
    torch.empty(2**60, dtype=torch.uint8)


def _more_than_there_is_on_a_gpu() -> None:
    """As torch says it, where there is no GPU to fill."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has\nmore lines")


@pytest.mark.parametrize(
    "work", [_more_than_there_is_by_numpy, _more_than_there_is_by_torch, _more_than_there_is_on_a_gpu]
)
def test_too_little_memory_is_one_sentence_with_the_key(work: object) -> None:
    with pytest.raises(UserError) as caught, enough_memory("diffusion.batch_size"):
        work()  # type: ignore[operator]
    assert re.match(r"out of memory \(.+\); lower diffusion.batch_size", str(caught.value))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not fit"), ValueError("x"), UserError("bad image")]
)
def test_other_errors_pass_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, enough_memory("diffusion.batch_size"):
        raise error
    assert caught.value is error
