from drdc.config import inline, load_experiment
from drdc.errors import UserError

try:
    EXPERIMENT = load_experiment(config)
except UserError as error:
    raise WorkflowError(str(error))
# Complete, and with numbers where --config gave text.
config = EXPERIMENT.model_dump(mode="json")

CATEGORIES = EXPERIMENT.dataset.categories
SEEDS = EXPERIMENT.seeds
TABLES = ["table1", "table2", "table3"]


wildcard_constraints:
    experiment="[^/]+",
    seed=r"\d+",
    category="[^/]+",


def settings(stage):
    """The settings that a stage uses, and no others: when one of them changes, the rule runs again."""
    return inline(EXPERIMENT, stage)


def training_threads(wildcards):
    """All seeds are trained side by side."""
    return max(1, (workflow.cores or 1) // len(SEEDS))
