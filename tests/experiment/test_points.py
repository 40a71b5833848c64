"""The experiments of a study."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from drdc.experiment.experiment import load_experiment, read_mapping
from drdc.experiment.points import points
from drdc.runtime.errors import UserErrors

CONFIG = Path(__file__).parents[2] / "config"


def of(name: str, **study: object) -> dict[str, object]:
    mapping = read_mapping(CONFIG / f"study-{name}.yaml")[1]
    return mapping | {"study": mapping["study"] | study}


def test_numbers_of_images_have_draws_and_all_of_them_one() -> None:
    found = points(load_experiment(of("images", values=[4, "all"], draws=2)))
    assert [one.experiment.experiment for one in found] == [
        "study-images.4.0",
        "study-images.4.1",
        "study-images.all.0",
    ]
    assert [(one.value, one.draw) for one in found] == [("4", 0), ("4", 1), ("all", 0)]
    drawn = [one.experiment.dataset.drawn for one in found]
    assert [(own.images, own.draw) for own in drawn] == [(4, 0), (4, 1), (None, 0)]
    assert all(not one.experiment.study.values for one in found)
    assert len({one.experiment.base.images for one in found}) == 1, "as much training"


def test_shares_of_defective_images_are_tested_on_the_same_images() -> None:
    found = points(load_experiment(of("dirt")))
    assert [one.experiment.dataset.drawn.defective for one in found] == [
        0,
        0,
        0.01,
        0.01,
        0.05,
        0.05,
        0.1,
        0.1,
    ]
    assert {one.experiment.dataset.drawn.reserved for one in found} == {0.1}


def test_each_category_is_in_as_many_models_and_trained_as_long() -> None:
    experiment = load_experiment(of("categories"))
    for value in (1, 2, 3, 4):
        found = [one.experiment for one in points(experiment) if one.value == str(value)]
        assert len(found) == (1 if value == 4 else 4)
        counts = Counter(name for one in found for name in one.dataset.categories)
        assert set(counts) == set(experiment.dataset.categories)
        assert len(set(counts.values())) == 1
        assert all(one.diffusion.images == 450 * value for one in found)


def test_an_experiment_is_no_study_and_an_impossible_value_is_one_sentence() -> None:
    assert points(load_experiment(CONFIG / "config.yaml")) == []
    wrong = load_experiment(of("images", values=[1]))
    with pytest.raises(UserErrors, match=r"study, images 1: dataset.drawn.images: invalid value 1"):
        points(wrong)
