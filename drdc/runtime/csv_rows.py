"""Rows of a CSV that somebody wrote, each with the place that a message names."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator
from pathlib import Path

from drdc.runtime.errors import UserError, first_line

#: (file and line, the cells by column).
Row = tuple[str, dict[str, str]]


def read_rows(path: Path, needed: Collection[str] = ()) -> list[Row]:
    """All rows: text as it is (BTAD's category 01 stays "01"), "" where a row ends early.

    Args:
        path: of the file, in UTF-8, with commas between the cells and the columns' names in the first line.
        needed: columns that it must have.

    Raises:
        UserError: it cannot be read, lacks a column, or a row has more cells than there are columns.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="", skipinitialspace=True, strict=True)
            found = reader.fieldnames or ()
            if absent := [name for name in needed if name not in found]:
                raise UserError(
                    f"{path}, line 1",
                    f"column {', '.join(absent)} is missing",
                    f"name the columns {', '.join(needed)}, with commas between them",
                )
            return list(_placed(path, reader))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        fix = "name an existing CSV file in UTF-8"
        raise UserError(path, f"cannot be read ({first_line(error)})", fix) from None


def _placed(path: Path, reader: csv.DictReader[str]) -> Iterator[Row]:
    for row in reader:
        place = f"{path}, line {reader.line_num}"
        if None in row:
            raise UserError(place, "has more cells than columns", "put a text with commas between quotes")
        yield place, row
