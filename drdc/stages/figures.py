"""scores, predictions and loss curves -> figures."""

from __future__ import annotations

from drdc.config.described import Described
from drdc.config.evaluation import Evaluation
from drdc.config.fusion import Fusion
from drdc.config.sampling import Sampling
from drdc.config.study import Study
from drdc.reporting.described import by_label
from drdc.reporting.kinds import Source
from drdc.reporting.registry import FIGURES, chosen
from drdc.results.layout import Layout


def figures(
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
) -> None:
    """Draw one figure, or all that the experiment has, as `figures/<name>.png`."""
    source = Source(layout, seeds, image_size, sampling, fusion, evaluation, described, study)
    for one in chosen(FIGURES, name, source):
        path = layout.figures / f"{one.name}.png"
        data = source.read(one.of)
        one.make(*data, path, described=by_label(described), failed=source.failed(one.of))
