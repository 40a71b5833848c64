"""The table of regions: counts per category and in all, n/d without masks."""

from math import nan
from pathlib import Path

import pandas as pd
from stamping import stamped

from drdc.data.regions import Regions, write_regions
from drdc.data.samples import Sample
from drdc.reporting.regions import ALL, COLUMNS, regions
from drdc.results.scores import TEXTS_OF, read_numbers

HEAD = (*TEXTS_OF["regions"], *Regions._fields)


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


def test_counts_that_went_through_the_file_are_added_as_numbers(tmp_path: Path) -> None:
    """They were texts once: 1, 0 and 1 split regions of three masks added up to 101."""
    samples = [Sample(f"{name}.png", "nut", "test", "cut", 1, f"{name}_mask.png") for name in "abc"]
    after = Regions(regions=1, vanished=0, split=1, merged=0, left=3)
    path = tmp_path / "regions.csv"
    write_regions(zip(samples, (after, after._replace(split=0, left=1), after), strict=True), path)
    stamped(path)
    table = regions(read_numbers(path, "regions", "prepare"))
    assert [cell.mean for cell in dict(table.rows)["nut"]] == [3, 0, 3, 0, 2, 0, 7]
