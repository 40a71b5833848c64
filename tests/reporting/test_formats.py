"""Every format of a table says the same, whatever the names in it."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_scores import frame, score, two_seeds

from drdc.reporting.formats import Cell, Column, Table, write
from drdc.reporting.tables import HEADLINE, METRICS, summary, table2, table4

AUROCS = ("image_auroc", "pixel_auroc")


class Page(HTMLParser):
    """Reads a page's tables and list, and insists that every element is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.classes: dict[tuple[int, int], str] = {}
        self.groups: list[tuple[str, int]] = []
        self.notes: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "meta":
            return
        self.open.append(tag)
        found = dict(attrs)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.classes[len(self.rows) - 1, len(self.rows[-1]) - 1] = found.get("class") or ""
            if found.get("scope") == "colgroup":
                self.groups.append(("", int(found["colspan"] or 0)))
        elif tag == "li":
            self.notes.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        elif self.open and self.open[-1] == "li":
            self.notes[-1] += data


def page(table: Table, folder: Path) -> Page:
    write(table, folder / "t")
    return Page((folder / "t.html").read_text())


def written(table: Table, folder: Path) -> tuple[list[dict[str, str]], list[list[str]], list[list[str]]]:
    """The csv's records, and the bodies of the Markdown and the LaTeX file as plain text."""
    write(table, folder / "t")
    records = list(csv.DictReader((folder / "t.csv").read_text().splitlines()))
    lines = (folder / "t.md").read_text().splitlines()
    md = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    md = [[re.sub(r"\\(.)", r"\1", text.replace("**", "")).strip() for text in row] for row in md]
    body = (folder / "t.tex").read_text().partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    rows = [line.removesuffix(r" \\") for line in body.splitlines() if line.endswith(r"\\")]
    tex = [[plain(text) for text in re.split(r"(?<!\\)&", row)] for row in rows]
    assert md.pop(1)[0].startswith(":-")
    return records, md, tex


def plain(text: str) -> str:
    text = re.sub(r"^\\textbf\{(.*)\}$", r"\1", text.strip())
    for maths, sign in {r"$\pm$": "±", r"$\times$": "×", "$-$": "−"}.items():
        text = text.replace(maths, sign)
    names = {"textbar": "|", "textless": "<", "textgreater": ">", "textbackslash": "\0"}
    for command, sign in names.items():
        text = text.replace(rf"\{command}{{}}", sign)
    text = text.replace("{*}", "*").replace("{[}", "[")
    return re.sub(r"\\(.)", r"\1", text).replace("\0", "\\")


def test_all_formats_agree_also_for_odd_names(tmp_path: Path) -> None:
    odd = ("a_b", "50%", "x&y", "p|q", "$m$ #1", "<br>", "back\\slash", "{*}", "[x]")
    scores = frame(*(score(m, s, c, 0.8 + s / 100) for m in ("base", "drdc") for s in (0, 1) for c in odd))
    table = table2(scores)
    records, md, tex = written(table, tmp_path)
    assert md == tex
    assert page(table, tmp_path).rows == md
    assert md[0] == ["category", "base (ours)", "DRDC (ours)"]
    assert {row[0] for row in md[1:]} == {*odd, "mean"}
    for record in records:
        shown = dict(zip(md[0], next(row for row in md if row[0] == record["row"]), strict=True))
        assert shown[record["column"]] == f"{float(record['value']):.1f} ± {float(record['std']):.1f}"


def test_csv_keeps_full_precision_and_reasons(tmp_path: Path) -> None:
    scores = frame(
        score("base", 0, "gear", 2 / 3), score("base", 0, "nut", np.nan, note='a, "quoted" reason')
    )
    records, md, _ = written(table2(scores), tmp_path)
    by_row = {record["row"]: record for record in records}
    assert float(by_row["gear"]["value"]) == 100 * (2 / 3)
    assert by_row["gear"]["std"] == ""
    assert (by_row["nut"]["value"], by_row["nut"]["note"]) == ("", 'a, "quoted" reason')
    assert ["nut", "n/d"] in md
    assert "reason; left out of our means" in (tmp_path / "t.md").read_text()
    assert "reason; left out of our means" in (tmp_path / "t.tex").read_text()


