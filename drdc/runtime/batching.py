"""Long work in batches of rows, items in a pool of threads, a progress bar."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
#: A line of progress in a log, which `drdc status` and the workflow read.
LINE = "progress: %d of %d %s, %.0f s left"
#: Seconds between two such lines, at least, and the part of the time that has passed.
TOLD_AFTER, TOLD_AGAIN = 10.0, 0.02


def chunks(rows: Sequence[int] | NDArray[np.int64], size: int = 32) -> Iterator[NDArray[np.int64]]:
    """Rows in batches of at most `size`, so that memory does not grow with the number of images."""
    for start in range(0, len(rows), size):
        yield np.asarray(rows[start : start + size])


def progress_bar(
    items: Sequence[Item], first: int = 0, images: int = 1, unit: str = "images"
) -> Iterator[Item]:
    """The items, with a progress bar on a terminal, and in a log a line now and then, see `LINE`.

    Args:
        items: what remains to be done.
        first: number of items that were done before.
        images: in an item; the last may have fewer.
        unit: what they are, if not images.
    """
    total = first + len(items)
    if sys.stderr.isatty() and log.isEnabledFor(logging.INFO):
        yield from tqdm(items, initial=first, total=total)
        return
    started = told = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - told >= max(TOLD_AFTER, TOLD_AGAIN * (now - started)):
            left = (now - started) / done * (len(items) - done)
            log.info(LINE, (first + done) * images, total * images, unit, left)
            told = now
        yield item


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`map` over a pool of threads: results in the order of `items`, only a few of them computed ahead.

    Pillow decodes without holding the interpreter's lock. At most two items for each worker are in flight, so
    that memory does not grow with their number; with one worker there is no pool.
    """
    if workers < 2:
        yield from map(function, items)
        return
    rest = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        flight: deque[Future[Result]] = deque()
        flight.extend(pool.submit(function, item) for item in islice(rest, 2 * workers))
        try:
            while flight:
                yield flight.popleft().result()
                flight.extend(pool.submit(function, item) for item in islice(rest, 1))
        finally:
            for future in flight:
                future.cancel()


def job_threads() -> int:
    """CPU threads of this job, by `--threads`; all cores by default."""
    return int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
