"""The experiments of a study."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from snakemake.utils import update_config  # type: ignore[import-untyped]

from drdc.experiment.experiment import load_experiment, read_mapping
from drdc.experiment.points import points, points_of
from drdc.runtime.errors import UserError, UserErrors

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


def test_what_is_no_study_has_no_points_to_write_or_gather() -> None:
    experiment = load_experiment(CONFIG / "config.yaml")
    assert points(experiment) == []
    with pytest.raises(UserError, match=r"demo: is not a study; list values in `study\.values`"):
        points_of(experiment)


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


@pytest.mark.parametrize("draws", [1, 3, 4])
def test_each_category_is_in_as_many_models_and_trained_as_long(draws: int) -> None:
    mapping = of("categories", draws=draws)
    for base in ({"epochs": 25}, {"images": 6500}):
        experiment = load_experiment(mapping | {"base": base})
        for value in (1, 2, 3, 4):
            found = [one.experiment for one in points(experiment) if one.value == str(value)]
            assert len(found) == (1 if value == 4 else 4)
            counts = Counter(name for one in found for name in one.dataset.categories)
            assert set(counts) == set(experiment.dataset.categories)
            assert len(set(counts.values())) == 1
            assert all(one.diffusion.images == 450 * value for one in found)
            assert {one.base.images for one in found} == {1625 * value if "images" in base else None}
            assert {one.base.epochs for one in found} == {experiment.base.epochs}


@pytest.mark.parametrize(("name", "number"), [("images", 5), ("categories", 4 * 5), ("dirt", 4)])
def test_every_study_can_be_of_the_real_images(name: str, number: int) -> None:
    mapping = of(name)
    update_config(mapping, read_mapping(CONFIG / "on/real-five.yaml")[1])
    found = points(load_experiment(mapping))
    assert len(found) == number
    of_categories = Counter(name for one in found for name in one.experiment.dataset.categories)
    assert len(set(of_categories.values())) == 1


def test_where_nothing_is_left_out_there_is_one_draw() -> None:
    found = points(load_experiment(of("images", values=[71, 72])))
    assert [one.experiment.experiment.partition(".")[2] for one in found] == ["71.0", "71.1", "71.2", "72.0"]


def test_an_experiment_is_no_study() -> None:
    assert points(load_experiment(CONFIG / "config.yaml")) == []


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("images", [1], "1 is not possible over images; name integers from 2 to 72, or all"),
        ("images", [73], "73 is not possible over images; name integers from 2 to 72, or all"),
        ("images", ["all", 72], "all and 72 are the same; name one of them"),
        ("dirt", [0.1, "all"], "all is not possible over defective; name shares from 0 to below 1"),
        ("dirt", [1.0], "1.0 is not possible over defective; name shares from 0 to below 1"),
        ("categories", [10], "10 is not possible over categories; name integers from 1 to 4, or all"),
        ("categories", [2.7], "2.7 is not possible over categories; name integers from 1 to 4, or all"),
        ("categories", [1, 1], "1 and 1 are the same; name one of them"),
        ("categories", [4, "all"], "4 and all are the same; name one of them"),
    ],
)
def test_a_value_that_is_impossible_or_there_twice_is_one_sentence(
    name: str, values: list[object], said: str
) -> None:
    with pytest.raises(UserErrors) as caught:
        load_experiment(of(name, values=values))
    assert str(caught.value) == f"configuration: study.values: {said}"
