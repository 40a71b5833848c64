"""What is a mistake in the input, and what is one in the program."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from drdc.runtime.errors import UserError, UserErrors, enough_memory


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UserError(Path("a.png"), "is damaged", "replace it"), "a.png: is damaged; replace it"),
        (UserError("", "no GPU is free", "wait"), "no GPU is free; wait"),
        (UserError("a.png", "3 more", ""), "a.png: 3 more"),
    ],
)
def test_a_mistake_is_one_sentence_and_three_fields(error: UserError, sentence: str) -> None:
    assert str(error) == sentence
    again = pickle.loads(pickle.dumps(error))
    assert (again.subject, again.problem, again.fix) == (error.subject, error.problem, error.fix)


def test_who_knows_the_place_of_a_mistake_adds_it() -> None:
    one, other = UserError("", "is damaged", "replace it"), UserError("seeds", "is missing", "add it")
    assert str(one.within(Path("a.png"))) == "a.png: is damaged; replace it"
    both = UserErrors(one, other).within("a.yaml")
    assert str(both) == "a.yaml: is damaged; replace it\na.yaml: seeds: is missing; add it"
    assert both.fix == "replace it"
    assert str(pickle.loads(pickle.dumps(both))) == str(both)


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
    with pytest.raises(UserError) as caught, enough_memory("sampling.batch_size"):
        work()  # type: ignore[operator]
    assert re.match(r"out of memory \(.+\); lower sampling.batch_size or give", str(caught.value))
    assert "\n" not in str(caught.value)


def test_of_a_training_the_parts_of_a_batch_are_named_first() -> None:
    with (
        pytest.raises(UserError, match=r"; raise base.accumulation, lower base.batch_size or give the job"),
        enough_memory("base.batch_size", "base.accumulation"),
    ):
        _more_than_there_is_on_a_gpu()


@pytest.mark.parametrize(
    "error",
    [RuntimeError("shapes do not fit"), ValueError("x"), UserError("a.png", "bad image", "replace it")],
)
def test_other_errors_pass_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, enough_memory("diffusion.batch_size"):
        raise error
    assert caught.value is error
