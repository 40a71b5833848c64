"""What a step of a network asks of a machine, counted without computing it.

torch's fake tensors have shapes and no values, so that the paper's networks are counted in seconds on any
computer: the operations as torch dispatches them, what each reads and writes, and the memory in use at once.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

#: Bytes that a step of AdamW moves for each parameter: it reads weight, gradient and moments, writes all but
#: the gradient (28), after the gradient is measured and clipped (12); the moving average follows (12).
UPDATE_BYTES = 52
#: Bytes for each parameter in use all the time, in addition to the weight: gradient, both moments, moving
#: average.
KEPT_BYTES = 16


@dataclass(frozen=True)
class Operation:
    """One call of a kernel.

    Attributes:
        flops: 2 for a multiply-add; those of convolutions and matrix products alone.
        bytes: of all tensors that it reads and writes.
        half: whether it computes in 16 bits.
    """

    flops: int
    bytes: int
    half: bool


@dataclass(frozen=True)
class Work:
    """The operations of a step, and the most bytes in use at once."""

    operations: tuple[Operation, ...]
    memory: int

    @property
    def flops(self) -> int:
        return sum(one.flops for one in self.operations)

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.operations)

    def scaled(self, factor: float) -> Work:
        """The same kernels on `factor` times as many images."""
        own = (Operation(int(o.flops * factor), int(o.bytes * factor), o.half) for o in self.operations)
        return Work(tuple(own), int(self.memory * factor))


class Recorder(TorchDispatchMode):
    """Records every operation of torch while it is active, of real or fake tensors.

    Attributes:
        operations: so far.
        live, peak: bytes of all tensors since it became active, now and at most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.live = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        inputs, outputs = _tensors((args, kwargs)), _tensors(found)
        created = [self._track(tensor) for tensor in outputs]
        if (any(created) or function._schema.is_mutable) and not _only_allocates(function):
            self._record(function, args, kwargs or {}, found, [*inputs, *outputs])
        return found

    def _record(self, function: Any, args: Any, kwargs: Any, found: Any, tensors: list[Tensor]) -> None:
        count = flop_registry.get(function._overloadpacket)
        flops = count(*args, **kwargs, out_val=found) if count else 0
        half = any(tensor.dtype in (torch.bfloat16, torch.float16) for tensor in tensors)
        self.operations.append(Operation(flops, sum(t.numel() * t.element_size() for t in tensors), half))

    def _track(self, tensor: Tensor) -> bool:
        """Whether its memory is new."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return False
        self._known.add(storage)
        size = storage.nbytes()
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._release, size)
        return True

    def _release(self, size: int) -> None:
        self.live -= size


def training_work(build: Callable[[], nn.Module], inputs: Callable[[], Iterable[Tensor]]) -> Work:
    """A training step of a network: forward, backward, and the update of the weights by AdamW.

    Args:
        build: gives the network.
        inputs: gives the arguments of its `forward` for a batch.
    """

    def step(network: nn.Module) -> None:
        network.train()
        network(*inputs()).square().mean().backward()

    recorder, parameters = _recorded(build, step)
    size = sum(p.numel() for p in parameters)
    update = [Operation(0, UPDATE_BYTES * p.numel(), False) for p in parameters]
    return Work((*recorder.operations, *update), recorder.peak + KEPT_BYTES * size)


def inference_work(build: Callable[[], nn.Module], inputs: Callable[[], Iterable[Tensor]]) -> Work:
    """One call of a network in use; arguments as `training_work`."""

    def step(network: nn.Module) -> None:
        network.eval()
        with torch.no_grad():
            network(*inputs())

    recorder, _ = _recorded(build, step)
    return Work(tuple(recorder.operations), recorder.peak)


def _recorded(
    build: Callable[[], nn.Module], step: Callable[[nn.Module], None]
) -> tuple[Recorder, list[nn.Parameter]]:
    """The recorder of a step, without the operations that build the network but with its memory."""
    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode())
        recorder = stack.enter_context(Recorder())
        network = build()
        recorder.operations.clear()
        step(network)
    return recorder, [p for p in network.parameters() if p.requires_grad]


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _only_allocates(function: Any) -> bool:
    """`empty`, `new_empty_strided` and the like read and write nothing."""
    return "empty" in function._schema.name
