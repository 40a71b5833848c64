"""scores, tables, figures and benchmarks -> the report's first page, and where its numbers come from."""

from __future__ import annotations

from typing import Any

import pandas as pd
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from drdc.config.evaluation import Evaluation
from drdc.config.variants import BACKBONE, DRDC, predicted_parts, unet_calls, variants
from drdc.data.manifest import noted_ranges, read_manifest
from drdc.experiment import jobs
from drdc.experiment.experiment import Experiment
from drdc.experiment.stage_settings import trained_methods
from drdc.reporting.front_page import front_page
from drdc.results.benchmarks import measured
from drdc.results.layout import Layout
from drdc.results.scores import read_table
from drdc.runtime.files import atomic

ORIGIN = ("code_version", "config_hash", "versions", "device")
SCORED = ("variant", "seed", *ORIGIN)


def about(layout: Layout, **settings: Any) -> None:
    """Write the report's first page, `about.html` with versions, devices and run times, and `config.yaml`.

    `config.yaml`: all settings of the run. The first page, `front_page.html`, is of the table `summary` and
    the picture `overview`; without them, as of a dataset without test images, it says so.
    """
    experiment = Experiment(experiment=layout.experiment, **settings)
    text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    every = variants(experiment.sampling, experiment.fusion, experiment.evaluation)
    shared, alone = unet_calls(every)
    manifest = read_manifest(layout.manifest)
    # Without test images nothing is scored; there may be scores of those that an earlier run had.
    tested = bool((manifest["split"] == "test").any())
    scores = (
        read_table(layout.collected("scores"), "collect")
        if tested and layout.collected("scores").is_file()
        else pd.DataFrame(columns=SCORED)
    )
    seeds = scores.groupby("variant")["seed"].nunique()
    own = _jobs_of(experiment, experiment.evaluation if tested else Evaluation())
    loader = PackageLoader("drdc.reporting")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.get_template("about.html.j2").render(
        experiment=experiment.experiment,
        settings=text,
        origins={name: sorted(set(scores[name])) for name in ORIGIN},
        variants=len(every),
        seeds=seeds.to_dict(),
        calls={"shared": shared, "alone": alone},
        ranges=noted_ranges(manifest, experiment.dataset.bits).categories,
        jobs=_jobs(layout, own).to_dict("records"),
        problems=_problems(layout).to_dict("records"),
    )
    for path, content in (
        (layout.settings, text),
        (layout.about, page),
        (layout.front_page, _front_page(layout, tested)),
    ):
        with atomic(path) as part:
            part.write_text(content, encoding="utf-8")


def _front_page(layout: Layout, tested: bool) -> str:
    summary, overview = layout.tables / "summary.html", layout.figures / "overview.png"
    if not (tested and summary.is_file() and overview.is_file()):
        return "<p>There are no scores: the dataset has no test images.</p>\n"
    return front_page(layout.experiment, summary, overview)


def _problems(layout: Layout) -> pd.DataFrame:
    """What is wrong with the dataset by kind, errors that were accepted first: number and first file."""
    table = read_table(layout.problems, "prepare")
    table["first"] = table["file"].where(table["file"] != "", table["category"])
    by_kind = table.groupby(["severity", "kind"])
    return by_kind.agg(number=("kind", "size"), first=("first", "first")).reset_index()


def _jobs_of(experiment: Experiment, evaluation: Evaluation) -> dict[str, set[str]]:
    """What the jobs of a rule are of, where others of an earlier run may have been measured as well."""
    categories = experiment.dataset.categories
    methods = {DRDC, *trained_methods(experiment)}
    return {
        "weights": {BACKBONE, *experiment.methods},
        "train": {f"seed{seed}.{model}" for model, seed in jobs.trainings(experiment, evaluation)},
        "predict": {
            f"seed{seed}.{name}.{part}"
            for name, seed in jobs.predictions(experiment, evaluation)
            for part in predicted_parts(name, categories)
        },
        "score": {f"seed{seed}.{run}" for run, seed in jobs.scored_runs(experiment, evaluation)},
        "self_check": methods,
        "export": methods,
    }


def _jobs(layout: Layout, own: dict[str, set[str]]) -> pd.DataFrame:
    """Jobs by rule: number, seconds, largest resident memory in MB; `own`: see `_jobs_of`."""
    rows = []
    for path in sorted(layout.benchmarks.glob("*.tsv")):
        rule, _, of = path.stem.partition(".")
        if of in own.get(rule, {of}):
            found = measured(layout, path.stem)
            rows.append({"rule": rule, "seconds": found["s"], "memory": found["max_rss"]})
    if not rows:
        return pd.DataFrame(columns=["rule", "jobs", "seconds", "longest", "memory"])
    by_rule = pd.DataFrame(rows).groupby("rule", sort=False)
    return by_rule.agg(
        jobs=("seconds", "size"),
        seconds=("seconds", "sum"),
        longest=("seconds", "max"),
        memory=("memory", "max"),
    ).reset_index()
