"""The table of regions: counts per category and in all, n/d without masks."""

from math import nan

import pandas as pd

from drdc.reporting.regions import ALL, COLUMNS, regions

HEAD = ("path", "category", "defect_type", "regions", "vanished", "split", "merged", "left")


def of(*rows: tuple[object, ...]) -> dict[str, list[float]]:
    table = regions(pd.DataFrame(list(rows), columns=list(HEAD)))
    assert [column.label for column in table.columns] == [column.label for column in COLUMNS.values()]
    return {label: [cell.mean for cell in cells] for label, cells in table.rows}


def test_counts_are_summed_over_masks() -> None:
    found = of(
        ("a.png", "nut", "bent", 3.0, 1.0, 1.0, 0.0, 4.0),
        ("b.png", "nut", "cut", 1.0, 1.0, 0.0, 0.0, 0.0),
        ("c.png", "cap", "cut", 2.0, 0.0, 0.0, 2.0, 1.0),
    )
    assert found == {"cap": [1, 0, 2, 0, 0, 2, 1], "nut": [2, 1, 4, 2, 1, 0, 4], ALL: [3, 1, 6, 2, 1, 2, 5]}


def test_without_masks_nothing_is_defined() -> None:
    counts = (nan,) * 5
    table = regions(pd.DataFrame([("a.png", "nut", "bent", *counts)], columns=list(HEAD)))
    assert {cell.note for _, cells in table.rows for cell in cells} == {"no masks"}
    assert [label for label, _ in regions(pd.DataFrame(columns=list(HEAD))).rows] == [ALL]
