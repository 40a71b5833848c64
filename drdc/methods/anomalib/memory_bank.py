"""Models of anomalib that collect the features of all training images, and what memory that takes."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from importlib import import_module
from io import StringIO
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from drdc.methods.anomalib.adapter import Adapter, all_seeded, fitting_images, giving_losses
from drdc.methods.interface import History, Method
from drdc.methods.trainer import Trainer
from drdc.runtime.batching import progress_bar
from drdc.runtime.errors import UserError

log = logging.getLogger(__name__)


class MemoryBank(Adapter):
    """A model that collects features of all training images, and computes its buffers from them.

    All categories go into one bank. RAD has one for each category in anomalib, and one for all of a dataset
    in the multi-class setting of its paper, as here: the images that it retrieves may be of any category.
    """

    def fit(self, method: Method, trainer: Trainer) -> History:
        count = len(trainer.inputs.images.train)
        with torch.no_grad(), giving_losses(self.lightning), fitting_images(self.settings):
            for number, (images, _) in enumerate(trainer.batches()):
                self.lightning.model(self.prepared(images))
                if number == 0:
                    self._refuse_without_memory(count, images)
        # no other progress bar in logs
        quiet = nullcontext() if sys.stderr.isatty() else redirect_stderr(StringIO())
        with all_seeded(), _selection_tells(), quiet:
            self.lightning.fit()
        return []

    def _refuse_without_memory(self, count: int, images: Tensor) -> None:
        """Log what the features of all `count` images need, given those of the first batch.

        The bank is joined from the batches, so that both are there at once: the least that any model needs.
        """
        parts = collected(self.lightning.model)
        whole = sum(part.nbytes for part in parts) * count // len(images)
        needed = Counter({part.device: whole for part in parts[:1]})
        needed[images.device] += whole
        for device, size in needed.items():
            free = available(device)
            told = (
                f"the features of {count:,} images need at least {size / 1e9:.1f} GB of memory "
                f"({whole / count / 1e6:.2f} MB an image), {free / 1e9:.1f} GB are free"
            )
            if size > free:
                raise UserError(
                    "",
                    f"anomalib's {self.settings.model} cannot be fitted here: {told}",
                    "give the job more memory, lower input_size, or choose fewer or coarser layers "
                    "(a smaller coreset needs as much: it is chosen from all of them)",
                )
            log.info("%s: %s", self.settings.model, told)


@contextmanager
def _selection_tells() -> Iterator[None]:
    """The greedy selection of patches, which can take hours, logs its progress as every other long work."""
    selection: Any = import_module("anomalib.models.components.sampling.k_center_greedy")
    theirs = selection.tqdm
    selection.tqdm = lambda steps, **_: progress_bar(steps, unit="patches")
    try:
        yield
    finally:
        selection.tqdm = theirs


def collected(network: nn.Module) -> list[Tensor]:
    """The tensors in the lists of a network and its parts: the features that it has collected."""

    def within(value: Any) -> list[Tensor]:
        if isinstance(value, list):
            return [tensor for one in value for tensor in within(one)]
        return [value] if isinstance(value, Tensor) else []

    lists = (value for part in network.modules() for value in vars(part).values() if isinstance(value, list))
    return [tensor for one in lists for tensor in within(one)]


def available(device: torch.device) -> int:
    """Bytes that this process can still allocate there, as far as the machine or the GPU says."""
    if device.type != "cuda":
        return psutil.virtual_memory().available
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused
