"""The descriptions of methods in tables and figures: names, citations, input sizes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from drdc.config.described import Described
from drdc.config.variants import COMPARED
from drdc.reporting.aggregate import METHODS

#: Of the experiment's methods by name, in its order; of base and DRDC too where something is known of them.
Methods = Mapping[str, Described]
NONE: Methods = {}


def further(described: Methods) -> list[str]:
    """The methods of the configuration: all but base and DRDC."""
    return [name for name in described if name not in METHODS]


def compared(described: Methods, among: Collection[str]) -> list[str]:
    """Base, DRDC and the methods of the configuration, in this order: those that are `among` others."""
    return [name for name in (*COMPARED, *further(described)) if name in among]


def name_of(method: str) -> str:
    """A method's name as it is shown."""
    return METHODS.get(method, method)


def about(described: Methods) -> list[str]:
    """Notes on the held-out images, and on the input size and the source of each method."""
    shares = sorted({one.held_out for one in described.values() if one.held_out})
    held_out = [
        f"{100 * share:g} % of the normal training images were held out of all trainings." for share in shares
    ]
    sizes = {name: one.input_size for name, one in described.items() if one.input_size}
    ordered = ", ".join(f"{name_of(name)} {sizes[name]}" for name in compared(described, sizes))
    return [*held_out, *([f"input size in pixels: {ordered}."] if sizes else []), *sources(described)]


def sources(described: Methods) -> list[str]:
    """Notes on the source of each method and how it differs; the same for several methods is said once."""
    names: dict[str, list[str]] = {}
    for name in (*further(described), *compared(described, COMPARED)):
        if name in described and (citation := described[name].citation):
            names.setdefault(citation, []).append(name_of(name))
    return [f"{', '.join(who)}: {citation}." for citation, who in names.items()]


def only_ours(described: Methods) -> Methods:
    """What is known of base and DRDC alone."""
    return {name: described[name] for name in COMPARED if name in described}
