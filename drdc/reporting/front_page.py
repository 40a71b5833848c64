"""The first page of the report: what came out, in a sentence for each metric, a picture and a table."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from drdc.reporting.aggregate import METHODS, METRICS, POOLED

SHOWN = ("image_auroc", "pixel_auroc")
BASE, DRDC = METHODS["base"], METHODS["drdc"]
#: Rows of the summary that are no method by themselves.
PARTS = [METHODS[name] for name in ("random_map", "diffusion")]


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
        picture=f"data:image/png;base64,{b64encode(overview.read_bytes()).decode()}",
        table=Markup(page[page.index("<table>") : page.index("</table>")] + "</table>"),
    )


def headlines(summary: pd.DataFrame) -> list[str]:
    """A sentence for each metric that is defined: DRDC, its base model, and what is better than DRDC.

    `summary`: rows of `tables/summary.csv`; what is over all categories together is left out.
    """
    own = summary[(summary["value"] != "") & ~summary["row"].str.endswith(f", {POOLED}")]
    found = []
    for metric in SHOWN:
        cells = own[own["column"] == METRICS[metric]].set_index("row")
        if {BASE, DRDC} <= set(cells.index):
            found.append(f"{METRICS[metric]}: {_said(cells.drop(PARTS, errors='ignore'))}.")
    return found


def _said(cells: pd.DataFrame) -> str:
    """The values of a metric, a row for each method, in words."""
    values = cells["value"].astype(float)
    best = values.idxmax()
    texts = [f"DRDC {_percent(cells.loc[DRDC])}", f"its base model {_percent(cells.loc[BASE])}"]
    if values[best] > values[DRDC] and best != BASE:
        texts.append(f"the best of {len(cells)} methods, {best}, {_percent(cells.loc[best])}")
    return ", ".join(texts)


def _percent(cell: pd.Series[str]) -> str:
    spread = f" ± {float(cell['std']):.1f}" if cell["std"] else ""
    return f"{float(cell['value']):.1f}{spread} %"
