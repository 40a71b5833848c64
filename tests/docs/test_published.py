"""The tables of accuracy that README and results/published begin with are those of the published scores."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from blocks import ROOT

from benchmarks.published import ENDINGS, remake

PUBLISHED = ROOT / "results/published"
#: Both have a column for each experiment, headed by its folder: image AUROC / pixel AP.
PAGES = [ROOT / "README.md", PUBLISHED / "README.md"]
#: The experiment of which some variants were run, without costs and other methods.
SOME = "real-five-base50"
_NAME = re.compile(r"`([\w+ =.-]+)`")


def cells(page: Path) -> dict[tuple[str, str], str]:
    """The numbers of a page's first table, by experiment and (method, variant) as in `drdc memory`."""
    lines = [line.split("|")[1:-1] for line in page.read_text(encoding="utf-8").splitlines()]
    first = next(number for number, line in enumerate(lines) if len(line) > 1)
    heads = [_NAME.search(head) for head in lines[first]]
    found = {}
    for line in lines[first + 2 :]:
        if len(line) < 2:
            break
        for head, cell in zip(heads, line, strict=True):
            if head and " / " in cell:
                found[head[1], _NAME.findall(line[0])[-1]] = cell.strip("* ")
    return found


def measured(experiment: str, run: str) -> str:
    """Mean over categories, mean and standard deviation over seeds: image AUROC / pixel AP in %."""
    method, _, variant = run.partition(" ")
    scores = pd.read_csv(PUBLISHED / experiment / "scores.csv")
    scores = scores[(scores.method == method) & (scores.variant == (variant or "full"))]
    return " / ".join(
        in_percent(scores[(scores.metric == metric) & (scores.category != "all")])
        for metric in ("image_auroc", "pixel_ap")
    )


def in_percent(scores: pd.DataFrame) -> str:
    means = 100 * scores.groupby("seed").value.mean()
    return f"{means.mean():.1f}" + (f" ± {means.std():.1f}" if len(means) > 1 else "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_number_is_that_of_the_published_scores(page: Path) -> None:
    found = cells(page)
    assert len(found) > 3
    assert found == {key: measured(*key) for key in found}


@pytest.mark.parametrize("experiment", ["demo", "demo-systems", "real-five", SOME])
def test_each_table_is_what_the_code_makes_of_the_published_numbers(experiment: str, tmp_path: Path) -> None:
    names = remake(PUBLISHED / experiment, tmp_path)
    assert {"summary", "metrics", "defects", "table2"} <= set(names)
    assert experiment == SOME or {"inference", "significance"} <= set(names)
    for name in names:
        for ending in ENDINGS:
            file = f"{name}.{ending}"
            published = (PUBLISHED / experiment / "tables" / file).read_bytes()
            again = f"python -m benchmarks.published results/published/{experiment}"
            assert (tmp_path / file).read_bytes() == published, again
