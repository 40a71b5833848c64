# What a run says on the terminal while its jobs, whose own messages are in their logs, take long.
import sys
from threading import Thread

from drdc.experiment import snakemake_internals as internals
from drdc.tools.status import keep_telling


def tell_progress():
    """Now and then a line for each running job, from its log, on a terminal alone.

    By a thread of Snakemake itself, which ends with it, however that is killed.
    """
    if sys.stderr.isatty():
        told = LAYOUT, lambda: internals.running_logs(workflow)
        Thread(target=keep_telling, args=told, daemon=True).start()
