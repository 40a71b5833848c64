"""What a failed job's log is told as."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from drdc.runtime.failures import ending, reason

TRACEBACK = "Traceback (most recent call last):\n  File ...\nValueError: no\n"


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("10:00 step 1\ndrdc: base.epochs: too many\n", "base.epochs: too many"),
        ("drdc: first\n10:00 again\ndrdc: last\n\n", "last"),
        ("drdc: two images:\n  a.png\n  b.png\n", "two images:\n      a.png\n      b.png"),
        (TRACEBACK, "it was killed or crashed; its log ends with: ValueError: no"),
        ("bash: drdc: command not found\n", "it was killed or crashed; its log ends with: bash: drdc: comm"),
        ("", "it left no message: it never started, or was killed"),
        (" \n\n", "it left no message: it never started, or was killed"),
    ],
)
def test_a_log_is_told_by_its_last_sentence(tmp_path: Path, log: str, told: str) -> None:
    (tmp_path / "a.log").write_text(log)
    assert reason(tmp_path / "a.log").startswith(told)


def test_a_long_message_is_cut_and_a_damaged_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"drdc: many:\n" + b"".join(b"  \xff%d\n" % n for n in range(20)))
    lines = reason(log).splitlines()
    assert len(lines) == 6
    assert lines[-1].strip() == "... and 16 more lines"


def test_a_log_that_is_missing_or_of_an_earlier_run_tells_nothing(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    assert reason(log).startswith("it left no message")
    log.write_text("drdc: yesterday's reason\n")
    os.utime(log, (1000, 1000))
    assert reason(log, began=2000).startswith("it left no message")
    assert reason(log, began=500) == "yesterday's reason"


def test_of_many_failed_jobs_the_first_are_told(tmp_path: Path) -> None:
    text = ending([(f"predict {n}", tmp_path / f"{n}.log") for n in range(300)], 0)
    assert text.startswith("drdc: 300 jobs failed; ")
    assert text.endswith("and 290 more; their logs are in the same folder")
    assert len(text.splitlines()) == 1 + 2 * 10 + 1
