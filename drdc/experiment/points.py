"""The experiments that a study consists of (`drdc.config.study`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from drdc.config.names import ALL
from drdc.experiment.experiment import Experiment, checked, most_of_study
from drdc.runtime.errors import UserError


@dataclass(frozen=True)
class Point:
    """One experiment of a study.

    Attributes:
        value: of what varies.
        draw: number of the random draw, or of the turn of the categories.
        experiment: complete, with a name of its own, and no study itself.
    """

    value: str
    draw: int
    experiment: Experiment


def points(experiment: Experiment) -> list[Point]:
    """All experiments of its study, in the order of the values; none where it is not one.

    Raises:
        UserErrors: a value is not possible.
    """
    study, found = experiment.study, []
    whole = experiment.model_dump(mode="json", exclude={"study"})
    for value in study.values:
        for draw in range(_draws(experiment, value)):
            name = f"{experiment.experiment}.{value}.{draw}"
            changed = whole | {"experiment": name} | _changes(experiment, whole, value, draw)
            found.append(Point(str(value), draw, checked(changed, f"study, {study.over} {value}")))
    return found


def points_of(experiment: Experiment) -> list[Point]:
    """The same of an experiment that must be a study.

    Raises:
        UserError: it is none.
    """
    if found := points(experiment):
        return found
    raise UserError(experiment.experiment, "is not a study", "list values in `study.values`")


def _draws(experiment: Experiment, value: Any) -> int:
    """How many different experiments a value has."""
    study = experiment.study
    if study.over != "defective" and value in (ALL, most_of_study(experiment)):
        return 1
    return len(experiment.dataset.categories) if study.over == "categories" else study.draws


def _changes(experiment: Experiment, whole: dict[str, Any], value: Any, draw: int) -> dict[str, Any]:
    """The sections that differ from those of the whole experiment."""
    dataset, study = whole["dataset"], experiment.study
    if study.over == "categories":
        names = experiment.dataset.categories
        count = len(names) if value == ALL else value
        chosen = [names[(draw + step) % len(names)] for step in range(count)]
        # As much training for each category, whatever their number.
        seen = {
            model: whole[model] | {"images": max(1, round(images * count / len(names)))}
            for model in ("base", "diffusion")
            if (images := whole[model]["images"]) is not None
        }
        return {"dataset": dataset | {"categories": chosen}} | seen
    drawn = dataset["drawn"] | {"draw": draw}
    if study.over == "defective":
        drawn |= {"defective": value, "reserved": max(own for own in study.values if own != ALL)}
    else:
        drawn |= {"images": None if value == ALL else value}
    return {"dataset": dataset | {"drawn": drawn}}
