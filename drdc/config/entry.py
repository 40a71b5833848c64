"""What every entry of `methods` can have, whatever its method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import field_validator

from drdc.config.names import path_fault
from drdc.config.section import Section, setting

#: Characters of a label; a longer one would be wider than the figures that show it.
LONGEST_LABEL = 40


class Entry(Section):
    """What an entry is, and what tables, figures and pages say of it: no job but theirs runs again for it."""

    method: str = setting("", "ours", "Its method; empty: that of the entry's name.")
    label: str = setting(
        "",
        "ours",
        f"Its name in tables, figures and pages, at most {LONGEST_LABEL} characters; empty: the entry's.",
        max_length=LONGEST_LABEL,
        coerce_numbers_to_str=True,
    )
    citation: str = setting(
        "", "ours", "Its source, below the tables; empty: the method's own.", coerce_numbers_to_str=True
    )

    @field_validator("label", "citation")
    @classmethod
    def _on_one_line(cls, value: str) -> str:
        if fault := path_fault(value):
            raise ValueError(f"{fault}; write it on one line")
        return value.strip()

    @field_validator("citation")
    @classmethod
    def _as_in_a_list(cls, value: str) -> str:
        return value.removesuffix(".")  # what follows it is said behind a semicolon

    @field_validator("label")
    @classmethod
    def _in_a_legend(cls, value: str) -> str:
        if value.startswith("_"):
            raise ValueError("must not begin with an underscore, which legends leave out")
        return value


def own_settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the method itself, without what every entry can have."""
    return {key: value for key, value in entry.items() if key not in Entry.model_fields}
