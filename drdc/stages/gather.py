"""scores of a study's experiments -> one table of them."""

from __future__ import annotations

from typing import Any

import pandas as pd

from drdc.config.names import ALL
from drdc.config.variants import DRDC, FULL
from drdc.experiment.experiment import Experiment
from drdc.experiment.points import points_of
from drdc.reporting.study import MEASURES, whole_mean
from drdc.results.layout import Layout
from drdc.results.scores import read_table, typed, write_table
from drdc.runtime.errors import UserError

COLUMNS = ["at", "draw", "method", "category", "metric", "value"]


def gather(layout: Layout, **settings: Any) -> None:
    """Write `study.csv`: of each value (`at`) and draw what each method reaches, mean over seeds, in [0, 1].

    Nothing is written where a seed has no value: of a category without masks, or where a run failed.

    Raises:
        UserError: it is not a study, or one of its experiments has not been run.
    """
    experiment = Experiment(experiment=layout.experiment, **settings)
    wanted = {"method": [DRDC, *experiment.methods], "metric": list(MEASURES), "variant": [FULL]}
    found = []
    for point in points_of(experiment):
        name = point.experiment.experiment
        path = Layout(name).collected("scores")
        if not path.is_file():
            raise UserError(path, "is missing", f"delete {layout.point(name, '.done')}, and it is made again")
        scores = typed(read_table(path, "collect"), ("category", *wanted), ("value",), str(path))
        chosen = scores[scores[list(wanted)].isin(wanted).all(axis=1) & (scores["category"] != ALL)]
        means = chosen.groupby(["method", "category", "metric"], sort=False)["value"].agg(whole_mean)
        found.append(means.reset_index().assign(at=point.value, draw=point.draw))
    write_table(layout.study, pd.concat(found)[COLUMNS])
