"""The table of variants that go beyond the paper."""

from __future__ import annotations

import pandas as pd
import pytest
from synthetic_scores import cells, frame, score

from drdc.config.described import Described
from drdc.config.variants import BEYOND
from drdc.reporting.beyond import NAMES, beyond

DRDC_AUROC = {"full": 0.8, "centred": 0.85, "memory": 0.9, "memory+centred": 0.95, "weight=0.5": 0.1}


def scores() -> pd.DataFrame:
    rows = []
    for category, less in (("nut", 0.0), ("gear", 0.1)):
        rows += [score("base", 0, category, 0.7 - less), score("net", 0, category, 0.75 - less)]
        for variant, value in DRDC_AUROC.items():
            experiment, method, _, *rest = score("drdc", 0, category, value - less)
            rows.append((experiment, method, variant, *rest))
    return frame(*rows)


def test_each_variant_stands_next_to_drdc_and_the_other_methods() -> None:
    table = beyond(scores(), {"net": Described()})
    assert [label for label, _ in table.rows] == ["base", "DRDC", *NAMES.values(), "net"]
    found = cells(table)
    column = table.columns[0].label
    for label, variant in (("DRDC", "full"), *((name, variant) for variant, name in NAMES.items())):
        assert found[label, column].mean == pytest.approx(100 * (DRDC_AUROC[variant] - 0.05))
    assert found["net", column].mean == pytest.approx(70)
    assert any("chosen on synthetic defects" in note for note in table.notes)


def test_all_are_compared_on_the_seeds_of_the_variants() -> None:
    """`evaluation.seeds` are some of the experiment's; DRDC and the other methods have all of them."""
    first, second = scores(), scores()
    second = second[~second["variant"].isin(list(NAMES))].assign(
        seed="1", value=second["value"].map(lambda value: value / 2)
    )
    table = beyond(pd.concat([first, second]), {"net": Described()})
    alone, column = cells(beyond(first, {"net": Described()})), table.columns[0].label
    assert {label: cells(table)[label, column].mean for label, _ in table.rows} == pytest.approx(
        {label: alone[label, column].mean for label, _ in table.rows}
    )
    assert any(note.startswith("compared on the seeds that all share (0)") for note in table.notes)


def test_every_variant_has_a_name() -> None:
    assert NAMES.keys() == BEYOND.keys()
