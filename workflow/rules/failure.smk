# How a run ends: with the recommended detector, where it found one; with failed jobs, with a partial report of
# everything that does not need them, and with last lines on the screen that say which failed, and why.
import subprocess
import sys
import time

from drdc.experiment import snakemake_internals as internals
from drdc.runtime.failures import ending
from drdc.runtime.resumable_array import put_back

BEGAN = time.time()
# Rules whose outputs can be made in part, in the order of their inputs. Nothing is trained, predicted or timed.
MADE_IN_PART = (
    "score",
    "collect",
    "tables",
    "figures",
    *(f"{one.name}_and_categories" for one in FIGURES.values() if one.further),
    "gallery",
)
# Rules whose outputs must be complete.
INDISPENSABLE = {"prepare", "images", "groups", "costs"}


def make_partial_report():
    """Make a partial report of the jobs that wait for a failed one, without what an earlier run left in their place.

    Not after Ctrl-C, nor where the first failure is to end the run.
    """
    for job in internals.failed_jobs(workflow):
        # What is marked with `update` was restored as if it were new.
        internals.mark_incomplete(workflow, job)
    if not internals.has_ended(workflow):
        return
    jobs, outdated = wanted_in_part()
    for job in outdated:
        take_away(job)
    for job in jobs:
        internals.mark_incomplete(workflow, job)
    if jobs:
        names = [internals.log_of(job).stem for job in jobs]
        command = ["drdc", "partial-report", *names]
        subprocess.run([*command, "--config", settings("partial_report")])


def wanted_in_part():
    """Jobs of this run, and those whose files they must not read."""
    lost = internals.unmade_jobs(workflow)
    jobs, outdated = [], set()
    for rule_name in MADE_IN_PART:
        for job in [
            one
            for one in lost
            if internals.rule_of(one) == rule_name and can_be_made(one, lost)
        ]:
            outdated |= lost & internals.inputs_by_job(workflow, job).keys()
            jobs.append(job)
            lost.remove(job)
    return jobs, outdated


def take_away(job):
    """Remove what a job left in an earlier run; predictions go where `drdc predict` finds those that are still valid."""
    if internals.rule_of(job) == "predict":
        of = internals.wildcards_of(job)
        names = of["seed"], of["predictions"], of["part"]
        put_back(LAYOUT.predictions(*names), LAYOUT.unfinished(*names))
    for path in internals.outputs_of(job):
        Path(path).unlink(missing_ok=True)


def can_be_made(job, lost):
    """Whether a job has some of its inputs, if the jobs `lost` give none."""
    needed = internals.inputs_by_job(workflow, job)
    absent = {internals.rule_of(one) for one in needed if one in lost}
    given = {internals.rule_of(one) for one in needed if one not in lost}
    if job in internals.failed_jobs(workflow) or any(map(stays, lost & needed.keys())):
        return False
    return not absent & INDISPENSABLE and bool(given - INDISPENSABLE)


def stays(job):
    """Whether a job left a trained model in an earlier run, which may be as valid as before and is never removed."""
    made = map(Path, internals.outputs_of(job))
    return internals.rule_of(job) == "train" and any(path.exists() for path in made)


def recommendation():
    """Which detector to use, where this run had to find out."""
    words = LAYOUT.recommended.with_suffix(".txt")
    made = RECOMMENDED and words.is_file() and words.stat().st_mtime >= BEGAN
    return words.read_text(encoding="utf-8") if made else ""


def last_words():
    """The cause, for a reader who sees nothing but the last lines."""
    failed = internals.failed_jobs(workflow)
    if not failed:
        cause = internals.executor_error(workflow) or "stopped before the end"
        return f"drdc: {cause}; the same command resumes where this run was"
    return ending([(described(job), internals.log_of(job)) for job in failed], BEGAN)


def described(job):
    """`train (seed=0, model=base)`"""
    wildcards = internals.wildcards_of(job)
    own = ", ".join(f"{k}={v}" for k, v in wildcards.items() if k != "experiment")
    return f"{internals.rule_of(job)} ({own})" if own else internals.rule_of(job)
