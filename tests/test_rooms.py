"""The floors of the house: a room imports only from rooms below it, and no two rooms from each other."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

DRDC = Path(__file__).parents[1] / "drdc"
#: From the lowest to the highest; a room may import from its own floor too, if there is no circle.
FLOORS = (
    {"runtime"},
    {"equations", "config"},
    {"evaluation", "results"},
    {"data", "models", "training", "methods", "detection", "reporting", "planning", "experiment"},
    {"stages", "tools"},
    {"cli", "__init__", "__main__"},
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


@cache
def rooms_imported() -> dict[str, dict[str, set[str]]]:
    """By room those that it imports from, and the files that do."""
    found: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in DRDC.rglob("*.py"):
        room = path.relative_to(DRDC).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{node.names[0].name}"]
            for name in names:
                package, *rest = name.split(".")
                if package == "drdc" and rest and rest[0] in FLOOR_OF and rest[0] != room:
                    found[room][rest[0]].add(str(path.relative_to(DRDC)))
    return found


def test_every_room_has_a_floor() -> None:
    names = {path.stem for path in DRDC.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert names == set(FLOOR_OF)


def test_nothing_imports_upwards() -> None:
    upwards = {
        (room, other): files
        for room, others in rooms_imported().items()
        for other, files in others.items()
        if FLOOR_OF[other] > FLOOR_OF[room]
    }
    assert not upwards


def test_no_circle_of_rooms() -> None:
    TopologicalSorter({room: set(others) for room, others in rooms_imported().items()}).prepare()


def test_the_equations_and_the_runtime_stand_on_nothing_of_the_house() -> None:
    imported = rooms_imported()
    assert not imported.get("equations")
    assert not imported.get("runtime")
