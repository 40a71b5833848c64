"""With this file pytest puts its folder on the path: any test can `from running import snakemake`."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small experiment that is trained, scored and exported; only to be read."""
    from exporting import experiment

    return experiment(tmp_path_factory.mktemp("exported"))
