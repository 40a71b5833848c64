"""Which method is recommended, and what is said of it."""

from __future__ import annotations

import pandas as pd

from drdc.evaluation.recommendation import USUAL, advice, ranked
from drdc.tools.new_experiment import settings_of


def found(auroc: float, rate: float) -> pd.DataFrame:
    """A summary with one category."""
    row = {"image_auroc": auroc, "pixel_auroc": 0.9, "detection_rate": rate, "defects": 24}
    return pd.DataFrame([row, row], index=["lid", "all"])


def test_the_highest_auroc_comes_first_and_equal_ones_follow_their_detection_rate() -> None:
    order = ranked({"drdc": found(0.7, 0.9), "padim": found(0.9, 0.2), "simplenet": found(0.9, 0.3)})
    assert list(order.index) == ["simplenet", "padim", "drdc"]


def test_two_lines_say_what_to_use_and_what_drdc_would_need() -> None:
    summaries = {"drdc": found(0.7, 0.1), "padim": found(0.9, 0.66)}
    first, second = advice("results/own/recommended.safetensors", summaries, 1000, 4.0)
    assert first == (
        "Use results/own/recommended.safetensors (padim): it finds 66 % of 24 synthetic defects in held-out "
        "normal images (lid 66 %); image AUROC 90.0 %, pixel AUROC 90.0 %."
    )
    assert second == (
        "Image AUROC of the others: drdc 70.0 %. DRDC saw 1000 training images per category in 4 minutes, "
        "repeats included; config/mvtec-small.yaml, where it does well, shows it 4000, here about 16 minutes."
    )
    assert "minutes" not in advice("file", summaries, 1000, None)[1]


def test_where_drdc_is_best_or_was_trained_long_enough_nothing_is_needed() -> None:
    best = {"drdc": found(0.95, 0.8), "padim": found(0.9, 0.66)}
    assert advice("file", best, 3000, 4.0)[1] == "Image AUROC of the others: padim 90.0 %."
    other = {"drdc": found(0.7, 0.1), "padim": found(0.9, 0.66)}
    assert advice("file", other, USUAL, 4.0)[1].endswith("more may not help it.")


def test_the_usual_length_is_that_of_the_experiment_on_real_images() -> None:
    known = settings_of("mvtec-small.yaml")
    assert known.diffusion.images / len(known.dataset.categories) == USUAL
