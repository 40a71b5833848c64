# How a run ends in which jobs failed: what was asked for and needs none of them is made, and the last lines on
# the screen say which failed, and why.
import subprocess
import sys
import time

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
INDISPENSABLE = {"prepare", "costs"}


def salvage():
    """Make in part what waits for a failed job, and remove what it would read of an earlier run.

    Not after Ctrl-C, nor where the first failure is to end the run.
    """
    if workflow.scheduler.running or not workflow.execution_settings.keep_going:
        return
    jobs, outdated = salvageable()
    for path in outdated:
        Path(path).unlink(missing_ok=True)
    if jobs:
        command = ["drdc", "salvage", *jobs]
        subprocess.run([*command, "--config", settings("salvage")])


def salvageable():
    """Jobs of this run, as their logs are called, and the files that they must not read."""
    lost = set(workflow.dag.needrun_jobs())
    jobs, outdated = [], set()
    for rule_name in SALVAGED:
        for job in [
            one for one in lost if one.rule.name == rule_name and can_be_made(one, lost)
        ]:
            needed = workflow.dag.dependencies[job]
            outdated |= {path for one in lost & needed.keys() for path in needed[one]}
            jobs.append(Path(job.log[0]).stem)
            lost.remove(job)
    return jobs, outdated


def can_be_made(job, lost):
    """Whether a job has some of what it needs, if the jobs `lost` give nothing."""
    needed = {one.rule.name for one in workflow.dag.dependencies[job] if one in lost}
    given = {one.rule.name for one in workflow.dag.dependencies[job] if one not in lost}
    failed = job in workflow.scheduler.failed
    return not failed and not needed & INDISPENSABLE and bool(given - INDISPENSABLE)


def last_words():
    """The cause, for a reader who sees nothing but the last lines."""
    scheduler = workflow.scheduler
    if not scheduler.failed:
        cause = scheduler._executor_error or "stopped before the end"
        return f"drdc: {cause}; the same command goes on where this run was"
    return ending(
        [(described(job), Path(job.log[0])) for job in scheduler.failed], BEGAN
    )


def described(job):
    """`train_base (seed=0)`"""
    values = [f"{name}={value}" for name, value in job.wildcards_dict.items()]
    own = ", ".join(value for value in values if not value.startswith("experiment="))
    return f"{job.rule.name} ({own})" if own else job.rule.name
