# DRDC: images -> manifest -> features -> trained models -> predictions -> scores -> tables and figures.
# `snakemake --cores all` runs the demo; `--configfile config/mvtec.yaml` the paper's experiment.
# Each rule is one command (`drdc <stage>`) and one module of drdc/stages/.
from snakemake.utils import min_version, validate

min_version("9.18")


# A file of config/ is a whole experiment: one that is given by --configfile is not laid over the demo's.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


container: "docker://python:3.11"


include: "workflow/rules/common.smk"


validate(config, "workflow/schemas/config.schema.json")


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"


rule all:
    default_target: True
    input:
        expand("results/{experiment}/scores.csv", experiment=EXPERIMENT.experiment),
        expand(
            "results/{experiment}/tables/{table}.md",
            experiment=EXPERIMENT.experiment,
            table=["summary", *TABLES],
        ),
        expand(
            "results/{experiment}/figures/{figure}.png",
            experiment=EXPERIMENT.experiment,
            figure=["fig3", "overview", "losses"],
        ),
