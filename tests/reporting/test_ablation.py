"""Table 5 compares like with like and is shown next to the paper's printed numbers."""

import numpy as np
import pandas as pd
import pytest
from synthetic_scores import cells, frame, score

from drdc.config.described import Described
from drdc.reporting.ablation import OURS, table5
from drdc.reporting.formats import Table
from drdc.reporting.paper import paper_values
from drdc.runtime.errors import UserError

NAMES = ("TTC", "MC", "TTC+STF", "MC+TTC", "MC+STF", "MC+TTC+STF+base", "full")
LABELS = (
    "test-time conditioning (TTC)",
    "model conditioning (MC)",
    "test-time conditioning + fusion (TTC+STF)",
    "model + test-time conditioning (MC+TTC)",
    "model conditioning + fusion (MC+STF)",
    "full + multi-scale base (MC+TTC+STF+base)",
    "full (MC+TTC+STF)",
)
LOG = "results/toy/logs/score.seed0.MC.log"


def measured(name: str, seed: int = 0, value: float = 0.9, note: str = "") -> pd.DataFrame:
    """One variant at one seed: `value` for the category gear, 0.1 less for nut."""
    rows = [
        score("drdc", seed, c, value - off, k, note) for c, off in (("gear", 0), ("nut", 0.1)) for k in OURS
    ]
    return frame(*rows).assign(variant=name)


def everything() -> pd.DataFrame:
    return pd.concat([measured(name, value=0.5 + i / 20) for i, name in enumerate(NAMES)])


def labels(table: Table) -> list[str]:
    return [label for label, _ in table.rows]


def test_rows_are_the_papers_columns_with_its_numbers() -> None:
    table = table5(everything().sample(frac=1, random_state=0))
    assert labels(table) == list(LABELS)
    found, paper = cells(table), paper_values(5).sort_values("column")
    for metric, head in (("image_auroc", "Image AUROC"), ("pixel_auroc", "Pixel AUROC")):
        printed = paper.loc[paper["metric"] == metric, "value"]
        assert [found[label, f"{head}, MVTec AD (paper)"].mean for label in LABELS] == list(printed)
    assert [column.label for column in table.columns][:5] == [
        "Image AUROC", "Pixel AUROC", "Image AP", "Pixel AP", "Pixel AUPRO",
    ]  # fmt: skip
    assert [found[label, "Pixel AUPRO"].mean for label in LABELS] == pytest.approx(
        [45 + 5 * i for i in range(7)]
    )


def test_notes_explain_abbreviations_and_how_certain_the_order_is() -> None:
    notes = " ".join(table5(everything()).notes)
    assert "MC: model conditioning; TTC: test-time conditioning; STF: spatio-temporal fusion" in notes
    assert "1 (TTC): set high, order guessed: columns 1 and 2 may be swapped" in notes
    assert "7 (full): certain" in notes
    assert "one seed" in notes


def test_another_backbone_of_base_and_drdc_is_said() -> None:
    ours = {name: Described(citation="backbone differs (a for b)") for name in ("base", "drdc")}
    assert table5(everything(), ours).notes[-1] == "base, DRDC: backbone differs (a for b)."


def test_other_methods_and_the_sweeps_do_not_count() -> None:
    others = pd.concat([everything().assign(method="base"), measured("steps=5"), measured("scales=1+2+4")])
    assert repr(table5(pd.concat([everything(), others]))) == repr(table5(everything()))


def test_missing_variants_are_left_out_and_named() -> None:
    scores = pd.concat([measured("MC"), measured("full")])
    table = table5(scores)
    assert labels(table) == [LABELS[1], LABELS[6]]
    assert [n for n in table.notes if n.startswith("not measured")] == [
        f"not measured: {LABELS[i]}." for i in (0, 2, 3, 4, 5)
    ]


def test_variants_are_compared_on_the_seeds_they_share() -> None:
    more = [measured("full", seed, value=0.2) for seed in (1, 2)]
    table = table5(pd.concat([measured("MC", 0, 0.8), measured("full", 0, 0.9), *more]))
    assert cells(table)[LABELS[6], "Image AUROC"].mean == pytest.approx(85.0)
    assert any("share (0); left out are seeds of full: 1, 2" in note for note in table.notes)
    assert not any("left out are seeds" in note for note in table5(everything()).notes)


def test_failed_variant_is_called_failed_with_its_log() -> None:
    failed = measured("MC", value=np.nan, note=f"failed; see {LOG}")
    table = table5(pd.concat([failed, measured("TTC", 0, 0.7), measured("full", 0, 0.9)]))
    found = cells(table)
    assert found[LABELS[1], "Image AP"].note == f"failed; see {LOG}"
    assert found[LABELS[0], "Image AP"].mean == pytest.approx(65.0)
    assert any(f"failed everywhere (MC): see {LOG}" in note for note in table.notes)


def test_seed_at_which_one_variant_failed_is_left_out_for_all() -> None:
    failed = measured("MC", 1, np.nan, f"failed; see {LOG}")
    rest = [measured("MC", 0, 0.8), measured("full", 0, 0.9), measured("full", 1, 0.3)]
    table = table5(pd.concat([failed, *rest]))
    found = cells(table)
    assert found[LABELS[1], "Image AUROC"].mean == pytest.approx(75.0)
    assert found[LABELS[6], "Image AUROC"].mean == pytest.approx(85.0)
    assert any(note.startswith(f"MC: failed seed 1: see {LOG}") for note in table.notes)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UserError, match="no variant of Table 5"):
        table5(measured("steps=5"))
    with pytest.raises(UserError, match="share no seed"):
        table5(pd.concat([measured("MC", 0), measured("full", 1)]))
