"""Defect types that improved or worsened, against numbers worked out by hand."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_scores import cells

from drdc.config.described import Described
from drdc.reporting.defect_types import defects
from drdc.reporting.formats import write
from drdc.runtime.errors import UserError

COLUMNS = ("seed", "method", "category", "defect_type", "images", "metric", "value", "note")
LOG = "results/toy/logs/score.seed1.log"
CHANGE = "change of Image AUROC"


def defect(
    name: str, base: tuple[float, ...], drdc: tuple[float, ...], category: str = "gear"
) -> list[tuple]:
    """Rows of one defect type: image AUROC per seed, pixel AUROC always 0.7."""
    return [
        (seed, method, category, name, 12, metric, value if metric == "image_auroc" else 0.7, "")
        for method, values in (("base", base), ("drdc", drdc))
        for seed, value in enumerate(values)
        for metric in ("image_auroc", "pixel_auroc")
    ]


def defect_scores(*types: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame([row for rows in types for row in rows], columns=list(COLUMNS))


def test_defects_are_sorted_by_category_then_from_improved_to_worsened() -> None:
    table = defects(
        defect_scores(
            defect("bent", (0.8,), (0.7,)),
            defect("same", (0.8,), (0.8,)),
            defect("rust", (0.6,), (0.9,)),
            defect("hole", (0.5,), (0.6,), "bottle"),
        )
    )
    assert [label for label, _ in table.rows] == ["bottle: hole", "gear: rust", "gear: same", "gear: bent"]
    found = cells(table)
    assert [found[label, CHANGE].mean for label, _ in table.rows] == pytest.approx([10, 30, 0, -10])
    assert found["gear: rust", "images"].mean == 12
    assert found["gear: rust", "DRDC Pixel AUROC"].mean == pytest.approx(70.0)
    assert any("2 defect types improved, 1 worsened, 1 stayed the same" in note for note in table.notes)


def test_change_is_the_mean_of_each_seeds_change() -> None:
    found = cells(defects(defect_scores(defect("bent", (0.5, 0.7), (0.6, 1.0)))))
    assert found["gear: bent", "base Image AUROC"].std == pytest.approx(np.sqrt(200))
    assert found["gear: bent", CHANGE].mean == pytest.approx(20.0)
    assert found["gear: bent", CHANGE].std == pytest.approx(np.sqrt(200))  # 10 and 30
    assert found["gear: bent", CHANGE].seeds == 2


def test_changes_carry_their_sign(tmp_path: Path) -> None:
    write(
        defects(defect_scores(defect("bent", (0.8,), (0.7,)), defect("rust", (0.6,), (0.9,)))), tmp_path / "t"
    )
    text = (tmp_path / "t.md").read_text()
    assert re.search(r"rust .*\+30\.0", text)
    assert re.search(r"bent .*−10\.0", text)


def test_failed_and_missing_defect_values_are_explained() -> None:
    rows = defect_scores(defect("bent", (0.8, 0.8), (0.7, 0.7)), defect("rust", (0.8, 0.8), (0.9, 0.9)))
    hit = (rows["defect_type"] == "bent") & (rows["method"] == "drdc") & (rows["seed"] == 1)
    failed = rows.copy()
    failed.loc[hit, ["value", "note"]] = [np.nan, f"failed; see {LOG}"]
    table = defects(failed)
    found = cells(table)
    assert found["gear: bent", "DRDC Image AUROC"].note == f"failed; see {LOG}"
    assert found["gear: bent", CHANGE].note == f"failed; see {LOG}"
    assert table.rows[-1][0] == "gear: bent"
    assert any(f"failed gear: bent (DRDC Image AUROC, DRDC Pixel AUROC): see {LOG}" in n for n in table.notes)
    missing = cells(defects(rows[~hit]))
    assert missing["gear: bent", "DRDC Pixel AUROC"].note == "no score for seed 1"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (defect_scores(), "no rows"),
        (defect_scores(defect("bent", (80.0,), (70.0,))), "fractions, not percent"),
        (
            defect_scores(defect("bent", (0.8,), (0.7,)), defect("bent", (0.8,), (0.7,))),
            "more than one value for 0, base",
        ),
        (defect_scores(defect("bent", (0.8,), (0.7,))).drop(columns="images"), "column images is missing"),
    ],
)
def test_bad_defects_are_refused(rows: pd.DataFrame, words: str) -> None:
    with pytest.raises(UserError, match=words):
        defects(rows)


def test_each_method_of_the_configuration_has_a_column_of_image_auroc() -> None:
    rows = defect_scores(defect("bent", (0.8,), (0.7,)))
    net = rows[rows["method"] == "base"].assign(method="net")
    table = defects(pd.concat([rows, net]), {"net": Described(), "lost": Described()})
    assert [column.label for column in table.columns] == [
        "images", "base Image AUROC", "DRDC Image AUROC", CHANGE, "net Image AUROC", "lost Image AUROC",
        "base Pixel AUROC", "DRDC Pixel AUROC",
    ]  # fmt: skip
    found = cells(table)
    assert found["gear: bent", "net Image AUROC"].mean == pytest.approx(80.0)
    assert found["gear: bent", CHANGE].mean == pytest.approx(-10.0)
    assert found["gear: bent", "lost Image AUROC"].note == "no score for seed 0"
    assert len(defects(rows).columns) == 6
