"""What a training of drdc hands to its loop: to run as many of its real steps as are to be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any
from unittest.mock import patch

from drdc.training.loop import train


class _Handed(Exception):
    """Instead of the loop: task, job and group."""


def steps_of(module: ModuleType, start: Callable[[], Any], steps: int) -> Callable[[], Any]:
    """A function that trains for `steps` steps, without validation.

    Args:
        module: of the training, which imports `drdc.training.loop.train` by this name.
        start: begins the training.
    """

    def hand(*arguments: Any) -> None:
        raise _Handed(*arguments)

    with patch.object(module, "train", hand):
        try:
            start()
        except _Handed as handed:
            task, job, group = handed.args
    few = replace(task, images=steps * job.settings.batch_size, held_out_loss=lambda network: 0.0)
    return lambda: train(few, job, group)
