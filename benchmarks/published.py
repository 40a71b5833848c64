"""The tables of published results from the numbers next to them: `python -m benchmarks.published FOLDER ...`.

For a later version of the notes below a table, and for a further seed whose rows were added to `scores.csv`.
Tables that need scores of each image stay as the run wrote them.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from drdc.config.variants import FULL
from drdc.experiment.experiment import Experiment, load_experiment
from drdc.experiment.stage_settings import used_by
from drdc.reporting.described import by_label
from drdc.reporting.formats import write
from drdc.reporting.kinds import VARIANTS_OF, WITH_METHODS, Source
from drdc.reporting.registry import TABLES
from drdc.reporting.tables import TRAINED
from drdc.results.layout import Layout

#: The formats that are published.
ENDINGS = ("csv", "md", "tex")


def remake(folder: Path, target: Path) -> list[str]:
    """Write to `target` the tables of a published experiment that its files give; returns their names."""
    experiment = load_experiment(folder / "config.yaml")
    described = used_by(experiment, "tables")["described"]
    source = _source(experiment, described)
    made = []
    for name, one in TABLES.items():
        data = _data(folder, one.of, source) if (folder / f"tables/{name}.csv").is_file() else None
        if data is not None:
            facts: dict[str, Any] = {"reported": [], "dataset": experiment.dataset.name, "failed": {}}
            write(one.make(*data, described=by_label(described), **facts), target / name)
            made.append(name)
    return made


def _source(experiment: Experiment, described: Any) -> Source:
    parts = experiment.sampling, experiment.fusion, experiment.evaluation
    layout = Layout(experiment.experiment)
    return Source(layout, experiment.seeds, experiment.dataset.image_size, *parts, described)


def _data(folder: Path, kind: str, source: Source) -> tuple[Any, ...] | None:
    """What a table of this kind gets, see `drdc.reporting.kinds`; None where it was not published."""
    if kind in ("costs", "defects"):
        return (source.by_label(_numbers(folder / f"{kind}.csv")),)
    if kind not in VARIANTS_OF:
        return None
    scores = source.by_label(_numbers(folder / "scores.csv"))
    wanted = {FULL, *VARIANTS_OF[kind](source.variants)}
    own = scores[scores["variant"].isin(wanted)]
    if kind not in WITH_METHODS:
        own = own[own["method"].isin(TRAINED)]
    if kind == "readings":
        return own, pd.read_csv(folder / "map_scales.csv"), source.panels
    return (own,)


def _numbers(path: Path) -> pd.DataFrame:
    """A table of numbers; an empty text is one."""
    frame = pd.read_csv(path, keep_default_na=False, dtype={"seed": str})
    return frame.assign(value=pd.to_numeric(frame["value"])) if "value" in frame else frame


def main(folders: list[str]) -> None:
    """Write the tables of these folders again."""
    for folder in map(Path, folders):
        with TemporaryDirectory() as new:
            for name in remake(folder, Path(new)):
                for ending in ENDINGS:
                    shutil.copy(Path(new, f"{name}.{ending}"), folder / "tables")
                print(folder / "tables" / name)


if __name__ == "__main__":
    main(sys.argv[1:])
