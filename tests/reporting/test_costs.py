"""The table of costs says what was measured, in readable units, and on what."""

import numpy as np
import pandas as pd
import pytest
from synthetic_scores import cells

from drdc.reporting.costs import costs
from drdc.runtime.errors import UserError

ROWS = pd.DataFrame(
    {
        "method": ["base", "drdc", "drdc", "UniAD"],
        "variant": ["full", "full", "steps=1", "full"],
        "unet_calls": [0, 80, 16, ""],
        "seconds_per_image": [0.03125, 4.2, 0.9, 0.05],
        "cpu_seconds_per_image": [0.06, 8.1, 1.7, 0.1],
        "parameters": [7_700_000, 60_000_000, 60_000_000, 7_700_000],
        "flops": [5.1e9, 9.6e11, 1.9e11, ""],
        "peak_memory": [400_000_000, 1_200_000_000, np.nan, 4e8],
        "device": ["a CPU"] * 4,
        "threads": [2] * 4,
        "batch_size": [8] * 4,
    }
)


def test_units_are_readable_and_named() -> None:
    table = costs(ROWS)
    assert [label for label, _ in table.rows] == ["base", "DRDC", "DRDC, steps=1", "UniAD"]
    found = cells(table)
    assert found["DRDC", "seconds per image"].mean == 4.2
    assert found["DRDC", "CPU seconds per image"].mean == 8.1
    assert found["DRDC", "U-Net calls"].mean == 80
    assert found["DRDC", "parameters (M)"].mean == pytest.approx(60.0)
    assert found["DRDC", "GFLOP per image"].mean == pytest.approx(960.0)
    assert found["base", "peak memory (MB)"].mean == pytest.approx(400.0)
    assert [column.unit for column in table.columns] == ["s", "s", "calls", "M", "GFLOP", "MB"]


def test_what_was_not_measured_is_said() -> None:
    table = costs(ROWS)
    assert cells(table)["UniAD", "U-Net calls"].note == "not measured"
    assert any("UniAD (U-Net calls, GFLOP per image): not measured" in note for note in table.notes)


def test_conditions_are_given_once_or_with_their_methods() -> None:
    assert "measured on a CPU, threads: 2, batch size: 8." in costs(ROWS).notes
    other = ROWS.assign(device=["a CPU", "a GPU", "a GPU", "a CPU"])
    notes = costs(other).notes
    assert "measured on a CPU, threads: 2, batch size: 8: base; UniAD." in notes
    assert "measured on a GPU, threads: 2, batch size: 8: DRDC; DRDC, steps=1." in notes


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (ROWS.head(0), "has no rows"),
        (pd.concat([ROWS, ROWS.head(1)]), "the method base appears twice"),
        (ROWS.drop(columns="flops"), "column flops is missing"),
        (ROWS.assign(parameters="many"), "column parameters holds something that is not a number"),
    ],
)
def test_bad_costs_are_refused(rows: pd.DataFrame, words: str) -> None:
    with pytest.raises(UserError, match=words):
        costs(rows)
