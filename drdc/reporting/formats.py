"""What a table is, and how it is written: csv for machines, Markdown for GitHub, LaTeX for papers."""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Literal

from drdc.files import atomic

MARKDOWN_SPECIAL = re.compile(r"([\\`*_\[\]<>|&~$#])")
TEX_SPECIAL = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$",
    "[": "{[}", "*": "{*}",  # at the start of a row they would be read as arguments of the line break
    **{sign: "\\" + sign for sign in "&%$#_{}"},
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A number in percent. A NaN mean is shown "n/d" when `note` says why, and empty otherwise."""

    mean: float = nan
    std: float = nan
    seeds: int = 0
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column's heading, and where its numbers come from."""

    label: str
    source: Literal["ours", "paper"] = "ours"


@dataclass(frozen=True)
class Table:
    """A finished table: rows of (label, one cell per column); `best`: the direction in which ours compete."""

    caption: str
    corner: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    notes: tuple[str, ...]
    decimals: int = 1
    best: Literal["row", "column", "none"] = "row"


def write(table: Table, stem: Path) -> None:
    """Write `table` as `<stem>.csv`, `<stem>.md` and `<stem>.tex`, each in one step.

    The csv is tidy and in full precision, one row per cell: row, column, source, percent, std, seeds, note.
    The other two show `table.decimals` decimals, the best of ours in bold, and the notes underneath.
    """
    texts = {"csv": _csv(table), "md": _markdown(table), "tex": _tex(table, stem.name)}
    for ending, text in texts.items():
        with atomic(stem.with_name(f"{stem.name}.{ending}")) as path:
            path.write_text(text, encoding="utf-8", newline="\n")


def _csv(table: Table) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("row", "column", "source", "percent", "std", "seeds", "note"))
    for label, cells in table.rows:
        for column, cell in zip(table.columns, cells, strict=True):
            numbers = ["" if isnan(number) else repr(number) for number in (cell.mean, cell.std)]
            writer.writerow((label, column.label, column.source, *numbers, cell.seeds or "", cell.note))
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
    if table.rows and table.rows[-1][0] == "mean":
        lines.insert(-1, r"\midrule")
    label = re.sub(r"[^A-Za-z0-9-]+", "-", name)
    notes = [_escape_tex(note) + r"\par" for note in table.notes]
    return "\n".join([
        r"% needs \usepackage{booktabs}", r"\begin{table}[t]", r"\centering\small",
        rf"\caption{{{_escape_tex(table.caption)}}}\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule", " & ".join(head) + r" \\", r"\midrule", *lines, r"\bottomrule", r"\end{tabular}",
        r"\par\smallskip\raggedright\footnotesize", *notes, r"\end{table}",
    ]) + "\n"  # fmt: skip


def _texts(table: Table, escape: Callable[[str], str], bold: Callable[[str], str]) -> list[list[str]]:
    """Heading and body as escaped text, the best of ours in bold."""
    best = _best(table)
    rows = [[table.corner, *(column.label for column in table.columns)]]
    rows += [[label, *(_text(cell, table.decimals) for cell in cells)] for label, cells in table.rows]
    return [
        [bold(escape(text)) if (i - 1, j - 1) in best else escape(text) for j, text in enumerate(row)]
        for i, row in enumerate(rows)
    ]


def _text(cell: Cell, decimals: int) -> str:
    if isnan(cell.mean):
        return "n/d" if cell.note else ""
    spread = "" if isnan(cell.std) else f" ± {cell.std:.{decimals}f}"
    return f"{cell.mean:.{decimals}f}{spread}"


def _best(table: Table) -> set[tuple[int, int]]:
    """Positions (row, column) of the highest of ours in each row or column; all of those equal as shown."""
    if table.best == "none":
        return set()
    rivals: dict[int, dict[tuple[int, int], float]] = {}
    for i, (_, cells) in enumerate(table.rows):
        for j, (column, cell) in enumerate(zip(table.columns, cells, strict=True)):
            if column.source == "ours" and not isnan(cell.mean):
                group = rivals.setdefault(i if table.best == "row" else j, {})
                group[i, j] = round(cell.mean, table.decimals)
    contests = [group for group in rivals.values() if len(group) > 1]
    return {at for group in contests for at in group if group[at] == max(group.values())}


def _escape_markdown(text: str) -> str:
    return MARKDOWN_SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _escape_tex(text: str) -> str:
    return "".join(TEX_SPECIAL.get(sign, sign) for sign in " ".join(text.split()))
