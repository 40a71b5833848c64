"""How long Snakemake plans a large experiment: the paper's with more seeds.

    python benchmarks/plan.py --seeds 32

The experiment is made in a temporary folder; printed are the number of jobs and the seconds that
`snakemake --dry-run` takes (median of three).
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def experiment(seeds: int) -> dict[str, object]:
    """config/mvtec.yaml with other seeds: its settings as a mapping."""
    settings = yaml.safe_load((ROOT / "config/mvtec.yaml").read_text(encoding="utf-8"))
    return settings | {"seeds": list(range(seeds))}


def plan(folder: Path, seeds: int) -> int:
    """Plan the experiment in an empty folder; returns the number of jobs."""
    settings = folder / "large.yaml"
    settings.write_text(yaml.safe_dump(experiment(seeds)), encoding="utf-8")
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "snakemake",
        "--snakefile",
        ROOT / "Snakefile",
        "--directory",
        folder,
    ]
    command += ["--configfile", settings, "--cores", "2", "--dry-run", "--quiet", "rules"]
    output = subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True)
    return int(re.findall(r"^total\s+(\d+)$", output.stdout + output.stderr, re.M)[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=32, help="number of seeds (default 32)")
    seeds = parser.parse_args().seeds
    times = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            begin = time.perf_counter()
            jobs = plan(Path(folder), seeds)
            times.append(time.perf_counter() - begin)
    print(f"{jobs} jobs are planned in {statistics.median(times):.1f} s ({seeds} seeds, {len(times)} plans)")


if __name__ == "__main__":
    main()
