"""What the workflow measured of each job: `benchmarks/<job>.tsv`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def measured(path: Path) -> pd.Series:
    """Of a job: seconds `s`, largest resident memory in MB `max_rss` and more; NaN for what is not known."""
    return pd.read_csv(path, sep="\t", na_values="-").iloc[0]
