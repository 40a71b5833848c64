"""The descriptions of methods in tables and figures: names, citations, input sizes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from drdc.config.described import Described
from drdc.config.variants import COMPARED
from drdc.reporting.aggregate import METHODS

#: Of the experiment's methods by name, in its order; of base and DRDC too where something is known of them.
#: Tables and figures get them, and all scores, by the name that is shown (`by_label`).
Methods = Mapping[str, Described]
NONE: Methods = {}


def further(described: Methods) -> list[str]:
    """The methods of the configuration: all but base and DRDC."""
    return [name for name in described if name not in METHODS]


def labels(described: Methods) -> dict[str, str]:
    """What each method of the configuration is called wherever it is shown, by its name."""
    return {name: described[name].label or name for name in further(described)}


def by_label(described: Methods) -> Methods:
    """The same by the name that is shown."""
    shown = labels(described)
    return {shown.get(name, name): one for name, one in described.items()}


def compared(described: Methods, among: Collection[str]) -> list[str]:
    """Base, DRDC and the methods of the configuration, in this order: those that are `among` others."""
    return [name for name in (*COMPARED, *further(described)) if name in among]


def name_of(method: str) -> str:
    """The name of DRDC, a part of it or a control as it is shown; other methods go by theirs already."""
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


def imported(described: Methods, lacks: str) -> list[str]:
    """A note on the methods without a network, which therefore have none of what a table shows."""
    names = [name for name in described if described[name].imported]
    why = "heatmaps were made elsewhere, and there is no network here"
    return [f"without {lacks}, because its {why}: {', '.join(names)}."] if names else []


def only_ours(described: Methods) -> Methods:
    """What is known of base and DRDC alone."""
    return {name: described[name] for name in COMPARED if name in described}
