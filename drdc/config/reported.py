"""A number from other work; not set by the user."""

from __future__ import annotations

from drdc.config.section import Section


class Reported(Section):
    """A row of a file in `reported`.

    Attributes:
        method: as that work calls it.
        category: one of the dataset's, or "mean".
        metric: as in scores.csv.
        value: in percent.
        source: who reports it, "" where the file does not say.
        file: in which it stands.
    """

    method: str
    category: str
    metric: str
    value: float
    source: str = ""
    file: str
