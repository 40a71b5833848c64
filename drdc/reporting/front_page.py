"""The first page of the report: what came out, in a sentence for each metric, a picture and a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from drdc.reporting.aggregate import METHODS, METRICS, POOLED
from drdc.reporting.browser import data_url

SHOWN = ("image_auroc", "pixel_auroc")
BASE, DRDC = METHODS["base"], METHODS["drdc"]
#: Rows of the summary that are no method by themselves.
PARTS = [METHODS[name] for name in ("random_map", "diffusion")]

Cell = tuple[float, str]  # percent; standard deviation over the seeds, "" for a single one


def front_page(experiment: str, summary: Path, overview: Path) -> str:
    """A piece of HTML without anything from outside, for `workflow/report/workflow.rst`.

    Args:
        experiment: its name.
        summary: the table of this name, as HTML; its numbers are next to it.
        overview: the picture of this name, a PNG.
    """
    page = summary.read_text(encoding="utf-8")
    environment = Environment(
        loader=PackageLoader("drdc.reporting"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("front_page.html.j2").render(
        experiment=experiment,
        headlines=headlines(pd.read_csv(summary.with_suffix(".csv"), keep_default_na=False)),
        picture=data_url("image/png", overview.read_bytes()),
        table=Markup(page[page.index("<table>") : page.index("</table>")] + "</table>"),
    )


def headlines(summary: pd.DataFrame) -> list[str]:
    """A sentence for each metric that is defined: DRDC, its base model, and what is better than DRDC.

    `summary`: rows of `tables/summary.csv`; what is over all categories together is left out.
    """
    own = summary[(summary["value"] != "") & ~summary["row"].str.endswith(f", {POOLED}")]
    own = own[~own["row"].isin(PARTS)]
    found = []
    for metric in SHOWN:
        rows = own[own["column"] == METRICS[metric]].to_dict("records")
        cells = {row["row"]: (float(row["value"]), row["std"]) for row in rows}
        if {BASE, DRDC} <= cells.keys():
            found.append(f"{METRICS[metric]}: {_said(cells)}.")
    return found


def _said(cells: Mapping[str, Cell]) -> str:
    """The values of a metric by method, in words."""
    best = max(cells, key=lambda name: cells[name][0])
    texts = [f"DRDC {_percent(cells[DRDC])}", f"its base model {_percent(cells[BASE])}"]
    if cells[best][0] > cells[DRDC][0] and best != BASE:
        texts.append(f"the best of {len(cells)} methods, {best}, {_percent(cells[best])}")
    return ", ".join(texts)


def _percent(cell: Cell) -> str:
    value, std = cell
    return f"{value:.1f} ± {float(std):.1f} %" if std else f"{value:.1f} %"
