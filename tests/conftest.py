"""With this file pytest puts its folder on the path: any test can `from running import snakemake`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

# The networks of the tests are tiny: more threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small experiment that is trained, scored and exported; only to be read."""
    from exporting import experiment
    from sharing import shared

    return shared(tmp_path_factory, "exported", experiment) / "results/tiny"


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of the workflow with `running.TINY`; only to be read."""
    from running import finish
    from sharing import shared

    return shared(tmp_path_factory, "finished", finish)


def pytest_configure() -> None:
    """Ctrl-C reaches what the tests start, also where the tests themselves run in the background."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


#: Folders whose files take long: they come first, so that all processes end at about the same time.
FIRST = ("docs", "cluster", "workflow", "reliability", "tools", "detection", "methods")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What asks for a browser or a SLURM is marked so, and what takes long comes first."""
    order = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.parent.name, len(order)))
    for item in items:
        for fixture, mark in (("browser", "browser"), ("cluster", "slurm")):
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
