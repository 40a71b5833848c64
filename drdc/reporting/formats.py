"""Tables, and how they are written: csv for machines, Markdown, LaTeX and HTML for readers."""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, groupby
from math import isnan, nan
from pathlib import Path
from typing import Literal, NamedTuple

import jinja2

from drdc.runtime.files import atomic

FAILED = "failed"
#: Where the numbers of a column come from.
Source = Literal["ours", "paper", "re-run", "reported"]
MARKDOWN_SPECIAL = re.compile(r"([\\`*_\[\]<>|&~$#])")
TEX_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
    "−": "$-$", "×": r"$\times$",
    "[": "{[}", "*": "{*}",  # at the start of a row they would be read as arguments of the line break
    **{sign: "\\" + sign for sign in "&%$#_{}"},
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A number in its column's unit, the mean over `seeds` values with the standard deviation `std`.

    A NaN mean is shown as "failed" when `note` starts with that word, as "n/d" when `note` gives another
    reason, and empty otherwise.
    """

    mean: float = nan
    std: float = nan
    seeds: int = 0
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column's heading, where its numbers come from, and how they are shown.

    decimals: instead of the table's; unit: of the numbers, for the csv ("" for a plain number); signed: show
    "+" too; contest: with `best="row"`, only columns of the same contest are compared.
    """

    label: str
    source: Source = "ours"
    decimals: int | None = None
    unit: str = "%"
    signed: bool = False
    contest: str = ""


@dataclass(frozen=True)
class Table:
    """A finished table: rows of (label, one cell per column), columns of one source side by side.

    best: ours compete within a row, within a column or not at all; group: every so many rows belong together,
    and columns compete within these only; 0 for all rows; footer: how many closing rows are set off (means).
    """

    caption: str
    corner: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    notes: tuple[str, ...]
    decimals: int = 1
    best: Literal["row", "column", "none"] = "row"
    group: int = 0
    footer: int = 0


class Shown(NamedTuple):
    """A cell as it is shown; `note`: why there is no number."""

    text: str
    best: bool
    note: str


def write(table: Table, stem: Path) -> None:
    """Write `table` as `<stem>.csv`, `<stem>.md`, `<stem>.tex` and `<stem>.html`, each in one step.

    The csv is tidy and in full precision, one row per cell: row, column, source, value, unit, std, seeds,
    note. The other three show rounded numbers, the best of ours in bold, and the notes underneath.
    """
    texts = {"csv": _csv(table), "md": _markdown(table), "tex": _tex(table, stem.name), "html": _html(table)}
    for ending, text in texts.items():
        with atomic(stem.with_name(f"{stem.name}.{ending}")) as path:
            path.write_text(text, encoding="utf-8", newline="\n")


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("row", "column", "source", "value", "unit", "std", "seeds", "note"))
    for label, cells in table.rows:
        for column, cell in zip(table.columns, cells, strict=True):
            value, std = ("" if isnan(number) else repr(float(number)) for number in (cell.mean, cell.std))
            place = (label, column.label, column.source)
            writer.writerow((*place, value, column.unit, std, cell.seeds or "", cell.note))
    return text.getvalue()


def _markdown(table: Table) -> str:
    head, *body = _texts(table, _escape_markdown, lambda text: f"**{text}**")
    widths = [max(3, *map(len, column)) for column in zip(head, *body, strict=True)]
    rule = [":" + "-" * (widths[0] - 1), *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        "| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |"
        for row in (head, rule, *body)
    ]
    notes = [f"- {_escape_markdown(note)}" for note in table.notes]
    return "\n".join([f"**{_escape_markdown(table.caption)}**", "", *lines, "", *notes]) + "\n"


def _tex(table: Table, name: str) -> str:
    head, *body = _texts(table, _escape_tex, lambda text: rf"\textbf{{{text}}}")
    lines = [" & ".join(row) + r" \\" for row in body]
    if table.footer:
        lines.insert(-table.footer, r"\midrule")
    label = re.sub(r"[^A-Za-z0-9-]+", "-", name)
    notes = [_escape_tex(note) + r"\par" for note in table.notes]
    return "\n".join([
        r"% needs \usepackage{booktabs}", r"\begin{table}[t]", r"\centering\small",
        rf"\caption{{{_escape_tex(table.caption)}}}\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule", " & ".join(head) + r" \\", r"\midrule", *lines, r"\bottomrule", r"\end{tabular}",
        r"\par\smallskip\raggedright\footnotesize", *notes, r"\end{table}",
    ]) + "\n"  # fmt: skip


def _html(table: Table) -> str:
    """One self-contained page, every text escaped."""
    groups = [(source, len(list(part))) for source, part in groupby(c.source for c in table.columns)]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("drdc.reporting"), autoescape=True, keep_trailing_newline=True
    )
    template = environment.get_template("table.html.j2")
    firsts = set(accumulate((width for _, width in groups[:-1]), initial=0)) if len(groups) > 1 else set()
    return template.render(table=table, groups=groups, firsts=firsts, rows=_shown(table))


def _texts(table: Table, escape: Callable[[str], str], bold: Callable[[str], str]) -> list[list[str]]:
    """Heading and body as escaped text, the best of ours in bold."""
    head = [escape(text) for text in (table.corner, *(column.label for column in table.columns))]
    body = [
        [escape(label), *(bold(escape(cell.text)) if cell.best else escape(cell.text) for cell in cells)]
        for label, cells in _shown(table)
    ]
    return [head, *body]


def _shown(table: Table) -> list[tuple[str, list[Shown]]]:
    best = _best(table)
    return [
        (
            label,
            [
                Shown(_text(cell, _decimals(table, column), column.signed), (i, j) in best, cell.note)
                for j, (column, cell) in enumerate(zip(table.columns, cells, strict=True))
            ],
        )
        for i, (label, cells) in enumerate(table.rows)
    ]


def _decimals(table: Table, column: Column) -> int:
    return table.decimals if column.decimals is None else column.decimals


def _text(cell: Cell, decimals: int, signed: bool) -> str:
    if isnan(cell.mean):
        return FAILED if cell.note.startswith(FAILED) else "n/d" if cell.note else ""
    nought = round(cell.mean, decimals) == 0
    if nought and cell.mean > 0 and isnan(cell.std) and not signed:
        return f"<{10.0**-decimals:.{decimals}f}"
    number = f"{0.0 if nought else cell.mean:{'+' if signed and not nought else ''}.{decimals}f}"
    spread = "" if isnan(cell.std) else f" ± {cell.std:.{decimals}f}"
    return number.replace("-", "−") + spread


def _best(table: Table) -> set[tuple[int, int]]:
    """Positions (row, column) of the highest of ours in each contest; all of those equal as shown."""
    if table.best == "none":
        return set()
    group_size = table.group or len(table.rows)
    places: dict[tuple[int, str], dict[tuple[int, int], float]] = {}
    for i, (_, cells) in enumerate(table.rows):
        for j, (column, cell) in enumerate(zip(table.columns, cells, strict=True)):
            if column.source == "ours" and not isnan(cell.mean):
                group = (i, column.contest) if table.best == "row" else (i // group_size, str(j))
                places.setdefault(group, {})[i, j] = float(f"{cell.mean:.{_decimals(table, column)}f}")
    contests = [group for group in places.values() if len(group) > 1]
    return {at for group in contests for at in group if group[at] == max(group.values())}


def _escape_markdown(text: str) -> str:
    return MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _escape_tex(text: str) -> str:
    return "".join(TEX_SPECIAL.get(sign, sign) for sign in " ".join(text.split()))
