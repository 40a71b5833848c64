"""Rows of files that somebody wrote."""

from pathlib import Path

import pytest

from drdc.runtime.csv_rows import read_rows
from drdc.runtime.errors import UserError


def test_cells_are_text_and_each_row_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffname,value\n01, 2\n\n"a, b",\nshort\n', encoding="utf-8")
    assert read_rows(path, ("name", "value")) == [
        (f"{path}, line 2", {"name": "01", "value": "2"}),
        (f"{path}, line 4", {"name": "a, b", "value": ""}),
        (f"{path}, line 5", {"name": "short", "value": ""}),
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe,\n", "cannot be read"),
        (b"", "line 1: column name, value is missing; name the columns name, value"),
        (b"name;value\n", "line 1: column name, value is missing"),
        (
            b"name,value\na,1,2\n",
            "line 2: has more cells than columns; put a text with commas between quotes",
        ),
        (b'name,value\n"a,1\n', "cannot be read"),
    ],
)
def test_what_is_no_such_file_is_one_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_rows(path, ("name", "value"))
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
