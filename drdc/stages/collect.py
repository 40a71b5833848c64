"""scores of all runs -> one file of each kind."""

from __future__ import annotations

from itertools import product
from typing import Any

from drdc.config.sections import Evaluation, Fusion, Sampling
from drdc.config.variants import runs, variants
from drdc.results.layout import EVIDENCE, Layout
from drdc.results.scores import read_evidence, read_runs, write_table


def collect(
    layout: Layout,
    *,
    seeds: list[int],
    sampling: Sampling,
    fusion: Fusion,
    evaluation: Evaluation,
    methods: dict[str, Any],
) -> None:
    """Write `scores.csv`, with all seeds, variants and methods, and what of `EVIDENCE` the seeds left."""
    every = variants(sampling, fusion, evaluation)
    frames = {"scores": read_runs(layout, runs(every, seeds, evaluation), product(methods, seeds))}
    frames |= {kind: read_evidence(layout, seeds, kind) for kind in EVIDENCE}
    for kind, frame in frames.items():
        write_table(layout.evidence(kind), frame)
