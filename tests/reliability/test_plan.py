"""A plan of more than 4,000 jobs; `python -m benchmarks --only plan` measures how long it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from running import ROOT, planned, snakemake

SEEDS = 32


def _plan(folder: Path, seeds: int) -> dict[str, int]:
    """Jobs of each rule that the paper's experiment plans with so many seeds."""
    settings = yaml.safe_load((ROOT / "config/mvtec.yaml").read_text()) | {"seeds": list(range(seeds))}
    settings["evaluation"]["seeds"] = None
    (folder / "seeds.yaml").write_text(yaml.safe_dump(settings))
    plan = snakemake(folder, "--configfile", folder / "seeds.yaml", "--dry-run", "--quiet", "rules")
    assert plan.returncode == 0, plan.stderr
    return planned(plan.stdout + plan.stderr)


@pytest.mark.long
def test_the_papers_experiment_with_many_seeds_is_planned_job_by_job(tmp_path: Path) -> None:
    one, many = _plan(tmp_path, 1), _plan(tmp_path, SEEDS)
    assert many["train"] == 3 * SEEDS  # the base and two diffusion models, with and without conditions
    assert {rule: many[rule] for rule in ("train", "predict", "score")} == {
        rule: SEEDS * one[rule] for rule in ("train", "predict", "score")
    }
    assert {many[rule] for rule in ("prepare", "features", "costs", "collect", "html_report")} == {1}
    assert sum(many.values()) > 4000
