"""scores -> tables, the paper's figures beside ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import pandas as pd

from drdc.config.sections import Backbone, Evaluation, Fusion, Sampling, other_backbone
from drdc.config.variants import ABLATION, Variant, runs, variants
from drdc.methods.registry import method_class
from drdc.reporting import ablation, costs, separation
from drdc.reporting import significance as evidence
from drdc.reporting import tables as of_scores
from drdc.reporting.formats import Table, write
from drdc.reporting.published import Compared
from drdc.reporting.regions import regions
from drdc.results.layout import TABLES, Layout, lacking
from drdc.results.scores import MethodRun, numeric, read_evidence, read_runs, read_table
from drdc.runtime.errors import UserError

log = logging.getLogger(__name__)

MAKERS: dict[str, Callable[[pd.DataFrame], Table]] = {
    "table1": of_scores.table1,
    "table5": ablation.table5,
    "defects": evidence.defects,
    "regions": regions,
    "separation": separation.separation,
    "significance": evidence.significance,
    "inference": costs.costs,
}
#: Tables that list the methods run beside DRDC too.
WITH_METHODS: dict[str, Callable[..., Table]] = {
    "summary": of_scores.summary,
    "table2": of_scores.table2,
    "table3": of_scores.table3,
    "table4": of_scores.table4,
    "metrics": of_scores.metrics,
}


def tables(
    layout: Layout,
    name: str | None = None,
    *,
    seeds: list[int],
    backbone: Backbone,
    sampling: Sampling,
    fusion: Fusion,
    evaluation: Evaluation,
    methods: dict[str, Any],
) -> None:
    """Write one table, or all that the experiment has, to `tables/` as csv, md, tex and html.

    A run that failed stands in it as "failed", with its log.
    """
    if name is not None and name not in TABLES:
        raise UserError("", f"there is no table {name!r}", f"known: {', '.join(TABLES)}")
    every = variants(sampling, fusion, evaluation)
    lacks = {one: lacking(kind, every, methods) for one, kind in TABLES.items()}
    if name is not None and lacks[name]:
        raise UserError("", f"{name} {lacks[name]}", "")
    for one in TABLES if name is None else [name]:
        if not lacks[one]:
            of_methods = product(methods, seeds) if TABLES[one] == "scores" else ()
            source = _source(layout, TABLES[one], every, seeds, evaluation, of_methods)
            table = _maker(one, methods, backbone.name)(source)
            write(
                replace(table, notes=(*table.notes, *_own_backbone(one, backbone.name))), layout.tables / one
            )
            log.info("\n%s", (layout.tables / f"{one}.md").read_text(encoding="utf-8"))


def _maker(name: str, methods: dict[str, Any], backbone: str) -> Callable[[pd.DataFrame], Table]:
    """The function of a table; those with a place for further methods are told which there are."""
    if name not in WITH_METHODS:
        return MAKERS[name]
    compared = {}
    for run, settings in methods.items():
        found = method_class(settings["method"])
        compared[run] = Compared(found.name_in_paper(settings), found.cited(settings, backbone))
    return partial(WITH_METHODS[name], systems=compared)


def _own_backbone(name: str, backbone: str) -> list[str]:
    """A note for the tables with the paper's numbers, where base model and DRDC have another network."""
    differs = other_backbone(backbone, Backbone().name)
    return [f"base, DRDC: {differs}."] if differs and name in (*WITH_METHODS, "table5") else []


def _source(
    layout: Layout,
    kind: str,
    every: dict[str, Variant],
    seeds: list[int],
    evaluation: Evaluation,
    methods: Iterable[MethodRun],
) -> pd.DataFrame:
    if kind == "costs":
        return numeric(read_table(layout.costs, "costs"))
    if kind == "regions":
        return numeric(read_table(layout.regions, "prepare"))
    if kind in ("scores", "ablation"):
        chosen = runs(every, seeds, evaluation, ABLATION if kind == "ablation" else ())
        return read_runs(layout, chosen, methods)
    return read_evidence(layout, seeds, kind)
