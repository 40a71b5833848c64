"""The figure of a study: numbers at their places on a scale, joined; "all" by itself."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from drdc.reporting.figures import looks, new_figure
from drdc.reporting.study import MEASURES, OVER, _panel, _places, study_figure, study_table


def rows(*values: str) -> pd.DataFrame:
    """Two draws, methods and categories."""
    keys = product(values, (0, 1), ("drdc", "net"), ("gear", "tile"), MEASURES)
    frame = pd.DataFrame(keys, columns=["at", "draw", "method", "category", "metric"])
    return frame.assign(value=0.9 + 0.01 * frame["draw"])


def test_numbers_stand_at_their_places_and_all_after_them() -> None:
    assert _places(["0", "0.05", "0.1"]) == pytest.approx({"0": 0, "0.05": 0.5, "0.1": 1})
    assert _places(["4", "8", "16", "32", "all"]) == pytest.approx(
        {"4": 0, "8": 1 / 3, "16": 2 / 3, "32": 1, "all": 1.2}
    )
    assert _places(["all"]) == {"all": 2}


def test_means_of_the_draws_are_joined_and_all_is_not() -> None:
    axes = new_figure(3.0, 3.0).subplots()
    frame = rows("4", "8", "all")
    _panel(axes, frame[frame["metric"] == "pixel_ap"], looks(["drdc", "net"]), "images")
    joined = [line for line in axes.lines if line.get_linestyle() not in ("None", "")]
    assert [len(line.get_xdata()) for line in joined] == [2, 2]
    np.testing.assert_allclose(joined[0].get_ydata(), 90.5)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["4", "8", "all"]


def test_without_masks_the_panels_of_pixels_are_empty_and_say_so(tmp_path: Path) -> None:
    frame = rows("1", "2")
    frame.loc[frame["metric"] != "image_auroc", "value"] = np.nan
    study_figure(frame, "categories", tmp_path / "study.png")
    axes = new_figure(3.0, 3.0).subplots()
    _panel(axes, frame[frame["metric"] == "pixel_ap"], looks(["drdc", "net"]), "categories")
    assert [text.get_text() for text in axes.texts] == ["not defined"]


ACCURACY = {"bolt": 0.9, "gear": 0.5, "nut": np.nan, "tile": 0.7}


def in_turns(accuracy: dict[str, float]) -> pd.DataFrame:
    """A study over categories: each is in as many models as any other, with the same result in all."""
    names = list(accuracy)
    models = [(str(n), d, names[(d + i) % 4]) for n in (1, 2, 3) for d in range(4) for i in range(n)]
    models += [("all", 0, name) for name in names]
    return pd.DataFrame(
        [
            (at, draw, "drdc", name, metric, accuracy[name])
            for at, draw, name in models
            for metric in MEASURES
        ],
        columns=["at", "draw", "method", "category", "metric", "value"],
    )


def test_a_category_that_is_not_defined_bends_no_curve() -> None:
    """Nothing depends on the number of categories here, and nothing does in the table."""
    table = study_table(in_turns(ACCURACY), "categories")
    assert [cells[0].mean for _, cells in table.rows] == pytest.approx([70.0] * 4)
    assert "Image AUROC: without nut, where it is not defined." in table.notes
    assert study_table(in_turns(ACCURACY | {"nut": 0.7}), "categories").notes == ()


def test_a_failed_run_leaves_no_mean_of_the_others() -> None:
    frame = rows("4", "8")
    frame.loc[(frame["at"] == "4") & (frame["method"] == "net") & (frame["draw"] == 1), "value"] = np.nan
    (_, first), (_, second) = study_table(frame, "images").rows
    assert [cell.note for cell in first[len(MEASURES) :]] == ["a run failed"] * len(MEASURES)
    assert first[0].mean == second[-1].mean == pytest.approx(90.5)


def test_table_and_figure_say_what_varies(tmp_path: Path) -> None:
    assert study_table(rows("1", "2"), "categories").corner == OVER["categories"]
    shares = rows("0", "0.01", "0.1")
    assert [label for label, _ in study_table(shares, "defective").rows] == ["0", "1", "10"], "in percent"
    study_figure(shares, "defective", tmp_path / "study.png")
    assert Image.open(tmp_path / "study.png").width == 1200
