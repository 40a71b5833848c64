"""`drdc tables`: which columns of others stand next to ours."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import yaml
from exporting import drdc


def test_the_papers_numbers_stand_next_to_those_of_its_dataset_alone(exported: Path, tmp_path: Path) -> None:
    """The categories of the synthetic dataset are called like two of MVTec AD."""
    folder = shutil.copytree(exported.parents[1], tmp_path / "project")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["dataset"] |= {"root": "results/tiny/dataset", "categories": ["capsule", "wood"]}
    for name, sources in (("synthetic", {"ours"}), ("mvtec", {"ours", "paper"})):
        config["dataset"]["name"] = name
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        assert drdc(folder, "tables", "table2", "--config", "config.yaml", "--threads", "1") == 0
        found = pd.read_csv(folder / "results/tiny/tables/table2.csv")
        assert set(found["source"]) == sources
