"""scores -> tables: collect the scores of all seeds and set the paper's figures beside them."""

from __future__ import annotations

import logging

from drdc.files import atomic
from drdc.layout import Layout
from drdc.reporting import tables as report

log = logging.getLogger(__name__)


def tables(layout: Layout, *, seeds: list[int]) -> None:
    """Write `scores.csv` and `tables/` (summary, table1, table2, table3; each as csv, md and tex)."""
    scores = report.read_scores(layout.seed_scores(seed) for seed in seeds)
    with atomic(layout.scores) as path:
        scores.to_csv(path, index=False)
    for name in ("summary", "table1", "table2", "table3"):
        report.write(getattr(report, name)(scores), layout.tables / name)
    log.info("\n%s", (layout.tables / "summary.md").read_text(encoding="utf-8"))
