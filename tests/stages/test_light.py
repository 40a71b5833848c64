"""Scoring, tables, figures and the gallery start without the libraries that take seconds to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "diffusers", "timm", "anomalib", "sklearn", "matplotlib", "scipy.stats")


@pytest.mark.parametrize("stage", ["score", "collect", "tables", "figures", "gallery", "about"])
def test_a_light_stage_imports_nothing_heavy(stage: str) -> None:
    code = f"""
import sys
from drdc.cli import _parser, _stage
from drdc.experiment.stage_settings import stage_settings
_parser({stage!r}), _stage({stage!r})
import drdc.experiment.provenance, drdc.results.heatmaps
print(sorted(set({HEAVY}) & set(sys.modules)), "numpy" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"