def test_bold_marks_the_best_of_ours_never_the_papers(tmp_path: Path) -> None:
    scores = frame(*(score(m, 0, "wood", v) for m, v in (("base", 0.5), ("diffusion", 0.7), ("drdc", 0.7))))
    write(table2(scores, "mvtec"), tmp_path / "t")
    row = next(line for line in (tmp_path / "t.md").read_text().splitlines() if line.startswith("| wood"))
    assert re.findall(r"\*\*(.*?)\*\*", row) == ["70.0", "70.0"]
    assert "98.7" in row
    assert (tmp_path / "t.tex").read_text().count(r"\textbf{70.0}") == 4  # two in the row, two in the mean


def test_summary_is_bold_down_the_columns(tmp_path: Path) -> None:
    rows = [score(m, 0, "gear", v, k) for m, v in (("random_map", 0.5), ("drdc", 0.9)) for k in METRICS]
    write(summary(frame(*rows)), tmp_path / "t")
    text = (tmp_path / "t.md").read_text()
    assert text.count("**90.0**") == len(HEADLINE)
    assert "**50.0**" not in text


def test_write_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write(table2(two_seeds()), tmp_path / "deep" / "table2.v1")
    write(table2(two_seeds()), tmp_path / "deep" / "table2.v1")
    names = sorted(path.name for path in (tmp_path / "deep").iterdir())
    assert names == [f"table2.v1.{ending}" for ending in ("csv", "html", "md", "tex")]


@settings(max_examples=40, deadline=None)
@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=12))
def test_any_label_keeps_the_shape_of_the_files(tmp_path_factory: pytest.TempPathFactory, label: str) -> None:
    table = Table(label, label, (Column("ours"),), ((label, (Cell(1.0),)),), (label,))
    folder = tmp_path_factory.mktemp("t")
    _, md, tex = written(table, folder)
    html = page(table, folder)
    assert [len(row) for row in md] == [len(row) for row in tex] == [len(row) for row in html.rows] == [2, 2]
    assert [" ".join(text.split()) for text in (html.rows[1][0], *html.notes)] == [
        " ".join(label.split())
    ] * 2
    assert not html.tags & {"script", "img"}


# how numbers are shown


def one(cell: Cell, column: Column) -> Table:
    return Table("numbers", "row", (column,), (("a", (cell,)),), ())


@pytest.mark.parametrize(
    ("cell", "column", "shown"),
    [
        (Cell(12.345), Column("x"), "12.3"),
        (Cell(12.345, 0.5, 2), Column("x", decimals=2), "12.35 ± 0.50"),
        (Cell(7.0), Column("x", decimals=0), "7"),
        (Cell(0.0), Column("x"), "0.0"),
        (Cell(0.00002), Column("p", decimals=4), "<0.0001"),
        (Cell(-1.25, 0.5, 2), Column("x", decimals=2), "−1.25 ± 0.50"),
        (Cell(1.5), Column("x", signed=True), "+1.5"),
        (Cell(-1.5), Column("x", signed=True), "−1.5"),
        (Cell(-0.04), Column("x", signed=True), "0.0"),
        (Cell(), Column("x"), ""),
        (Cell(note="no masks"), Column("x"), "n/d"),
        (Cell(note="failed; see results/toy/logs/score.log"), Column("x"), "failed"),
    ],
)
def test_cells_are_shown_alike_in_all_formats(cell: Cell, column: Column, shown: str, tmp_path: Path) -> None:
    _, md, tex = written(one(cell, column), tmp_path)
    assert (md[1][1], tex[1][1], page(one(cell, column), tmp_path).rows[1][1]) == (shown, shown, shown)


