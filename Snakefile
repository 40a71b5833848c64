# DRDC: images -> manifest -> features -> trained models -> predictions -> scores -> tables and figures -> report.
# `snakemake --cores all` runs the demo; `--configfile config/mvtec.yaml` the paper's experiment; `snakemake table5`
# or `fig2` one result. Each rule is one command (`drdc <stage>`) and one module of drdc/stages/.
import atexit
from pathlib import Path

from snakemake.utils import min_version, validate

from drdc.experiment import snakemake_internals as internals
from drdc.runtime.project import CONFIG, PROJECT

min_version("9.18")


# A file of config/ is a whole experiment: one that is given by --configfile is not laid over the demo's, which an
# installed package brings along.
if not internals.has_configfile(workflow):

    configfile:
        "config/config.yaml"
        if Path("config/config.yaml").exists()
        else str(CONFIG / "config.yaml")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


validate(config, "workflow/schemas/config.schema.json")


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/predict.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/detect.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/failure.smk"
include: "workflow/rules/progress.smk"


check_gpus()
check_targets()


# All commands are `drdc`. Only with `--sdm conda`, and where there is a checkout to install from, it is installed again,
# in an environment of its own.
if (PROJECT / "pyproject.toml").exists():
    internals.use_environment(workflow, f"{workflow.basedir}/workflow/envs/drdc.yaml")


# On a cluster these run next to Snakemake: the first two need a network, the others are seconds of one core.
localrules:
    download,
    weights,
    points,
    gather,
    collect,
    tables,
    figures,
    about,
    html_report,


rule all:
    default_target: True
    input:
        shown() if STUDIED else [*rules.everything.input, *rules.detector.input],
        rules.report.input if TESTED and not STUDIED else [],


# Not at planning: a dry run writes nothing.
onstart:
    for one in HANDED:
        one.write()
    if not RECOMMENDED:
        # One of an earlier run with other methods; `drdc detect` would take it.
        for one in (LAYOUT.recommended, LAYOUT.recommended.with_suffix(".txt")):
            one.unlink(missing_ok=True)
    tell_progress()


# After all that Snakemake says, and also with --quiet.
onsuccess:
    atexit.register(print, recommendation(), end="", file=sys.stderr)


# Likewise. The exit code stays 1.
onerror:
    make_partial_report()
    atexit.register(print, last_words(), file=sys.stderr)
