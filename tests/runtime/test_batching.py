"""Progress of long work: a bar on a terminal, lines in a log."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import pytest
from terminal import said

from drdc.runtime import batching
from drdc.runtime.batching import progress_bar


def test_a_log_says_now_and_then_how_far_the_work_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(batching.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    with caplog.at_level(logging.INFO):
        assert list(progress_bar(range(8), first=2, images=16)) == list(range(8))
    assert caplog.messages == [
        "progress: 64 of 160 images, 36 s left",
        "progress: 112 of 160 images, 14 s left",
    ]


def test_a_short_work_says_nothing_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert list(progress_bar(range(1000))) == list(range(1000))
    assert caplog.messages == []


@pytest.mark.parametrize(("level", "bar"), [("INFO", True), ("WARNING", False)])
def test_a_terminal_has_a_bar_unless_messages_are_switched_off(tmp_path: Path, level: str, bar: bool) -> None:
    code = (
        f"import logging; logging.basicConfig(level=logging.{level}, format='%(message)s')\n"
        "from drdc.runtime.batching import progress_bar; list(progress_bar(range(3), first=1))"
    )
    text = said([sys.executable, "-c", code], tmp_path)
    assert bool(re.search(r"4/4 ", text)) == bar, text
    assert "progress:" not in text
