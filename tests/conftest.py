"""With this file pytest puts its folder on the path: any test can `from running import snakemake`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The networks of the tests are tiny: more threads would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small experiment that is trained, scored and exported; only to be read."""
    from exporting import experiment

    return experiment(tmp_path_factory.mktemp("exported"))
