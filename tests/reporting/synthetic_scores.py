"""Synthetic scores, and tables as dictionaries, for the tests of the tables."""

import numpy as np
import pandas as pd

from drdc.reporting.formats import Cell, Table

COLUMNS = ("experiment", "method", "variant", "seed", "category", "metric", "value", "note")


def score(
    method: str, seed: int, category: str, value: float, metric: str = "image_auroc", note: str = ""
) -> tuple:
    return ("toy", method, "full", seed, category, metric, value, note)


def frame(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def with_bare_category(scores: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Scores with one category more, "bare", like the first but without masks, so without that metric."""
    bare = scores[scores["category"] == scores["category"].iloc[0]].assign(category="bare")
    undefined = bare["metric"] == metric
    note = np.where(undefined, "not defined: no masks", "")
    return pd.concat([scores, bare.assign(value=bare["value"].mask(undefined), note=note)])


def cells(table: Table) -> dict[tuple[str, str], Cell]:
    return {
        (label, column.label): cell
        for label, row in table.rows
        for column, cell in zip(table.columns, row, strict=True)
    }


def two_seeds() -> pd.DataFrame:
    values = {
        ("base", 0): (0.9, 0.8),
        ("base", 1): (0.7, 0.6),
        ("drdc", 0): (1.0, 0.9),
        ("drdc", 1): (0.9, 0.9),
    }
    return frame(
        *(
            score(m, s, c, v)
            for (m, s), pair in values.items()
            for c, v in zip(("gear", "tile_x"), pair, strict=True)
        )
    )
