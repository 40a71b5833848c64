"""The kinds of data for tables and figures: how each is read, and what an experiment needs for it.

| kind               | the function gets                                                                   |
| ------------------ | ----------------------------------------------------------------------------------- |
| `scores`           | tidy scores of the full variant and of all methods, every seed                      |
| `ablation`         | tidy scores of the variants of Table 5                                              |
| `sweeps`           | tidy scores of the variants of Figure 2, and its panels                             |
| `readings`         | tidy scores of all methods and of the variants that tell the readings of Eq. 17     |
|                    | apart, map_scales.csv, and the panels of Figure 2                                   |
| `beyond`           | tidy scores of all methods and of the variants that go beyond the paper             |
| `reported`         | the same as `scores`; only where there are numbers from other work                  |
| `costs`            | costs.csv                                                                           |
| `costs_and_scores` | costs.csv, and tidy scores of all methods and of all numbers of timesteps           |
| `estimates`        | self_check/<method>.csv by method, and image_scores.csv of the first seed           |
| `regions`          | regions.csv                                                                         |
| `self_check`       | self_check/<method>.csv by method                                                   |
| `study`            | study.csv: a row for each value, draw, method, category and metric; what varies     |
| `losses`           | training logs by "<model>/<seed>"                                                   |
| `image_scores`     | image_scores.csv: a row for each image, method and seed                             |
| `curves`           | curves.csv: a row for each point of a curve, method, category and seed              |
| `defects`          | defects.csv: a row for each defect type, metric, method and seed                    |
| `predictions`      | `ShownImages` of the first seed, as the models of DRDC see them                     |
| `heatmaps`         | the same, as all methods see them                                                   |
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import pandas as pd

from drdc.config.evaluation import Evaluation
from drdc.config.fusion import Fusion
from drdc.config.names import ALL
from drdc.config.reported import Reported
from drdc.config.sampling import Sampling
from drdc.config.study import Study
from drdc.config.variants import (
    ABLATION,
    CONTROLS,
    DRDC,
    FULL,
    RAW,
    Sweep,
    Variant,
    beyond,
    of_readings,
    runs,
    sweeps,
    swept,
    variants,
)
from drdc.reporting.described import Methods, further, labels
from drdc.reporting.formats import FAILED
from drdc.reporting.lost import NOTHING, Failed
from drdc.results.layout import Layout
from drdc.results.scores import MethodRun, read_numbers, read_runs, read_scored, scored_runs
from drdc.runtime.errors import UserError


@dataclass(frozen=True)
class Source:
    """An experiment whose results are read: its folder and the settings that say what is in it.

    Attributes:
        described: the methods that the configuration lists, by name.
        study: what varies, and its values; none where the experiment is not a study.
        reported: numbers from other work.
    """

    layout: Layout
    seeds: Sequence[int]
    image_size: int
    sampling: Sampling
    fusion: Fusion
    evaluation: Evaluation
    described: Methods
    study: Study = field(default_factory=Study)
    reported: Sequence[Reported] = ()

    def failed(self, kind: str) -> Failed:
        """What results per image, or curves, lack of the runs that were scored in part."""
        if kind not in ("image_scores", "curves"):
            return NOTHING
        rows = self.by_label(pd.concat(scored_runs(self.layout, self.runs).values()))
        rows = rows[rows["note"].str.startswith(FAILED) & (rows["category"] != ALL)]
        keys = rows[["method", "seed", "category"]].itertuples(index=False, name=None)
        return dict(zip(keys, rows["note"], strict=True))

    @property
    def runs(self) -> list[MethodRun]:
        """Those of DRDC and of all methods, with all seeds."""
        return list(product([FULL, *self.methods], self.seeds))

    @property
    def methods(self) -> list[str]:
        """Names of those that the configuration lists."""
        return further(self.described)

    @property
    def variants(self) -> dict[str, Variant]:
        return variants(self.sampling, self.fusion, self.evaluation)

    @property
    def panels(self) -> list[Sweep]:
        """Those of Figure 2."""
        return sweeps(self.sampling, self.fusion, self.evaluation)

    def read(self, kind: str) -> tuple[Any, ...]:
        """The data of a kind, as the function of a table or a figure takes them; UserError where missing.

        A method has the name there by which it is shown.
        """
        return READERS[kind](self)

    def by_label(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Results with the name that is shown in the column `method`."""
        shown = labels(self.described)
        return frame.assign(method=frame["method"].map(lambda name: shown.get(name, name)))


def lacking(
    kind: str,
    variants: Iterable[str],
    methods: Collection[str],
    self_check: int = 1,
    study: Collection[Any] = (),
    reported: Collection[Any] = (),
) -> str:
    """What an experiment lacks for tables and figures of a kind, and the fix; "" where it lacks nothing.

    Args:
        kind: a key of `READERS`.
        variants, methods: names of those that the experiment runs.
        self_check: `evaluation.self_check`.
        study: `study.values`.
        reported: numbers from other work.
    """
    if study and kind != "study":
        return "is not of a study but of each of its experiments; name the configuration of one"
    needs = {
        "study": (bool(study), "values of what varies; name some in study.values"),
        "ablation": (
            set(ABLATION) <= set(variants),
            "the variants of the ablation; set evaluation.ablation to true",
        ),
        "sweeps": (bool(swept(variants)), "values to compare; name some in evaluation.sweeps"),
        "beyond": (bool(beyond(variants)), "variants beyond the paper; set evaluation.beyond to true"),
        "readings": (RAW in variants, "weights of raw maps; name some in evaluation.sweeps.raw_weight"),
        **dict.fromkeys(
            ("self_check", "estimates"),
            (bool(self_check), "synthetic defects; set evaluation.self_check above 0"),
        ),
        "heatmaps": (bool(methods), "methods to compare DRDC with; list some under `methods`"),
        "reported": (bool(reported), "numbers from other work; list files of them under `reported`"),
    }
    there, need = needs.get(kind, (True, ""))
    return "" if there else f"needs {need}"


