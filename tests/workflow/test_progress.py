"""A run says on the terminal how far its running jobs are."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from terminal import said

ROOT = Path(__file__).parents[2]
SNAKEFILE = f"""
from drdc.results.layout import Layout
from drdc.tools import status

LAYOUT = Layout("tiny")
status.TOLD_AFTER = 0.2

include: "{ROOT}/workflow/rules/progress.smk"

onstart:
    tell_progress()

rule train:
    output: "done"
    log: "results/tiny/logs/train.seed0.base.log"
    shell:
        "echo $(date '+%F %T'),000 progress: 1200 of 6500 images, 250 s left > {{log}}; "
        "sleep 2; touch {{output}}"
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_tells_how_far_each_running_job_is_on_a_terminal_alone(tmp_path: Path, terminal: bool) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "results/tiny/logs").mkdir(parents=True)
    text = said([sys.executable, "-m", "snakemake", "--cores", "1"], tmp_path, terminal=terminal)
    told = [line for line in text.splitlines() if line.startswith("train seed0 base: ")]
    assert bool(told) == terminal, text
    assert all(line.startswith("train seed0 base: 1,200 of 6,500 images, 18 %, about 4:") for line in told)
