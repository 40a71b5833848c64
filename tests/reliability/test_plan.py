"""A plan of more than 4,000 jobs; `benchmarks/plan.py` measures how long it takes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from running import ROOT, planned, snakemake

SEEDS = 32


@pytest.mark.long
def test_the_papers_experiment_with_many_seeds_is_planned_job_by_job(tmp_path: Path) -> None:
    settings = yaml.safe_load((ROOT / "config/mvtec.yaml").read_text()) | {"seeds": list(range(SEEDS))}
    (tmp_path / "large.yaml").write_text(yaml.safe_dump(settings))
    plan = snakemake(tmp_path, "--configfile", tmp_path / "large.yaml", "--dry-run", "--quiet", "rules")
    assert plan.returncode == 0, plan.stderr
    found = planned(plan.stdout + plan.stderr)
    by_seed = {"train": 1 + 2, "predict": 15 + 15, "score": 2 + 91}
    assert {rule: found[rule] for rule in by_seed} == {rule: SEEDS * n for rule, n in by_seed.items()}
    assert {found[rule] for rule in ("prepare", "features", "costs", "collect", "html_report")} == {1}
    assert sum(found.values()) > 4000
