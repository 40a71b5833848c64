"""`study`: the same experiment with other training data."""

from __future__ import annotations

from typing import Literal

from drdc.config.section import Section, setting


class Study(Section):
    """How accuracy depends on the training data: a whole experiment for each value and draw.

    Each has a name and a folder of its own, `results/<experiment>.<value>.<draw>`; what is compared is in
    that of the experiment itself.
    """

    over: Literal["images", "defective", "categories"] = setting(
        "images",
        "ours",
        "What varies: `dataset.drawn.images`, `dataset.drawn.defective`, or the number of categories in one "
        "model; then each value has as many models as there are categories, and each category is in equally "
        "many of them.",
    )
    values: list[int | float | Literal["all"]] = setting(
        [],
        "ours",
        "Its values, in the order of the table; for images and categories also `all`: nothing is left out. "
        "Empty: no study.",
    )
    draws: int = setting(
        3,
        "ours",
        "Random draws of each value; where nothing is left out there is one, and over categories nothing is "
        "drawn.",
        ge=1,
        le=1000,
    )
