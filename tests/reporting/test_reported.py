"""Numbers from other work: what may stand in a file, and what the tables make of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_scores import frame, score

from drdc.config.reported import Reported
from drdc.reporting.formats import Table
from drdc.reporting.published import of_other_work
from drdc.reporting.reported import read_reported
from drdc.reporting.tables import other_work, table2, table4
from drdc.runtime.errors import UserError

CATEGORIES = ["gear", "nut"]
HEAD = "method,category,metric,value\n"


def number(category: str, value: float, metric: str = "image_auroc", source: str = "") -> Reported:
    return Reported(method="Old", category=category, metric=metric, value=value, source=source, file="n.csv")


def column(table: Table, label: str) -> dict[str, float]:
    place = [c.label for c in table.columns].index(label)
    return {row: cells[place].mean for row, cells in table.rows}


def scores(categories: list[str]) -> object:
    kinds = ("image_auroc", "pixel_auroc", "pixel_ap")
    return frame(*(score(m, 0, c, 0.5, k) for m in ("base", "drdc") for c in categories for k in kinds))


def test_rows_are_read_in_their_order_and_other_columns_are_not(tmp_path: Path) -> None:
    path = tmp_path / "n.csv"
    path.write_text(
        "value,metric,category,method,source,year\n91.5,pixel_ap,mean,Old,Doe,2024\n0,pixel_aupro,gear,X,,\n"
    )
    found = read_reported([str(path)], CATEGORIES)
    assert [(own.method, own.category, own.metric, own.value, own.source) for own in found] == [
        ("Old", "mean", "pixel_ap", 91.5, "Doe"),
        ("X", "gear", "pixel_aupro", 0.0, ""),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("Old,gera,image_auroc,91", "category 'gera' is unknown; did you mean 'gear'?"),
        ("Old,gear,auroc,91", "metric 'auroc' is unknown; did you mean"),
        ("Old,gear,image_auroc,101", "value '101' is not a percentage; use 0 to 100"),
        ("Old,gear,image_auroc,-1", "value '-1' is not a percentage"),
        ("Old,gear,image_auroc,nan", "value 'nan' is not a percentage"),
        ("Old,gear,image_auroc,91 %", "value '91 %' is not a percentage"),
        ("Old,gear,image_auroc", "value '' is not a percentage"),
        (",gear,image_auroc,91", "method is empty; name it"),
    ],
)
def test_a_wrong_row_is_named_with_file_and_line(tmp_path: Path, row: str, said: str) -> None:
    path = tmp_path / "n.csv"
    path.write_text(f"{HEAD}Old,nut,image_auroc,90\n{row}\n")
    with pytest.raises(UserError) as caught:
        read_reported([str(path)], CATEGORIES)
    assert str(caught.value).startswith(f"{path}, line 3: {said}")
    assert "\n" not in str(caught.value)


def test_a_number_stands_once_in_all_files_and_every_fault_is_named(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text(f"{HEAD}Old,nut,image_auroc,90\n")
    second.write_text(f"{HEAD}Old,nut,image_auroc,91\nOld,nut,image_auroc,x\n")
    with pytest.raises(UserError) as caught:
        read_reported([str(first), str(second)], CATEGORIES)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert lines[0] == (
        f"{second}, line 2: image_auroc of Old for nut stands in {first}, line 2 already; keep one of them, "
        "or name another source"
    )


def test_two_sources_of_one_method_have_a_column_each() -> None:
    numbers = [number("gear", 80, source="A"), number("gear", 81, source="B")]
    labels = [c.label for c in table2(scores(CATEGORIES), reported=numbers).columns if c.source == "reported"]
    assert labels == ["Old by A (reported)", "Old by B (reported)"]


@pytest.mark.parametrize(
    ("values", "shown", "mean"),
    [
        ({"gear": 80, "nut": 90}, CATEGORIES, 85),  # computed where none is reported
        ({"gear": 80, "nut": 90, "mean": 86}, CATEGORIES, 86),  # as it is reported
        ({"gear": 80, "nut": 90, "cap": 10, "mean": 60}, CATEGORIES, 85),  # over others, too
        ({"gear": 80}, CATEGORIES, None),  # one of the categories is not reported
        ({"mean": 60}, CATEGORIES, 60),
    ],
)
def test_a_mean_is_over_the_categories_that_are_shown(
    values: dict[str, float], shown: list[str], mean: float | None
) -> None:
    numbers = [number(category, value) for category, value in values.items()]
    found = column(table2(scores(shown), reported=numbers), "Old (reported)")["mean"]
    assert found == mean if mean is not None else found != found


def test_a_metric_that_is_not_reported_has_no_column() -> None:
    table = table4(scores(CATEGORIES), reported=[number("gear", 80)])
    labels = [c.label for c in table.columns if c.source == "reported"]
    assert labels == ["Old I-AUROC (reported)"]


def test_a_table_has_every_reported_metric_and_the_best_is_of_ours_alone() -> None:
    numbers = [number("gear", 99), number("mean", 40, "pixel_ap")]
    table = other_work(scores(CATEGORIES), reported=numbers)
    rows = [label for label, _ in table.rows]
    assert rows == [f"{metric}: {c}" for metric in ("Image AUROC", "Pixel AP") for c in (*CATEGORIES, "mean")]
    assert column(table, "Old (reported)")["Pixel AP: mean"] == 40
    assert column(table, "DRDC (ours)")["Pixel AP: gear"] == 50
    assert any(
        note.startswith("reported: numbers from other work") and "n.csv" in note for note in table.notes
    )


def test_nothing_is_said_where_nothing_is_reported() -> None:
    assert of_other_work(CATEGORIES, "image_auroc", []).notes == ()
