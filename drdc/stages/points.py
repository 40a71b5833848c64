"""study -> a configuration for each of its experiments."""

from __future__ import annotations

from typing import Any

import yaml

from drdc.experiment.experiment import Experiment
from drdc.experiment.points import points_of
from drdc.results.layout import Layout
from drdc.runtime.files import atomic


def points(layout: Layout, **settings: Any) -> None:
    """Write `points/<experiment>.yaml`, complete configurations, see `drdc.experiment.points`."""
    for point in points_of(Experiment(experiment=layout.experiment, **settings)):
        whole = point.experiment.model_dump(mode="json")
        with atomic(layout.point(point.experiment.experiment)) as part:
            part.write_text(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True), encoding="utf-8")
