"""The last lines of a run of the workflow with failed jobs: which, why, and where their logs are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

#: At most as many failed jobs are listed, with as many lines of each one's message.
TOLD_JOBS, TOLD_LINES = 10, 5


def ending(failed: Sequence[tuple[str, Path]], began: float) -> str:
    """The last words of a run: every failed job, (name, log), with its reason and its log.

    Args:
        began: when the run began, in seconds since 1970; an older log is of an earlier run.
    """
    jobs = "1 job failed" if len(failed) == 1 else f"{len(failed)} jobs failed"
    lines = [f"drdc: {jobs}; fix the cause, and the same command runs what is missing"]
    for name, log in failed[:TOLD_JOBS]:
        lines += [f"  {name}: {reason(log, began)}", f"    log: {log}"]
    if more := len(failed) - TOLD_JOBS:
        lines += [f"  and {more} more; their logs are in the same folder"] if more > 0 else []
    return "\n".join(lines)


def reason(log: Path, began: float = 0) -> str:
    """The sentence with which a command ended, or what is known of one that ended without."""
    try:
        current = log.stat().st_mtime >= began
        text = log.read_text(encoding="utf-8", errors="replace") if current else ""
    except OSError:
        text = ""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return "it left no message: it never started, or was killed"
    sentences = [i for i, line in enumerate(lines) if line.startswith("drdc: ")]
    if not sentences:
        return f"it was killed or crashed; its log ends with: {lines[-1].strip()}"
    return _shortened([lines[sentences[-1]].removeprefix("drdc: "), *lines[sentences[-1] + 1 :]])


def _shortened(lines: list[str]) -> str:
    left_out = len(lines) - TOLD_LINES
    more = [f"... and {left_out} more lines"] if left_out > 0 else []
    return "\n    ".join(lines[:TOLD_LINES] + more)
