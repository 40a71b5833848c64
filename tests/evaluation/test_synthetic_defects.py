"""What the self-check measures of synthetic defects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from drdc.evaluation.self_check import COLUMNS, image_auroc, pixel_auroc, sentence, summary


def rows() -> pd.DataFrame:
    """Of `cap` both scratches are found and no stain, of `nut` everything, at far higher scores."""
    normal = [("cap", f"{i}", "", np.nan, score, np.nan, 0, np.nan) for i, score in enumerate((1.0, 2.0))]
    normal += [("nut", f"{i}", "", np.nan, score, np.nan, 0, np.nan) for i, score in enumerate((11.0, 12.0))]
    defects = [
        ("cap", "0", "scratch", 0.002, 3.0, 2.5, 1, 1.0),
        ("cap", "1", "scratch", 0.02, 4.0, 2.5, 1, 0.8),
        ("cap", "0", "stain", 0.005, 0.5, 2.5, 0, 0.5),
        ("cap", "1", "stain", 0.005, 1.5, 2.5, 0, 0.5),
        ("nut", "0", "scratch", 0.01, 13.0, 12.5, 1, 0.9),
        ("nut", "1", "stain", 0.01, 14.0, 12.5, 1, 0.9),
    ]
    return pd.DataFrame(normal + defects, columns=list(COLUMNS))


def test_each_category_is_measured_among_its_own_normal_images() -> None:
    found = summary(rows())
    assert found["detection_rate"].to_dict() == pytest.approx({"cap": 0.5, "nut": 1.0, "all": 4 / 6})
    assert found["image_auroc"].to_dict() == pytest.approx({"cap": 0.625, "nut": 1.0, "all": 0.8125})
    assert found["pixel_auroc"].to_dict() == pytest.approx({"cap": 0.7, "nut": 0.9, "all": 4.6 / 6})
    assert found["defects"].to_dict() == {"cap": 4, "nut": 2, "all": 6}


def test_kinds_of_defects_are_told_apart() -> None:
    found = summary(rows(), by="kind")
    assert found["detection_rate"].to_dict() == pytest.approx({"scratch": 1.0, "stain": 1 / 3, "all": 4 / 6})
    assert found["image_auroc"]["stain"] == pytest.approx((0.25 + 1) / 2)


def test_the_sentence_says_what_is_found() -> None:
    said = sentence(summary(rows()))
    assert said.startswith(
        "finds 67 % of 6 synthetic defects in held-out normal images (cap 50 %, nut 100 %); "
    )
    assert said.endswith("image AUROC 81.2 %, pixel AUROC 76.7 %")


def test_aurocs_are_those_of_ranks() -> None:
    assert image_auroc([1.0, 2.0], [2.0, 3.0]).value == pytest.approx(0.875)
    mask = np.array([[True, False], [False, False]])
    assert pixel_auroc(np.array([[0.9, 0.1], [0.2, 0.9]]), mask) == pytest.approx(2.5 / 3)
    assert np.isnan(pixel_auroc(np.zeros((2, 2)), np.zeros((2, 2), dtype=bool)))
