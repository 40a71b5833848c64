"""In what settings differ from the published ones: what the notes below a table say."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from drdc.config.section import Section

#: What the notes say in words of its own.
_TOLD = ("backbone", "input_size", "optimizer", "size")


def departures(
    settings: Mapping[str, Any],
    published: Section,
    leave: Collection[str] = (),
    known: Collection[str] = (),
) -> str:
    """The settings that are not the published ones, as "with epochs 5 for 72, width 128 for 1024", or "".

    Args:
        settings: as they are written; what is left out has its default.
        published: the same section with its defaults. Those that are `ours` have no published value.
        leave: names of settings that do not matter here.
        known: names of settings whose value in `published` is the published one, although they are `ours`.
    """
    found = ", ".join(_each(settings, published, {*_TOLD, *leave}, known))
    return f"with {found}" if found else ""


def _each(
    settings: Mapping[str, Any],
    published: Section,
    leave: Collection[str],
    known: Collection[str],
    prefix: str = "",
) -> Iterator[str]:
    for name, field in type(published).model_fields.items():
        default = getattr(published, name)
        own = settings.get(name, default)
        labels = field.json_schema_extra
        source = labels.get("source", "ours") if isinstance(labels, Mapping) else "ours"
        if name in leave:
            continue
        if isinstance(default, Section):
            yield from _each(own, default, leave, known, f"{prefix}{name}.")
        elif (source != "ours" or name in known) and shown(own) != shown(default):
            yield f"{prefix}{name} {shown(own)} for {shown(default)}"


def shown(value: Any) -> str:
    """A value as the notes have it: a list as 17+33+65."""
    if isinstance(value, list | tuple):
        return "+".join(map(shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
