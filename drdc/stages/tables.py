"""scores -> tables, the paper's figures beside ours."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pandas as pd

from drdc.config import Evaluation, Fusion, Sampling
from drdc.errors import UserError
from drdc.layout import TABLES, Layout
from drdc.reporting import ablation, costs, evidence, separation
from drdc.reporting import tables as of_scores
from drdc.reporting.formats import Table, write
from drdc.results import numeric, read_evidence, read_runs, read_table
from drdc.variants import ABLATION, Variant, runs, variants

log = logging.getLogger(__name__)

MAKERS: dict[str, Callable[[pd.DataFrame], Table]] = {
    "table5": ablation.table5,
    "defects": evidence.defects,
    "separation": separation.separation,
    "significance": evidence.significance,
    "inference": costs.costs,
}


def tables(
    layout: Layout,
    name: str | None = None,
    *,
    seeds: list[int],
    sampling: Sampling,
    fusion: Fusion,
    evaluation: Evaluation,
) -> None:
    """Write one table, or all that the experiment has, to `tables/` as csv, md, tex and html.

    A run that failed stands in it as "failed", with its log.
    """
    if name is not None and name not in TABLES:
        raise UserError(f"there is no table {name!r}; known: {', '.join(TABLES)}")
    if name == "table5" and not evaluation.ablation:
        raise UserError("table5 needs the variants of the ablation; set evaluation.ablation to true")
    every = variants(sampling, fusion, evaluation)
    skipped = {"table5"} if not evaluation.ablation else set()
    for one in TABLES if name is None else [name]:
        if one not in skipped:
            maker = MAKERS.get(one) or getattr(of_scores, one)
            write(maker(_source(layout, TABLES[one], every, seeds, evaluation)), layout.tables / one)
            log.info("\n%s", (layout.tables / f"{one}.md").read_text(encoding="utf-8"))


def _source(
    layout: Layout, kind: str, every: dict[str, Variant], seeds: list[int], evaluation: Evaluation
) -> pd.DataFrame:
    if kind == "costs":
        return numeric(read_table(layout.costs))
    if kind in ("scores", "ablation"):
        return read_runs(layout, runs(every, seeds, evaluation, ABLATION if kind == "ablation" else ()))
    return read_evidence(layout, seeds, kind)
