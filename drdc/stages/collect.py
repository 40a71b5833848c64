"""scores of all runs -> one file of each kind."""

from __future__ import annotations

from itertools import product

from drdc.config.evaluation import Evaluation
from drdc.config.fusion import Fusion
from drdc.config.sampling import Sampling
from drdc.config.variants import CONTROLS, FULL, runs, variants
from drdc.results.layout import SCORED, Layout
from drdc.results.scores import read_kinds, read_runs, write_table


def collect(
    layout: Layout,
    *,
    seeds: list[int],
    sampling: Sampling,
    fusion: Fusion,
    evaluation: Evaluation,
    names: list[str],
) -> None:
    """Write `scores.csv`, with all seeds, variants and methods, and the other files of all methods.

    These have DRDC and all other methods, with all seeds; `map_scales.csv` has rows of DRDC alone.
    """
    every = variants(sampling, fusion, evaluation)
    scores = read_runs(layout, runs(every, seeds, evaluation), product([CONTROLS, *names], seeds))
    write_table(layout.collected("scores"), scores)
    kinds = SCORED[1:]
    of_methods = read_kinds(layout, product([FULL, *names], seeds), kinds)
    for kind, frame in zip(kinds, of_methods, strict=True):
        write_table(layout.collected(kind), frame)
