"""The facts that tell both readings of Eq. 17 apart, against numbers worked out by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from synthetic_scores import cells, frame

from drdc.config.described import Described
from drdc.config.variants import Sweep
from drdc.reporting.formats import Cell
from drdc.reporting.readings import readings

ONE, RAW, PAPER = "one scale", "raw maps", "MVTec AD (paper)"
SWEEPS = [
    Sweep("steps", ("1", "2"), "2"),
    Sweep("weight", ("0.5", "0.9", "1"), "0.9"),
    Sweep("raw_weight", ("0.9", "0.99", "1"), "0.9", "raw"),
]
#: Image AUROC of DRDC's variants; the pixel AUROC is 0.1 less.
LEVELS = {
    "full": 0.95, "weight=0.5": 0.94, "weight=1": 0.95, "raw": 0.80,
    "raw_weight=0.99": 0.90, "raw_weight=1": 0.85,
    "MC+TTC+STF+base": 0.955, "raw_MC+TTC+STF+base": 0.79, "MC+TTC": 0.83, "raw_MC+TTC": 0.81,
}  # fmt: skip


def scores(levels: dict[str, float] = LEVELS, **methods: float) -> pd.DataFrame:
    rows = [
        ("toy", method, variant, 0, category, metric, level - lower, "")
        for method, variant, level in [
            ("base", "full", 0.75),
            *(("drdc", name, level) for name, level in levels.items()),
            *((name, "full", level) for name, level in methods.items()),
        ]
        for category in ("gear", "tile")
        for metric, lower in (("image_auroc", 0.0), ("pixel_auroc", 0.1))
    ]
    return frame(*rows)


def scales(base: float = 50.0, diffusion: float = 0.05) -> pd.DataFrame:
    return pd.DataFrame({"map": ["base", "diffusion"], "mean": [base, diffusion], "std": [1.0, 0.01]})


def row(found: dict[tuple[str, str], Cell], label: str) -> dict[str, float]:
    return {column: found[label, column].mean for column in (PAPER, ONE, RAW)}


def test_each_fact_in_both_readings() -> None:
    found = cells(readings(scores(), scales(), SWEEPS))
    assert row(found, "(a) best λ, Image AUROC") == {PAPER: 0.9, ONE: 0.9, RAW: 0.99}
    lost = row(found, "(a) λ = 1 minus the best, Image AUROC")
    assert lost[ONE] == pytest.approx(0.0)
    assert lost[RAW] == pytest.approx(-5.0)
    multi = row(found, "(b) multi-scale base map, Image AUROC")
    assert [multi[column] for column in (ONE, RAW)] == pytest.approx([0.5, -1.0])
    without = row(found, "(c) without spatio-temporal fusion minus base, Pixel AUROC")
    assert [without[column] for column in (ONE, RAW)] == pytest.approx([8.0, 6.0])


def test_the_papers_side_is_computed_from_its_tables() -> None:
    found = cells(readings(scores(), scales(), SWEEPS))
    assert row(found, "(b) multi-scale base map, Image AUROC")[PAPER] == pytest.approx(97.58 - 98.45, abs=0.5)
    assert found["(a) λ = 1 minus the best, Image AUROC", PAPER].note.startswith("not plotted")


def test_a_method_that_fuses_the_base_map_stands_in_the_column_of_its_reading() -> None:
    described = {
        "unet": Described(paper_name="UniAD+UNet", normalisation="none"),
        "vae": Described(paper_name="UniAD+VAE", normalisation="mean"),
        "padim": Described(paper_name="PaDiM"),
    }
    found = cells(readings(scores(unet=0.76, vae=0.6, padim=0.9), scales(), SWEEPS, described))
    assert found["(d) unet minus base, Image AUROC", RAW].mean == pytest.approx(1.0)
    assert found["(d) unet minus base, Image AUROC", ONE].note
    assert found["(d) vae minus base, Pixel AUROC", ONE].mean == pytest.approx(-15.0)
    assert found["(d) unet minus base, Image AUROC", PAPER].mean == pytest.approx(96.4 - 96.5)
    assert not any("padim" in label for label, _ in found)


def test_what_was_not_run_is_not_measured() -> None:
    found = cells(readings(scores({"full": 0.9, "raw": 0.8}), scales(), SWEEPS[:1]))
    for label, column in found:
        if column in (ONE, RAW):
            assert found[label, column].note == "not measured"


def test_a_weight_that_failed_may_have_been_the_best() -> None:
    frame = scores()
    gone = (frame["variant"] == "weight=0.5") & (frame["category"] == "gear")
    frame.loc[gone, ["value", "note"]] = [float("nan"), "failed; see predict.log"]
    found = cells(readings(frame, scales(), SWEEPS))
    for label in ("(a) best λ, Image AUROC", "(a) λ = 1 minus the best, Image AUROC"):
        assert "failed" in found[label, ONE].note
        assert not found[label, RAW].note


def test_the_ratio_of_the_raw_maps_and_the_weight_that_evens_them_out_are_in_a_note() -> None:
    notes = " ".join(readings(scores(), scales(99.0, 1.0), SWEEPS).notes)
    assert "base 99, diffusion 1, ratio 99" in notes
    assert "λ = 0.9900" in notes


def test_the_base_model_alone_can_be_the_best() -> None:
    sweep = Sweep("weight", ("0", "0.9", "1"), "0.9")
    levels = {"full": 0.8, "weight=0": 0.9, "weight=1": 0.7, "raw": 0.8}
    found = cells(readings(scores(levels), scales(), [sweep]))
    assert found["(a) best λ, Image AUROC", ONE].mean == 0.0
    assert found["(a) λ = 1 minus the best, Image AUROC", ONE].mean == pytest.approx(-20.0)
