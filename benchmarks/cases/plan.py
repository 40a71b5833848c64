"""How long Snakemake plans a large experiment: the paper's with more seeds."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from ..harness import Contestant, Race, Size, peak_of, python

ROOT = Path(__file__).parents[2]
SEEDS = 32


def races(size: Size) -> Iterator[Race]:
    seeds = 1 if size.tiny else SEEDS
    with TemporaryDirectory() as folder:
        settings = yaml.safe_load((ROOT / "config/mvtec.yaml").read_text(encoding="utf-8"))
        path = Path(folder, "large.yaml")
        path.write_text(yaml.safe_dump(settings | {"seeds": list(range(seeds))}), encoding="utf-8")
        command = python("-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder)
        command += ["--configfile", path, "--cores", "2", "--dry-run", "--quiet", "rules"]
        contestant = Contestant("snakemake --dry-run", partial(peak_of, command), peak=float)
        yield Race(f"`config/mvtec.yaml` with {seeds} seeds", "plan", [contestant], rounds=1)
