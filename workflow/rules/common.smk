from drdc.errors import UserError
from drdc.experiment import load_experiment
from drdc.settings import inline
from drdc.layout import EVIDENCE, FIGURES, TABLES, Layout
from drdc.variants import ABLATION, FULL, predicted_parts, runs, swept, variants

try:
    EXPERIMENT = load_experiment(config)
except UserError as error:
    raise WorkflowError(str(error))
# Complete, and with numbers where --config gave text.
config = EXPERIMENT.model_dump(mode="json")

LAYOUT = Layout(EXPERIMENT.experiment)
RESULTS = str(LAYOUT.root)
CATEGORIES = EXPERIMENT.dataset.categories
SEEDS = EXPERIMENT.seeds
VARIANTS = variants(EXPERIMENT.sampling, EXPERIMENT.fusion, EXPERIMENT.evaluation)
RUNS = runs(VARIANTS, SEEDS, EXPERIMENT.evaluation)
TRAININGS = sorted(
    {(model, seed) for variant, seed in RUNS for model in ("base", variant.model)}
)


wildcard_constraints:
    experiment="[^/]+",
    seed=r"\d+",
    model="diffusion|unconditional",
    predictions="[^/]+",
    part="[^/]+",
    variant="[^/]+",


def settings(stage, variant=FULL):
    """The settings that a stage uses, and no others: when one of them changes, the rule runs again."""
    return inline(EXPERIMENT, stage, variant)


def training_threads(wildcards):
    """All seeds are trained side by side."""
    return max(1, (workflow.cores or 1) // len(SEEDS))


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
        for v, seed in runs(VARIANTS, SEEDS, EXPERIMENT.evaluation, names)
    ]


def ingredients(kind):
    """What a table or a figure is made of, see TABLES and FIGURES in drdc/layout.py."""
    if kind == "scores":
        return scored([])
    if kind == "ablation":
        return scored(ABLATION)
    if kind == "sweeps":
        return scored(swept(VARIANTS))
    if kind == "costs":
        return [LAYOUT.costs, *scored(swept(VARIANTS, "steps"))]
    if kind == "losses":
        return [LAYOUT.losses(seed, model) for model, seed in TRAININGS]
    if kind == "predictions":
        scores = LAYOUT.seed_evidence(SEEDS[0], "image_scores")
        return [scores, *predicted(FULL, SEEDS[0])]
    return [LAYOUT.seed_evidence(seed, kind) for seed in SEEDS]


def shown():
    """All tables and figures of this experiment."""
    return [LAYOUT.tables / f"{name}.html" for name in wanted(TABLES)] + [
        LAYOUT.figures / f"{name}.png" for name in wanted(FIGURES)
    ]


def wanted(names):
    """The tables or figures that this experiment has: all but those whose cells it does not run."""
    present = {"ablation": EXPERIMENT.evaluation.ablation, "sweeps": swept(VARIANTS)}
    return [name for name, kind in names.items() if present.get(kind, True)]
