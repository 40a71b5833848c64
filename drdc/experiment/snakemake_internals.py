"""What the workflow reads of Snakemake beyond its documentation: attributes of `workflow` and its jobs.

Rule files see them as the global `workflow`. They may change with any release, so that `pyproject.toml` names
the releases that are known to have them, and a test asks the installed one for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: Snakemake's `Workflow` and `Job`; importing them would take a second.
Workflow = Any
Job = Any


def has_configfile(workflow: Workflow) -> bool:
    """Whether `--configfile` names one."""
    return bool(workflow.overwrite_configfiles)


def configfiles(workflow: Workflow) -> list[Path]:
    """Those that `--configfile` names, or the one of the Snakefile."""
    return [Path(file) for file in workflow.configfiles]


def given_config(workflow: Workflow) -> dict[str, Any]:
    """What `--config` gives."""
    return dict(workflow.config_settings.config)


def snakefile(workflow: Workflow) -> str:
    """Path of the Snakefile."""
    return str(workflow.main_snakefile)


def local_cores(workflow: Workflow) -> int | None:
    """This computer's cores that jobs may take; None where they run on others."""
    if workflow.non_local_exec or workflow.remote_exec:
        return None
    return int(workflow.resource_settings.cores or 1)


def gpu_limit(workflow: Workflow) -> int | None:
    """`--resources gpu=N`."""
    limit = workflow.global_resources.get("gpu").value
    return None if limit is None else int(limit)


def gpus_by_rule(workflow: Workflow) -> Iterator[tuple[str, int]]:
    """(rule, GPUs that it asks for), where that is a number."""
    for rule in workflow.rules:
        asked = rule.resources.get("gpu")
        if not asked.is_evaluable():
            yield rule.name, int(asked.value or 0)


def use_environment(workflow: Workflow, path: str) -> None:
    """With `--sdm conda`, run the commands of all rules in this environment."""
    for rule in workflow.rules:
        if rule.shellcmd:
            rule.conda_env = path


def has_ended(workflow: Workflow) -> bool:
    """Whether no job runs any more, and the first failure did not end the run."""
    return not workflow.scheduler.running and bool(workflow.execution_settings.keep_going)


def unmade_jobs(workflow: Workflow) -> set[Job]:
    """The jobs of this run that have not been done."""
    return set(workflow.dag.needrun_jobs())


def failed_jobs(workflow: Workflow) -> set[Job]:
    """Those of them that have failed."""
    return set(workflow.scheduler.failed)


def running_logs(workflow: Workflow) -> list[Path]:
    """The logs of the jobs that are running now, or wait in the queue of a cluster."""
    return [Path(job.log[0]) for job in list(workflow.scheduler.running) if job.log]


def executor_error(workflow: Workflow) -> str:
    """Why the run was stopped, where it was not for a failed job; "" if nothing is known."""
    return str(workflow.scheduler._executor_error or "")


def inputs_by_job(workflow: Workflow, job: Job) -> dict[Job, set[str]]:
    """The jobs that a job needs, and the files of each."""
    return dict(workflow.dag.dependencies[job])


def rule_of(job: Job) -> str:
    """The rule of a job."""
    return str(job.rule.name)


def outputs_of(job: Job) -> set[str]:
    """The files that a job makes."""
    return set(job.output)


def mark_incomplete(workflow: Workflow, job: Job) -> None:
    """Have the next run make a job's files again, as those of a job that was killed."""
    workflow.persistence.started(job)


def log_of(job: Job) -> Path:
    """The job's log."""
    return Path(job.log[0])


def wildcards_of(job: Job) -> dict[str, str]:
    """The job's wildcards by name."""
    return dict(job.wildcards_dict)
