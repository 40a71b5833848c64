"""The experiments that a study consists of (`drdc.config.study`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from drdc.experiment.experiment import Experiment, checked


@dataclass(frozen=True)
class Point:
    """One experiment of a study.

    Attributes:
        value: of what varies.
        draw: number of the random draw.
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
        for draw in range(1 if _is_whole(experiment, value) else study.draws):
            name = f"{experiment.experiment}.{value}.{draw}"
            changed = whole | {"experiment": name} | _changes(experiment, whole, value, draw)
            found.append(Point(str(value), draw, checked(changed, f"study, {study.over} {value}")))
    return found


def _is_whole(experiment: Experiment, value: Any) -> bool:
    """Whether every draw would be the same."""
    return value == "all" or (
        experiment.study.over == "categories" and value == len(experiment.dataset.categories)
    )


def _changes(experiment: Experiment, whole: dict[str, Any], value: Any, draw: int) -> dict[str, Any]:
    """The sections that differ from those of the whole experiment."""
    dataset, study = whole["dataset"], experiment.study
    if study.over == "categories":
        names = experiment.dataset.categories
        count = len(names) if value == "all" else int(value)
        chosen = [names[(draw + step) % len(names)] for step in range(min(count, len(names)))]
        # As much training for each category, whatever their number.
        images = max(1, round(experiment.diffusion.images * len(chosen) / len(names)))
        return {
            "dataset": dataset | {"categories": chosen},
            "diffusion": whole["diffusion"] | {"images": images},
        }
    most = max((own for own in study.values if own != "all"), default=0)
    drawn = dataset["drawn"] | {"draw": draw}
    if study.over == "defective":
        drawn |= {"defective": 0 if value == "all" else value, "reserved": most}
    else:
        drawn |= {"images": None if value == "all" else value}
    return {"dataset": dataset | {"drawn": drawn}}
