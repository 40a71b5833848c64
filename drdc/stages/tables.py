"""scores -> tables, the published numbers next to ours."""

from __future__ import annotations

import logging

from drdc.config.described import Described
from drdc.config.evaluation import Evaluation
from drdc.config.fusion import Fusion
from drdc.config.reported import Reported
from drdc.config.sampling import Sampling
from drdc.config.study import Study
from drdc.reporting.described import by_label
from drdc.reporting.formats import write
from drdc.reporting.kinds import Source
from drdc.reporting.registry import TABLES, chosen
from drdc.results.layout import Layout

log = logging.getLogger(__name__)


def tables(
    layout: Layout,
    name: str | None = None,
    *,
    seeds: list[int],
    image_size: int,
    sampling: Sampling,
    fusion: Fusion,
    evaluation: Evaluation,
    study: Study,
    described: dict[str, Described],
    reported_numbers: list[Reported],
    reader: str,
) -> None:
    """Write one table, or all that the experiment has, to `tables/` as csv, md, tex and html.

    A failed run is shown as "failed", with its log.

    Args:
        reader: the name of the dataset's; the paper's numbers stand next to ours for its own datasets alone.
    """
    settings = image_size, sampling, fusion, evaluation
    source = Source(layout, seeds, *settings, described, study, reported_numbers)
    for one in chosen(TABLES, name, source):
        made = one.make(
            *source.read(one.of),
            described=by_label(described),
            reported=reported_numbers,
            dataset=reader,
            failed=source.failed(one.of),
        )
        write(made, layout.tables / one.name)
        log.info("\n%s", (layout.tables / f"{one.name}.md").read_text(encoding="utf-8"))
