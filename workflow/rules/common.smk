import re
import sys
from functools import cache

from drdc.config.sections import Evaluation
from drdc.data.fingerprint import listing, trigger
from drdc.runtime.errors import UserError
from drdc.experiment.experiment import as_in_a_file, load_experiment
from drdc.experiment.stage_settings import all_handed, handed, used_by
from drdc.methods.registry import pretrained_networks
from drdc.results.layout import BACKBONE, EVIDENCE, FIGURES, TABLES, Layout, lacking
from drdc.config.variants import ABLATION, FULL, predicted_parts, runs, swept, variants


def refuse(cause):
    """End before any job, with the cause as the last line on the screen."""
    sys.exit(f"drdc: {cause}")


try:
    given = dict(workflow.config_settings.config)  # by --config
    EXPERIMENT = load_experiment(as_in_a_file(config, given))
    LISTING = listing(EXPERIMENT.dataset)
except UserError as error:
    refuse(error)
# Complete, and with numbers where --config gave text.
config = EXPERIMENT.model_dump(mode="json")

LAYOUT = Layout(EXPERIMENT.experiment)
RESULTS = str(LAYOUT.root)
CATEGORIES = EXPERIMENT.dataset.categories
SEEDS = EXPERIMENT.seeds
DOWNLOADED = EXPERIMENT.dataset.download
# A dataset that is not there yet is taken for one with test images. Without any, there is nothing to evaluate.
TESTED = LISTING is None or LISTING.tested
EVALUATION = EXPERIMENT.evaluation if TESTED else Evaluation()
VARIANTS = variants(EXPERIMENT.sampling, EXPERIMENT.fusion, EVALUATION)
RUNS = runs(VARIANTS, SEEDS, EVALUATION)
TRAININGS = sorted(
    {(model, seed) for variant, seed in RUNS for model in ("base", variant.model)}
)


wildcard_constraints:
    experiment=re.escape(EXPERIMENT.experiment),
    seed=r"\d+",
    size=r"\d+",
    model="diffusion|unconditional",
    predictions="[^/]+",
    part="[^/]+",
    variant="[^/]+",
    method="[^/.]+",
    network="[^/.]+",


@cache
def settings(stage, variant=FULL, method=""):
    """The file of the settings that a stage uses, and no others: with one of them changes its name."""
    return str(handed(EXPERIMENT, stage, variant, method).path)


def all_cores(wildcards, share=1):
    """A share of this computer's cores; on a cluster as many as the profile's `set-threads` says, else 4."""
    if workflow.non_local_exec or workflow.remote_exec:
        return 4
    return max(1, (workflow.resource_settings.cores or 1) // share)


def training_threads(wildcards):
    """On one computer all seeds are trained side by side, and so are all compared methods."""
    methods = len(EXPERIMENT.methods) if "method" in wildcards.keys() else 1
    return all_cores(wildcards, share=len(SEEDS) * methods)


def fitting_minutes(wildcards):
    """DiAD alone takes days: 270,000 steps of its third training at 0.5 to 1.3 s (see docs/cluster.md)."""
    own = EXPERIMENT.methods.get(wildcards.method, {})
    return 4320 if own.get("method") == "diad" else 1440


def memory(megabytes):
    """What a job asks for at first; after each failed attempt it asks for as much again on top."""
    return lambda wildcards, attempt: megabytes * attempt


def check_gpus():
    """Without this, Snakemake would cut a rule's GPUs to `--resources gpu=N` and say nothing."""
    limit = workflow.global_resources.get("gpu").value
    for one in workflow.rules:
        asked = one.resources.get("gpu")
        known = limit is not None and not asked.is_evaluable()
        if known and (asked.value or 0) > limit:
            refuse(
                f"rule {one.name} asks for {asked.value} GPUs, but --resources gpu={limit} allows only "
                f"{limit}; raise the limit, leave it out, or let the rule ask for fewer"
            )


def check_targets():
    """Refuse a table or a figure that this experiment lacks something for, before anything is computed.

    Asked for by name or as a file; an input function that raises would give a traceback, and Snakemake knows
    its targets only when all rules are read.
    """
    named = sys.argv[1:] + [
        path.stem
        for path in map(Path, sys.argv[1:])
        if path.parent in (LAYOUT.tables, LAYOUT.figures)
    ]
    for name, kind in (TABLES | FIGURES).items():
        if name in named and (fault := missing(kind)):
            refuse(f"{name} {fault}")


@cache
def fetched_for(method):
    """What stands for the pre-trained networks that a method loads; nothing where it loads none."""
    configured = used_by(EXPERIMENT, "method_weights", method=method)["method"]
    return [LAYOUT.weights(method)] if pretrained_networks(configured) else []


def predicted(variant, seed):
    """The predictions that a variant is scored from."""
    name = VARIANTS[variant].predictions
    return [
        LAYOUT.predictions(seed, name, part)
        for part in predicted_parts(name, CATEGORIES)
    ]


def scored(names=None):
    """The scores of the whole method with all seeds, and of the variants `names`, or of all."""
    return [
        LAYOUT.seed_scores(seed, v.name)
        for v, seed in runs(VARIANTS, SEEDS, EVALUATION, names)
    ]


def scored_for_detector():
    """The scores that the detector's file notes: of the first seed, where there are test images."""
    if not TESTED:
        return []
    return [
        LAYOUT.seed_scores(seed, v.name)
        for v, seed in runs(VARIANTS, SEEDS, EVALUATION, ["steps=1"])
        if seed == SEEDS[0]
    ]


def scored_methods():
    """The scores of all compared methods."""
    return [
        LAYOUT.method(seed, name, ".csv")
        for name in EXPERIMENT.methods
        for seed in SEEDS
    ]


def missing(kind):
    """What this experiment lacks for tables and figures of a kind, and the mend; "" where it lacks nothing."""
    if kind != "losses" and not TESTED:
        return "needs test images, and the dataset has none; add some, or ask for `detector` alone"
    return lacking(kind, VARIANTS, EXPERIMENT.methods)


def ingredients(kind):
    """What a table or a figure is made of, see TABLES and FIGURES in drdc/results/layout.py."""
    if kind == "scores":
        return scored([]) + scored_methods()
    if kind == "ablation":
        return scored(ABLATION)
    if kind == "sweeps":
        return scored(swept(VARIANTS))
    if kind == "costs":
        return [LAYOUT.costs, *scored(swept(VARIANTS, "steps")), *scored_methods()]
    if kind == "regions":
        return [LAYOUT.regions]
    if kind == "losses":
        return [LAYOUT.losses(seed, model) for model, seed in TRAININGS]
    if kind == "predictions":
        scores = LAYOUT.seed_evidence(SEEDS[0], "image_scores")
        size = EXPERIMENT.dataset.image_size
        return [LAYOUT.images(size), LAYOUT.masks, scores, *predicted(FULL, SEEDS[0])]
    if kind == "heatmaps":
        methods = [LAYOUT.method(SEEDS[0], name, ".npy") for name in EXPERIMENT.methods]
        return ingredients("predictions") + methods
    return [LAYOUT.seed_evidence(seed, kind) for seed in SEEDS]


def shown():
    """All tables and figures of this experiment."""
    return [LAYOUT.tables / f"{name}.html" for name in wanted(TABLES)] + [
        LAYOUT.figures / f"{name}.png" for name in wanted(FIGURES)
    ]


def wanted(names):
    """The tables or figures that this experiment has."""
    return [name for name, kind in names.items() if not missing(kind)]
