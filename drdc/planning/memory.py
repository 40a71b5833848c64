"""How many images of a batch fit into a GPU's memory at once."""

from __future__ import annotations

from drdc.planning.timing import Training, part_within

#: Share of the memory for what is not counted: CUDA, workspaces of kernels, gaps between tensors. On a CPU, a
#: step took 1.01 to 1.35 times what was counted.
MARGIN = 0.25


def fitting(training: Training, memory: float, precision: str | None = None) -> int:
    """The largest part of a batch, a divisor of it, that fits into so many bytes; 0 if not one image does.

    The memory of a step grows linearly with its images. `precision`: see `Training.work`.
    """
    one, two = (training.work(images, precision).memory for images in (1, 2))
    most = 1 + ((1 - MARGIN) * memory - one) / (two - one)
    return part_within(training.settings.batch_size, most) if most >= 1 else 0
