# How a run ends in which jobs failed: what was asked for and needs none of them is made, and the last lines on
# the screen say which failed, and why.
import subprocess
import sys
import time

from drdc.experiment import snakemake_internals as internals
from drdc.runtime.failures import ending

BEGAN = time.time()
# What can be made in part, after what it reads from. Nothing is trained, predicted or timed.
SALVAGED = (
    "score",
    "collect",
    "tables",
    "figures",
    *(f"{one.name}_and_categories" for one in FIGURES.values() if one.further),
    "gallery",
)
# Of these nothing can be missing.
INDISPENSABLE = {"prepare", "images", "costs"}


def salvage():
    """Make in part what waits for a failed job, and remove what it would read of an earlier run.

    Not after Ctrl-C, nor where the first failure is to end the run.
    """
    if not internals.has_ended(workflow):
        return
    jobs, outdated = salvageable()
    for path in outdated:
        Path(path).unlink(missing_ok=True)
    if jobs:
        command = ["drdc", "salvage", *jobs]
        subprocess.run([*command, "--config", settings("salvage")])


def salvageable():
    """Jobs of this run, as their logs are called, and the files that they must not read."""
    lost = internals.unmade_jobs(workflow)
    jobs, outdated = [], set()
    for rule_name in SALVAGED:
        for job in [
            one
            for one in lost
            if internals.rule_of(one) == rule_name and can_be_made(one, lost)
        ]:
            needed = internals.inputs_by_job(workflow, job)
            outdated |= {path for one in lost & needed.keys() for path in needed[one]}
            jobs.append(internals.log_of(job).stem)
            lost.remove(job)
    return jobs, outdated


def can_be_made(job, lost):
    """Whether a job has some of what it needs, if the jobs `lost` give nothing."""
    needed = internals.inputs_by_job(workflow, job)
    absent = {internals.rule_of(one) for one in needed if one in lost}
    given = {internals.rule_of(one) for one in needed if one not in lost}
    failed = job in internals.failed_jobs(workflow)
    return not failed and not absent & INDISPENSABLE and bool(given - INDISPENSABLE)


def last_words():
    """The cause, for a reader who sees nothing but the last lines."""
    failed = internals.failed_jobs(workflow)
    if not failed:
        cause = internals.executor_error(workflow) or "stopped before the end"
        return f"drdc: {cause}; the same command resumes where this run was"
    return ending([(described(job), internals.log_of(job)) for job in failed], BEGAN)


def described(job):
    """`train_base (seed=0)`"""
    wildcards = internals.wildcards_of(job)
    own = ", ".join(f"{k}={v}" for k, v in wildcards.items() if k != "experiment")
    return f"{internals.rule_of(job)} ({own})" if own else internals.rule_of(job)
