from drdc.errors import UserError
from drdc.experiment import load_experiment
from drdc.settings import inline
from drdc.layout import FIGURES, FORMATS, TABLES
from drdc.variants import ABLATION, FULL, predicted_parts, runs, variants

try:
    EXPERIMENT = load_experiment(config)
except UserError as error:
    raise WorkflowError(str(error))
# Complete, and with numbers where --config gave text.
config = EXPERIMENT.model_dump(mode="json")

RESULTS = f"results/{EXPERIMENT.experiment}"
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
        f"{RESULTS}/seed{seed}/predictions/{name}/{part}.npy"
        for part in predicted_parts(name, CATEGORIES)
    ]


def scored(names=None):
    """The scores of the whole method with all seeds, and of the variants `names`, or of all."""
    return [
        f"{RESULTS}/seed{seed}/"
        + ("scores.csv" if v.name == FULL else f"variants/{v.name}.csv")
        for v, seed in runs(VARIANTS, SEEDS, EXPERIMENT.evaluation, names)
    ]


def ingredients(kind):
    """What a table or a figure is made of, see TABLES and FIGURES in drdc/layout.py."""
    if kind == "scores":
        return scored([])
    if kind == "ablation":
        return scored(ABLATION)
    if kind == "sweeps":
        return scored([name for name in VARIANTS if "=" in name])
    if kind == "costs":
        return [
            f"{RESULTS}/costs.csv",
            *scored([name for name in VARIANTS if "steps=" in name]),
        ]
    if kind == "losses":
        return [f"{RESULTS}/seed{seed}/{model}.losses.csv" for model, seed in TRAININGS]
    if kind == "predictions":
        return [
            f"{RESULTS}/seed{SEEDS[0]}/image_scores.csv",
            *predicted(FULL, SEEDS[0]),
        ]
    return [f"{RESULTS}/seed{seed}/{kind}.csv" for seed in SEEDS]


def wanted(names):
    """The tables or figures that this experiment has: all but those whose cells it does not run."""
    swept = any("=" in name for name in VARIANTS)
    present = {"ablation": EXPERIMENT.evaluation.ablation, "sweeps": swept}
    return [name for name, kind in names.items() if present.get(kind, True)]
