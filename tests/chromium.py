"""A headless Chromium for tests of pages."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's; where there is none the test is skipped, or fails if DRDC_REQUIRE_BROWSER is 1."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _unavailable("playwright is not installed (pip install drdc[dev])")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        _unavailable("there is no Chromium or Chrome")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


def _unavailable(reason: str) -> None:
    if os.environ.get("DRDC_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
