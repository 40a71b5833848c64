"""Numbers from other work: CSV files in the form of `drdc/reporting/paper`, and what may stand in them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Sequence
from math import nan
from pathlib import Path

from drdc.config.names import printable
from drdc.config.reported import Reported
from drdc.reporting.aggregate import MEAN, METRICS
from drdc.runtime.csv_rows import Row, read_rows
from drdc.runtime.errors import UserError, UserErrors

NEEDED = ("method", "category", "metric", "value")


def read_reported(paths: Sequence[str], categories: Collection[str]) -> list[Reported]:
    """All rows of all files, in their order.

    Args:
        paths: CSV files with the columns `NEEDED`, values in percent; `source`, who reports them, may be
            there, and other columns are not read.
        categories: those of the dataset; "mean" is always known.

    Raises:
        UserErrors: a file cannot be read or lacks a column; or with everything else that is wrong, each with
            file and line: an unknown category or metric, no percentage, the same number twice.
    """
    found: list[Reported] = []
    faults: list[UserError] = []
    first: dict[tuple[str, ...], str] = {}
    for path in paths:
        for place, row in read_rows(Path(path), NEEDED):
            source = row.get("source", "")
            key = (row["method"], source, row["category"], row["metric"])
            own = list(_faults((place, row), categories))
            if (earlier := first.setdefault(key, place)) != place:
                what = f"{row['metric']} of {row['method']} for {row['category']} stands in {earlier} already"
                own.append(UserError(place, what, "keep one of them, or name another source"))
            faults += own
            if not own:
                facts = {name: row[name] for name in NEEDED[:-1]}
                found.append(Reported(**facts, value=float(row["value"]), source=source, file=path))
    if faults:
        raise UserErrors(*faults)
    return found


def _faults(placed: Row, categories: Collection[str]) -> Iterator[UserError]:
    """What is wrong with a row by itself."""
    place, row = placed
    if not row["method"].strip():
        yield UserError(place, "method is empty", "name it")
    for column, known in (("category", [*categories, MEAN]), ("metric", list(METRICS))):
        if row[column] not in known:
            near = difflib.get_close_matches(row[column], known, 1, 0.5)
            fix = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            yield UserError(place, f"{column} {row[column]!r} is unknown", fix)
    if not 0 <= _number(row["value"]) <= 100:
        yield UserError(place, f"value {printable(row['value'])!r} is not a percentage", "use 0 to 100")


def _number(text: str) -> float:
    """NaN where it is not one."""
    try:
        return float(text)
    except ValueError:
        return nan
