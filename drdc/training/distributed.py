"""One training in several processes, one for each GPU: torchrun's engine and DistributedDataParallel.

Every process draws the randomness of the whole batch and computes its own share of it, so that the result is
that of one process up to rounding. Dropout alone is drawn by each process for itself.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.multiprocessing import _prctl_pr_set_pdeathsig  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel

from drdc.runtime.errors import UserError
from drdc.runtime.logs import log_to_stderr

#: File by which a process reports bad input, next to the others of its rank.
_MISTAKE = "mistake{}.json"


@dataclass(frozen=True)
class Group:
    """The processes of one training; by default a single one, for which all of this does nothing.

    Attributes:
        rank: number of this process, from 0; the first alone writes files and log.
        count: number of processes.
    """

    rank: int = 0
    count: int = 1

    def parts(self, batch: int, accumulation: int) -> list[slice]:
        """This process's parts of a batch, to be computed one after another, all of the same size.

        The batch is divided among the processes, and each share into `accumulation` parts; its size is a
        multiple of both numbers together.
        """
        size = batch // (self.count * accumulation)
        first = self.rank * accumulation
        return [slice(part * size, (part + 1) * size) for part in range(first, first + accumulation)]

    def last(self, network: nn.Module, last: bool) -> AbstractContextManager[None]:
        """In it a backward pass adds to the gradient, and that of the `last` part averages over processes."""
        alone = last or self.count == 1
        return nullcontext() if alone else cast(DistributedDataParallel, network).no_sync()

    def wrap(self, model: nn.Module) -> nn.Module:
        """The network whose backward pass averages the gradients of all processes."""
        return DistributedDataParallel(model) if self.count > 1 else model

    def mean(self, value: Tensor) -> Tensor:
        """Mean of a scalar without gradient over all processes."""
        if self.count > 1:
            dist.all_reduce(value)
        return value / self.count

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            dist.barrier()


def launch(processes: int, worker: Callable[[Group], None]) -> None:
    """Call `worker` in this process, or in several new ones that end with this one, however it ends.

    Args:
        processes: how many; with GPUs, as many as are visible.
        worker: a function of a module, or a `functools.partial` of one with plain arguments.

    Raises:
        UserError: raised by a worker.
    """
    if processes == 1:
        worker(Group())
        return
    _silence("torch.distributed.elastic", "torch.multiprocessing.spawn")
    with tempfile.TemporaryDirectory(prefix="drdc-processes-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            signals_to_handle="SIGTERM",
            logs_specs=DefaultLogsSpecs(log_dir=folder),
        )
        try:
            elastic_launch(config, _work)(worker, Path(folder))
        except SignalException as error:
            sys.exit(128 + error.sigval)
        except ChildFailedError as error:
            raise _cause(Path(folder), error) from None


def _silence(*loggers: str) -> None:
    """The engine logs each failure with its traceback; `launch` raises what the user has to know."""
    for name in loggers:
        logging.getLogger(name).propagate = False
        logging.getLogger(name).addHandler(logging.NullHandler())


def _work(worker: Callable[[Group], None], folder: Path) -> None:
    """The work of each new process; bad input is reported as a file in `folder`."""
    # torch asks for SIGINT, which a process that waits for its GPU or for the others would not see
    _prctl_pr_set_pdeathsig(signal.SIGKILL)
    group = Group(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    log_to_stderr(logging.INFO if group.rank == 0 else logging.ERROR)
    if torch.cuda.is_available():
        torch.cuda.set_device(group.rank)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        worker(group)
    except UserError as error:
        fields = [error.subject, error.problem, error.fix]
        (folder / _MISTAKE.format(group.rank)).write_text(json.dumps(fields))
        raise
    finally:
        dist.destroy_process_group()


def _cause(folder: Path, error: ChildFailedError) -> Exception:
    """The first cause among the errors of the processes: once one has failed, the others fail too."""
    for path in sorted(folder.glob(_MISTAKE.format("*"))):
        return UserError(*json.loads(path.read_text()))
    reports = [json.loads(path.read_text())["message"] for path in sorted(folder.rglob("error.json"))]
    traces = [report["extraInfo"]["py_callstack"] for report in reports]
    return RuntimeError("\n".join(traces) or str(error))
