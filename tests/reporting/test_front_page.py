"""The first page of the report says what came out, also where that is not DRDC."""

from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from drdc.reporting.formats import Cell, Column, Table, write
from drdc.reporting.front_page import front_page, headlines

COLUMNS = (Column("Image AUROC"), Column("Pixel AUROC"))


def summary(folder: Path, **values: float) -> Path:
    """The table with some methods' image AUROC, two seeds each, and a pixel AUROC that is not defined."""
    none = Cell(note="no masks")
    rows = tuple((name.replace("_", " "), (Cell(value, 0.5, 2), none)) for name, value in values.items())
    write(
        Table("All <of> it", "method", COLUMNS, (*rows, ("DRDC, pooled", (Cell(99.9), none))), ()),
        folder / "summary",
    )
    return folder / "summary.html"


def told(path: Path) -> list[str]:
    return headlines(pd.read_csv(path.with_suffix(".csv"), keep_default_na=False))


def test_drdc_stands_next_to_its_base_model(tmp_path: Path) -> None:
    found = told(summary(tmp_path, random_map=99.5, base=73.3, diffusion=98.5, DRDC=97.9))
    assert found == ["Image AUROC: DRDC 97.9 ± 0.5 %, its base model 73.3 ± 0.5 %."]


def test_a_better_method_is_named(tmp_path: Path) -> None:
    (line,) = told(summary(tmp_path, base=73.3, DRDC=97.9, padim=99.0, net=98.0))
    assert line.endswith(", the best of 4 methods, padim, 99.0 ± 0.5 %.")
    (line,) = told(summary(tmp_path, base=73.3, DRDC=97.9, net=90.0))
    assert "net" not in line


@pytest.mark.parametrize("experiment", ["demo", "<b>"])
def test_the_page_holds_sentence_picture_and_table(tmp_path: Path, experiment: str) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "overview.png")
    page = front_page(experiment, summary(tmp_path, base=73.3, DRDC=97.9), tmp_path / "overview.png")
    assert "<strong>Image AUROC: DRDC 97.9" in page
    assert 'src="data:image/png;base64,' in page
    assert page.count("<table>") == page.count("</table>") == 1
    assert "All &lt;of&gt; it" in page
    assert "<b>" not in page
