"""Speed next to what a user would choose instead, measured in one run and written as tables.

    python -m benchmarks --only metrics detect

Without `--only` everything is measured, in at most 15 minutes on two cores. A contestant whose package is not
installed is left out and says so; ADEval is not among the requirements: `pip install adeval`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

#: By name, which is that of its module in `cases`, what each benchmark measures.
BENCHMARKS = {
    "metrics": "the seven metrics of a category",
    "inference": "the diffusion model in use",
    "train_diffusion": "a training step of the diffusion model",
    "huge_pages": "a training with and without huge pages",
    "train_base": "a training step of the base model at the paper's size",
    "detect": "one image, from its file to its heatmap",
    "scoring": "scoring a category of the paper's size, without the imports",
    "jobs": "light jobs, each a process",
    "gallery": "writing the gallery",
    "plan": "planning a large experiment",
    "load": "memory of the stages for many images",
}
PUBLISHED = Path(__file__).parents[1] / "results/published/benchmarks"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the arguments name, print its tables and write them."""
    options = _parser().parse_args(arguments)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(options.threads)  # read when NumPy and torch are imported
    logging.disable(logging.WARNING)  # of the stages, and of anomalib
    try:
        with warnings.catch_warnings(action="ignore"):
            _measure(options)
    finally:
        logging.disable(logging.NOTSET)


def _measure(options: argparse.Namespace) -> None:
    from .harness import Size, measured
    from .machine import code, machine, name_of
    from .report import add, page, read, table

    output = options.output.resolve()
    about = machine(options.threads)
    path = output / f"{name_of(about)}.csv"
    for name in options.only:
        started = time.perf_counter()
        size = Size(options.tiny, options.images)
        rows = [
            row for race in import_module(f".cases.{name}", __package__).races(size) for row in measured(race)
        ]
        add(output, path.stem, about, name, rows, code())
        print(f"\n{name}: {BENCHMARKS[name]} ({time.perf_counter() - started:.0f} s)\n")
        print(table([row for row in read(path) if row["benchmark"] == name]), flush=True)
    (output / "README.md").write_text(page(output, BENCHMARKS), encoding="utf-8")
    print(f"\n{output / 'README.md'}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = list(BENCHMARKS)
    parser.add_argument(
        "--only", nargs="+", choices=known, default=known, metavar="NAME", help=", ".join(known)
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s)")
    parser.add_argument(
        "--images", type=int, default=1000, help="images of gallery and load (default: %(default)s)"
    )
    parser.add_argument("--output", type=Path, default=PUBLISHED, help="folder (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="only see that everything works")
    return parser


if __name__ == "__main__":
    main()
