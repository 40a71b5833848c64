"""In what settings differ from the published ones."""

from __future__ import annotations

from drdc.config.departures import departures
from drdc.config.section import Section, setting


class Inner(Section):
    width: int = setting(128, "inferred", "")


class Outer(Section):
    epochs: float = setting(72, "paper", "")
    rate: float = setting(1e-4, "inferred", "")
    levels: list[int] = setting([2, 4], "paper", "")
    memory: int = setting(5, "ours", "")
    optimizer: str = setting("adam", "inferred", "")
    inner: Inner = setting(Inner(), "ours", "")


def test_settings_that_are_not_the_published_ones_are_told_with_these() -> None:
    changed = {"epochs": 5, "rate": 0.002, "levels": [2], "memory": 9, "optimizer": "sgd"}
    own = Outer.model_validate(changed | {"inner": {"width": 16}}).model_dump()
    told = "with epochs 5 for 72, rate 0.002 for 0.0001, levels 2 for 2+4, inner.width 16 for 128"
    assert departures(own, Outer()) == told
    assert departures(own, Outer(), ["epochs", "rate", "levels", "width"]) == ""
    assert departures(own, Outer(), known=["memory"]).endswith("memory 9 for 5, inner.width 16 for 128")


def test_a_number_means_the_same_however_it_is_written() -> None:
    assert departures(Outer(epochs=72.0, levels=[2, 4]).model_dump(), Outer()) == ""
    assert departures(Outer(levels=[10**400]).model_dump(), Outer()).endswith("0 for 2+4"), "beyond any float"
