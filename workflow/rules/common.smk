import re
import sys
from functools import cache

from drdc.config.evaluation import Evaluation
from drdc.config.names import ALL
from drdc.config.variants import (
    BACKBONE,
    CONTROLS,
    DRDC,
    FULL,
    predicted_parts,
    runs,
    variants,
)
from drdc.data.fingerprint import is_tested, listing, trigger
from drdc.experiment import snakemake_internals as internals
from drdc.experiment import jobs
from drdc.experiment.points import points
from drdc.experiment.experiment import as_in_a_file, load_experiment, read_mapping
from drdc.experiment.stage_settings import (
    all_handed,
    WITHOUT_NETWORK,
    handed,
    imported_methods,
    method_facts,
    pretrained_networks_of,
    trained_methods,
)
from drdc.models.pretrained import local_files
from drdc.reporting.declared import SECTIONS
from drdc.reporting.kinds import VARIANTS_OF, WITH_METHODS, lacking
from drdc.reporting.registry import FIGURES, TABLES
from drdc.results.layout import SCORED, Layout
from drdc.runtime.devices import total_memory
from drdc.runtime.errors import UserError


def refuse(cause):
    """End before any job, with the cause as the last line on the screen."""
    sys.exit(f"drdc: {cause}")


try:
    # Snakemake takes the second of a key that is written twice; this refuses it.
    for path in internals.configfiles(workflow):
        read_mapping(path)
    EXPERIMENT = load_experiment(as_in_a_file(config, internals.given_config(workflow)))
    LISTING = listing(EXPERIMENT.dataset)
    # With what is read of files of numbers and heatmaps from elsewhere.
    HANDED = list(all_handed(EXPERIMENT))
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
TESTED = is_tested(LAYOUT.dataset, LISTING)
EVALUATION = EXPERIMENT.evaluation if TESTED else Evaluation()
VARIANTS = variants(EXPERIMENT.sampling, EXPERIMENT.fusion, EVALUATION)
RUNS = runs(VARIANTS, SEEDS, EVALUATION)
#: All methods: DRDC, by its predictions, and those of the configuration.
METHODS = [FULL, *EXPERIMENT.methods]
#: Those without a network: their heatmaps were made elsewhere.
IMPORTED = imported_methods(EXPERIMENT)
#: Those whose self-checks are compared, and whether they are: a single one needs no recommendation.
COMPARED = [DRDC, *trained_methods(EXPERIMENT)]
RECOMMENDED = bool(COMPARED[1:] and EXPERIMENT.evaluation.self_check)
#: The experiments of its study, which are run in place of the experiment itself.
STUDIED = [one.experiment.experiment for one in points(EXPERIMENT)]
if STUDIED and not TESTED:
    refuse("a study needs test images, and the dataset has none; add some")
#: All trainings and scorings, the former in the order in which to start them.
EVERY_TRAINING = jobs.trainings(EXPERIMENT, EVALUATION)
EVERY_SCORING = jobs.scored_runs(EXPERIMENT, EVALUATION)
#: The trainings of DRDC.
TRAININGS = sorted(one for one in EVERY_TRAINING if one[0] not in EXPERIMENT.methods)


def one_of(names):
    """A regular expression of these names alone."""
    return "|".join(re.escape(str(name)) for name in dict.fromkeys(names))


# Of anything else, Snakemake says that there is no rule to produce it.
wildcard_constraints:
    experiment=one_of([EXPERIMENT.experiment]),
    seed=one_of(SEEDS),
    size=r"\d+",
    model=one_of(model for model, _ in EVERY_TRAINING),
    predictions=one_of(name for name, _ in jobs.predictions(EXPERIMENT, EVALUATION)),
    part=one_of([*CATEGORIES, ALL]),
    run=one_of(name for name, _ in EVERY_SCORING),
    method=one_of(COMPARED),
    network=one_of([BACKBONE, *EXPERIMENT.methods]),
    point=one_of(STUDIED) or "[^/]+",


@cache
def settings(stage, of=""):
    """The file of the settings that a stage uses, and no others: if one of them changes, its name does."""
    return str(handed(EXPERIMENT, stage, of).path)


def all_cores(wildcards, share=1):
    """A share of this computer's cores; on a cluster as many as the profile's `set-threads` says, else 4."""
    cores = internals.local_cores(workflow)
    return 4 if cores is None else jobs.share_of_cores(cores, share)


def training_threads(wildcards):
    """On one computer all trainings run side by side."""
    return all_cores(wildcards, share=len(EVERY_TRAINING))


#: Of an experiment of a study.
POINT_MEGABYTES = 8000


def point_threads(wildcards):
    """On one computer they run side by side, as many as it has memory and `--resources` GPUs for.

    Two with a core each take less time than one after the other with two cores each.
    """
    fitting = total_memory() // (POINT_MEGABYTES * 10**6)
    limits = [len(STUDIED), fitting, internals.gpu_limit(workflow)]
    return all_cores(wildcards, share=min(one for one in limits if one is not None))


def training_priority(wildcards):
    """Above 1, that is before all other jobs, and below that of `features`."""
    place = EVERY_TRAINING.index((wildcards.model, int(wildcards.seed)))
    return 2 - place / len(EVERY_TRAINING)


def scoring_threads(wildcards):
    """As trainings; at most 4, because half of a small job is single-threaded."""
    return min(4, all_cores(wildcards, share=len(EVERY_SCORING)))


def memory(megabytes):
    """What a job asks for at first; after each failed attempt it asks for as much again on top."""
    return lambda wildcards, attempt: megabytes * attempt


