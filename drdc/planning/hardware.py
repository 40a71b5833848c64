"""GPUs that are not at hand: what their makers say of them, and how long operations take on them at that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from drdc.planning.operations import Operation, Work

#: Assumed, not measured: seconds of the host for each kernel of PyTorch.
LAUNCH_SECONDS = 8e-6
#: Assumed, not measured: what is left of kernels without matrix products, and of their traffic, where torch
#: compiles the network and joins them with their neighbours.
FUSED = 1 / 3


@dataclass(frozen=True)
class Efficiency:
    """Shares of the published rates that a computation is assumed to reach.

    Attributes:
        compute: of the peak of convolutions and matrix products.
        bandwidth: of the memory's bandwidth.
    """

    compute: float = 0.5
    bandwidth: float = 0.8


@dataclass(frozen=True)
class Gpu:
    """A GPU by its data sheet: dense rates, without sparsity, at the accumulation in 32 bits that torch uses.

    Attributes:
        title: its name.
        half, single: operations a second in bf16 (tensor cores) and in fp32.
        bandwidth: of its memory, bytes a second.
        memory: bytes.
        bf16: whether it multiplies bf16 natively; without, DRDC computes in fp32, see
            `drdc.runtime.devices.use_bf16`.
        source: of these numbers.
    """

    title: str
    half: float
    single: float
    bandwidth: float
    memory: float
    bf16: bool
    source: str

    def seconds(self, work: Work, efficiency: Efficiency, compiled: bool = False) -> float:
        """Of one step: each kernel is bound by arithmetic or by memory, all of them together by the host.

        `compiled`: whether torch compiles the network.
        """
        kernels = sum(self._seconds(one, efficiency) * _left(one, compiled) for one in work.operations)
        return max(kernels, LAUNCH_SECONDS * sum(_left(one, compiled) for one in work.operations))

    def _seconds(self, one: Operation, efficiency: Efficiency) -> float:
        rate = self.half if one.half and self.bf16 else self.single
        arithmetic = one.flops / (rate * efficiency.compute)
        return max(arithmetic, one.bytes / (self.bandwidth * efficiency.bandwidth))


def _left(one: Operation, compiled: bool) -> float:
    return FUSED if compiled and not one.flops else 1.0


#: By the names that `--gpu` takes.
GPUS = {
    "h100": Gpu(
        *("H100 SXM 80 GB", 989e12, 67e12, 3.35e12, 80e9, True),
        "NVIDIA H100 data sheet",
    ),
    "a100": Gpu(
        *("A100 SXM 80 GB", 312e12, 19.5e12, 2.04e12, 80e9, True),
        "NVIDIA A100 data sheet",
    ),
    "rtx4090": Gpu(
        *("RTX 4090 24 GB", 165e12, 82.6e12, 1.01e12, 24e9, True),
        "NVIDIA Ada architecture white paper",
    ),
    "rtx2080ti": Gpu(
        *("RTX 2080 Ti 11 GB", 53.8e12, 13.4e12, 0.616e12, 11e9, False),
        "NVIDIA Turing architecture white paper",
    ),
}