#: Whose scores a kind of data has, of the variants that an experiment runs, besides the full one.
VARIANTS_OF: dict[str, Callable[[Collection[str]], Collection[str]]] = {
    **dict.fromkeys(("scores", "reported"), lambda every: ()),
    "ablation": lambda every: ABLATION,
    "sweeps": swept,
    "readings": of_readings,
    "beyond": beyond,
    "costs_and_scores": partial(swept, setting="steps"),
}
#: Of these, the kinds that have the scores of controls and methods, too.
WITH_METHODS = ("scores", "reported", "readings", "beyond", "costs_and_scores")


def _scores(source: Source, kind: str) -> tuple[Any, ...]:
    """Tidy scores of the full variant, and of what else the kind has."""
    every = source.variants
    chosen = runs(every, list(source.seeds), source.evaluation, VARIANTS_OF[kind](every))
    names = [CONTROLS, *source.methods] if kind in WITH_METHODS else []
    return (source.by_label(read_runs(source.layout, chosen, product(names, source.seeds))),)


def _sweeps(source: Source) -> tuple[Any, ...]:
    return *_scores(source, "sweeps"), source.panels


def _readings(source: Source) -> tuple[Any, ...]:
    scales = read_scored(source.layout, product([FULL], source.seeds), "map_scales")
    return *_scores(source, "readings"), scales, source.panels


def _costs(source: Source) -> tuple[Any, ...]:
    return (source.by_label(read_numbers(source.layout.costs, "costs", "costs")),)


def _costs_and_scores(source: Source) -> tuple[Any, ...]:
    return *_costs(source), *_scores(source, "costs_and_scores")


def _self_check(source: Source) -> tuple[Any, ...]:
    shown = {DRDC: DRDC} | labels(source.described)
    paths = {
        label: source.layout.self_check(name)
        for name, label in shown.items()
        if name == DRDC or not source.described[name].imported
    }
    found = {
        name: read_numbers(path, "self_check", "self-check") for name, path in paths.items() if path.is_file()
    }
    if not found:
        raise UserError(paths[DRDC], "is missing", "run `drdc self-check` first")
    return (found,)


def _estimates(source: Source) -> tuple[Any, ...]:
    (every,) = _of_images(source, "image_scores")
    first = every[every["seed"].astype(str) == str(source.seeds[0])]  # of which the self-check is
    return *_self_check(source), first


def _study(source: Source) -> tuple[Any, ...]:
    return source.by_label(read_numbers(source.layout.study, "study", "gather")), source.study.over


def _regions(source: Source) -> tuple[Any, ...]:
    return (read_numbers(source.layout.regions, "regions", "prepare"),)


def _losses(source: Source) -> tuple[Any, ...]:
    of: dict[str, Sequence[int]] = {"base": source.seeds, "diffusion": source.seeds}
    if source.evaluation.ablation:
        of["unconditional"] = source.evaluation.seeds or source.seeds
    paths = {f"{m}/{seed}": source.layout.losses(seed, m) for m, seeds in of.items() for seed in seeds}
    found = {key: read_numbers(path, "losses", "train") for key, path in paths.items() if path.is_file()}
    if not found:
        raise UserError(next(iter(paths.values())), "there is no loss curve", "run `drdc train base` first")
    return (found,)


def _of_images(source: Source, kind: str) -> tuple[Any, ...]:
    return (source.by_label(read_scored(source.layout, source.runs, kind)),)


def _heatmaps(source: Source, methods: bool) -> tuple[Any, ...]:
    from drdc.reporting.shown_images import ShownImages

    shown = labels(source.described) if methods else {}
    return (ShownImages(source.layout, source.seeds[0], source.image_size, source.fusion, shown),)


READERS: dict[str, Callable[[Source], tuple[Any, ...]]] = {
    "scores": partial(_scores, kind="scores"),
    "ablation": partial(_scores, kind="ablation"),
    "sweeps": _sweeps,
    "readings": _readings,
    "beyond": partial(_scores, kind="beyond"),
    "reported": partial(_scores, kind="reported"),
    "costs": _costs,
    "costs_and_scores": _costs_and_scores,
    "regions": _regions,
    "self_check": _self_check,
    "estimates": _estimates,
    "study": _study,
    "losses": _losses,
    "image_scores": partial(_of_images, kind="image_scores"),
    "curves": partial(_of_images, kind="curves"),
    "defects": partial(_of_images, kind="defects"),
    "predictions": partial(_heatmaps, methods=False),
    "heatmaps": partial(_heatmaps, methods=True),
}