def check_gpus():
    """Without this, Snakemake would silently cut a rule's GPUs to `--resources gpu=N`."""
    limit = internals.gpu_limit(workflow)
    for rule_name, asked in internals.gpus_by_rule(workflow):
        if limit is not None and asked > limit:
            refuse(
                f"rule {rule_name} asks for {asked} GPUs, but --resources gpu={limit} allows only "
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
    for one in (*TABLES.values(), *FIGURES.values()):
        if one.name in named and (fault := missing(one.of)):
            refuse(f"{one.name} {fault}")
    for name in IMPORTED:
        if LAYOUT.detector(name) in map(Path, sys.argv[1:]):
            refuse(f"methods.{name}: {WITHOUT_NETWORK}")


def seen_by(name):
    """The arrays that a method or a variant of DRDC sees."""
    if name in IMPORTED:
        return []
    if name in EXPERIMENT.methods:
        facts = method_facts(EXPERIMENT, name)
        own = [LAYOUT.images(facts.input_size)]
        return own + ([LAYOUT.features] if facts.uses_features else [])
    return [LAYOUT.images(EXPERIMENT.dataset.image_size), LAYOUT.features]


def trained_on(model):
    """The arrays that a model is trained on."""
    if model in EXPERIMENT.methods:
        return seen_by(model)
    return [
        (
            LAYOUT.features
            if model == "base"
            else LAYOUT.images(EXPERIMENT.dataset.image_size)
        )
    ]


@cache
def fetched_for(model):
    """The files of the pre-trained networks that a method loads; none where it loads none."""
    return [LAYOUT.weights(model)] if pretrained_networks_of(EXPERIMENT, model) else []


@cache
def weights_files(network):
    """The local files of the weights of the experiment's backbone, or of a method's networks, see `local_files`."""
    sources = (
        [one.weights for one in EXPERIMENT.backbone.networks]
        if network == BACKBONE
        else [one.source for one in pretrained_networks_of(EXPERIMENT, network)]
    )
    return [file for source in dict.fromkeys(sources) for file in local_files(source)]


def models_of(name):
    """The trained models of a method or a variant of DRDC."""
    if name in EXPERIMENT.methods:
        return [] if name in IMPORTED else [name]
    return ["base", VARIANTS[FULL if name == DRDC else name].model]


def predicted(run, seed):
    """The predictions that a run is scored from: a variant of DRDC, a method, or the controls, which need none."""
    if run == CONTROLS:
        return []
    own = VARIANTS.get(FULL if run == DRDC else run)
    name = own.predictions if own else run
    return [
        LAYOUT.predictions(seed, name, part)
        for part in predicted_parts(name, CATEGORIES)
    ]


def scored(names=(), kinds=("scores",), methods=True):
    """The scores of DRDC with all seeds, of its variants `names`, and of all other methods if wanted."""
    own = [
        (variant.name, seed)
        for variant, seed in runs(VARIANTS, SEEDS, EVALUATION, names)
    ]
    others = [CONTROLS, *EXPERIMENT.methods] if methods else []
    every = own + [(name, seed) for name in others for seed in SEEDS]
    return [LAYOUT.scored(seed, run, kind) for run, seed in every for kind in kinds]


def of_compared(files):
    """What all compared methods need of some kind, each once."""
    return list(dict.fromkeys(path for name in COMPARED for path in files(name)))


def scored_for_detector(method):
    """The scores that are noted in a detector's file: of the first seed, where there are test images."""
    names = [FULL if method == DRDC else method]
    if method == DRDC and ("steps=1", SEEDS[0]) in EVERY_SCORING:
        names.append("steps=1")
    return [LAYOUT.scored(SEEDS[0], name) for name in names if TESTED]


def missing(kind):
    """What this experiment lacks for tables and figures of a kind, and the fix; "" where it lacks nothing."""
    if kind not in ("losses", "self_check") and not TESTED and not STUDIED:
        return "needs test images, and the dataset has none; add some, or ask for `detector` alone"
    return lacking(
        kind,
        VARIANTS,
        EXPERIMENT.methods,
        EXPERIMENT.evaluation.self_check,
        EXPERIMENT.study.values,
        EXPERIMENT.reported,
    )


def ingredients(kind):
    """The inputs of a table or a figure, see drdc/reporting/kinds.py."""
    if kind == "costs":
        return [LAYOUT.costs]
    if kind in VARIANTS_OF:
        further = {
            "readings": [LAYOUT.scored(seed, FULL, "map_scales") for seed in SEEDS],
            "costs_and_scores": [LAYOUT.costs],
        }
        own = scored(VARIANTS_OF[kind](VARIANTS), methods=kind in WITH_METHODS)
        return own + further.get(kind, [])
    if kind in ("self_check", "estimates"):
        own = [LAYOUT.self_check(name) for name in COMPARED]
        return own + (ingredients("image_scores") if kind == "estimates" else [])
    if kind == "study":
        return [LAYOUT.study]
    if kind == "regions":
        return [LAYOUT.regions]
    if kind == "losses":
        return [LAYOUT.losses(seed, model) for model, seed in TRAININGS]
    if kind in ("predictions", "heatmaps"):
        shown = METHODS if kind == "heatmaps" else [FULL]
        return [
            LAYOUT.images(EXPERIMENT.dataset.image_size),
            LAYOUT.masks,
            *(LAYOUT.scored(SEEDS[0], name, "image_scores") for name in shown),
            *(path for name in shown for path in predicted(name, SEEDS[0])),
        ]
    return [LAYOUT.scored(seed, name, kind) for name in METHODS for seed in SEEDS]


def shown():
    """All tables and figures of this experiment."""
    return [LAYOUT.tables / f"{name}.html" for name in wanted(TABLES)] + [
        LAYOUT.figures / f"{name}.png" for name in wanted(FIGURES)
    ]


def wanted(names):
    """The tables or figures that this experiment has."""
    return [one.name for one in names.values() if not missing(one.of)]
