"""What was measured, as a CSV for each kind of machine and one page of tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from itertools import groupby
from math import isnan
from pathlib import Path

from .harness import Row

#: Columns of the CSV; `benchmark` is one of `BENCHMARKS`, `code` the commit that was measured.
COLUMNS = ("benchmark", *(field.name for field in fields(Row)), "code")
#: Columns of the table with numbers alone.
RIGHT = ("time", "CPU", "ratio", "memory", "error")
NUMBERS = tuple(field.name for field in fields(Row) if field.type == "float")
HEAD = """\
# How fast it is

Written by `make benchmark`, which measures each table in one run, in one process and on one thread unless a
table says otherwise. In each table the contestants take turns, after one run to warm up, and the shortest of
several runs counts, so that other load on the machine meets all of them alike.

| column | meaning |
| --- | --- |
| time | wall-clock time |
| CPU | time of all threads and child processes |
| ratio | time as a multiple of that of the first contestant: above 1 it takes longer |
| memory | the most that a run adds to the process; of a job, start, plan or stage all of its process |
| error | largest deviation from the truth |
| wanted | the limit that the project has set itself, for two cores with AMX |

`python -m benchmarks --only NAME` measures one table again, and the head of `benchmarks/cases/NAME.py` says
exactly what is compared. *Code* below a table is the commit that was measured: where two machines have
different ones, more than the machine differs.
"""


def add(
    folder: Path, name: str, about: dict[str, str], benchmark: str, rows: Iterable[Row], code: str
) -> None:
    """Put the rows of a benchmark in place of its former ones, in `<name>.csv`; `about` is the machine."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.csv"
    others = [row for row in read(path) if row["benchmark"] != benchmark] if path.exists() else []
    own = [{"benchmark": benchmark, **_texts(row), "code": code} for row in rows]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows([*others, *own])
    path.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def read(path: Path) -> list[dict[str, str]]:
    """The rows of such a CSV; a number that was not measured is empty."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def page(folder: Path, titles: dict[str, str]) -> str:
    """The page of all CSVs in `folder`, in Markdown.

    Args:
        titles: of the benchmarks, in the order of the page.
    """
    return "\n".join(
        [HEAD, *(part for path in sorted(folder.glob("*.csv")) for part in _of_machine(path, titles))]
    )


def _of_machine(path: Path, titles: dict[str, str]) -> Iterator[str]:
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    yield f"## {about['GPU'] if 'GPU' in about else about['processor']}\n"
    yield from (f"- {key}: {value}" for key, value in about.items())
    yield ""
    rows = read(path)
    for benchmark, title in titles.items():
        own = [row for row in rows if row["benchmark"] == benchmark]
        if own:
            yield f"### {benchmark}: {title}\n"
            yield table(own)
            yield f"\nCode: {', '.join(sorted({row['code'] for row in own}))}.\n"


def table(rows: Iterable[dict[str, str]]) -> str:
    """Rows as a table in Markdown, without the columns that none of them fills."""
    shown = list(_shown(rows))
    columns = [name for name in shown[0] if any(row[name] for row in shown)]
    lines = [columns, ["---:" if name in RIGHT else "---" for name in columns]]
    lines += [[row[name] for name in columns] for row in shown]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(rows: Iterable[dict[str, str]]) -> Iterator[dict[str, str]]:
    for what, group in groupby(rows, lambda row: row["what"]):
        for number, row in enumerate(group):
            yield {
                "measured": "" if number else what,
                "contestant": row["contestant"],
                "time": _seconds(row["seconds"], row["unit"]),
                "CPU": _seconds(row["cpu_seconds"]),
                "ratio": f"{float(row['ratio']):.2f}" if row["ratio"] else "",
                "memory": f"{float(row['memory']) / 1e6:.0f} MB" if row["memory"] else "",
                "error": f"{float(row['error']):.0e}" if row["error"] else "",
                "speed": _speed(row),
                "wanted": row["wanted"],
                "note": row["note"],
            }


def _seconds(text: str, unit: str = "") -> str:
    if not text:
        return ""
    value = float(text)
    number = f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"
    return f"{number} / {unit}" if unit else number


def _speed(row: dict[str, str]) -> str:
    """Units and operations a second, where the operations are known."""
    if not row["flops"]:
        return ""
    return f"{1 / float(row['seconds']):.3g} {row['unit']}s/s, {float(row['flops']) / 1e9:.0f} GFLOP/s"


def _texts(row: Row) -> dict[str, str]:
    found = asdict(row)
    return found | {name: "" if isnan(found[name]) else f"{found[name]:.4g}" for name in NUMBERS}