def test_csv_names_the_unit_of_each_number(tmp_path: Path) -> None:
    table = Table("c", "r", (Column("a"), Column("b", unit="s")), (("x", (Cell(1.0), Cell(2.0))),), ())
    records, _, _ = written(table, tmp_path)
    assert list(records[0]) == ["row", "column", "source", "value", "unit", "std", "seeds", "note"]
    assert [(record["value"], record["unit"]) for record in records] == [("1.0", "%"), ("2.0", "s")]


@pytest.mark.parametrize("value", [0.05, 0.25, 0.35, 0.85, 2.675, 64.35])
def test_all_that_are_equal_as_shown_are_bold(value: float, tmp_path: Path) -> None:
    """NumPy rounds some halves to another digit than a text shows."""
    near, same = np.float64(value), np.float64(f"{value:.1f}")
    rows = (("a", (Cell(near),)), ("b", (Cell(same),)), ("c", (Cell(-1.0),)))
    shown = page(Table("c", "r", (Column("x"),), rows, (), best="column"), tmp_path)
    kinds = [shown.classes[i, len(row) - 1] for i, row in enumerate(shown.rows)]
    assert [kind == "best" for kind in kinds[-3:]] == [True, True, False]


def test_rows_of_a_group_compete_with_each_other_only(tmp_path: Path) -> None:
    rows = tuple((name, (Cell(value),)) for name, value in zip("abcd", (1.0, 2.0, 9.0, 8.0), strict=True))
    table = Table("c", "r", (Column("x"),), rows, (), best="column", group=2)
    shown = page(table, tmp_path)
    assert [row[0] for i, row in enumerate(shown.rows) if shown.classes[i, len(row) - 1] == "best"] == [
        "b",
        "c",
    ]


# the page


def test_page_groups_columns_by_source(tmp_path: Path) -> None:
    btad = [score(m, 0, c, 0.9, k) for m in ("base", "drdc") for c in ("01", "02", "03") for k in AUROCS]
    shown = page(table4(frame(*btad), "btad"), tmp_path)
    assert [width for _, width in shown.groups] == [4, 6, 4]
    assert shown.rows[0] == ["", "ours", "paper", "re-run"]
    assert shown.rows[1][:3] == ["category", "base I-AUROC", "base P-AUROC"]
    assert shown.rows[1][5] == "UniAD I-AUROC, BTAD"
    starts = [j for j in range(len(shown.rows[2])) if "first" in shown.classes[2, j]]
    assert starts == [1, 5, 11]


def test_page_of_one_source_has_no_group_heading(tmp_path: Path) -> None:
    assert page(table2(two_seeds()), tmp_path).groups == []


def test_page_escapes_hostile_names_and_notes(tmp_path: Path) -> None:
    hostile = '<script>alert("x")</script>'
    note = 'failed; see "><img src=x onerror=alert(1)>.log'
    scores = frame(score("base", 0, hostile, 0.5), score("base", 0, "nut", np.nan, note=note))
    shown = page(table2(scores), tmp_path)
    assert not shown.tags & {"script", "img"}
    assert hostile in [row[0] for row in shown.rows]
    assert any("onerror=alert(1)" in text for text in shown.notes)


def test_page_needs_nothing_else(tmp_path: Path) -> None:
    write(table2(two_seeds()), tmp_path / "t")
    text = (tmp_path / "t.html").read_text()
    assert not re.search(r"(src|href)=|url\(|@import|https?:", text)
    assert "prefers-color-scheme: dark" in text


def test_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(table2(two_seeds()), tmp_path / name / "t")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_latex_rule_stands_above_the_closing_rows(tmp_path: Path) -> None:
    write(table2(two_seeds()), tmp_path / "t")
    lines = (tmp_path / "t.tex").read_text().splitlines()
    mean = next(i for i, line in enumerate(lines) if line.startswith("mean &"))
    assert lines[mean - 1] == r"\midrule"
    assert lines[mean + 1] == r"\bottomrule"
