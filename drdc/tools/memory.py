"""How many images of a batch fit into a GPU's memory at once."""

from __future__ import annotations

from drdc.tools.timing import Training, with_precision

#: Of the memory that is left to others: CUDA itself, kernels' workspaces, and gaps between tensors.
MARGIN = 0.15


def needed(training: Training, images: int, precision: str | None = None) -> float:
    """Bytes of a training step of so many images at once, by the tensors that are in use.

    `precision`: bf16 or fp32; None for this machine's.
    """
    return with_precision(training, precision).work(images).memory


def fitting(training: Training, memory: float, precision: str | None = None) -> int | None:
    """The largest part of a batch, one of its divisors, that fits into so many bytes; None if none does."""
    batch = training.settings.batch_size
    one, two = (needed(training, images, precision) for images in (1, 2))
    most = 1 + ((1 - MARGIN) * memory - one) / (two - one)
    return max((part for part in range(1, batch + 1) if batch % part == 0 and part <= most), default=None)
