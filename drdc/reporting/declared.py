"""How a table or a figure declares itself: name, what it is made of, heading and caption, above its function.

    @table("gain", of="scores", heading="What the refinement adds.", caption="Image AUROC per category.")
    def gain(scores: pd.DataFrame) -> Table: ...

    @figure("spread", of="image_scores", heading="Spread.", caption="Of the scores of normal images.")
    def spread(image_scores: pd.DataFrame, path: Path) -> None: ...

Snakemake's report sorts its sections, and what is in each, by name: hence the numbers in `SECTIONS`. There
tables and figures are called by their headings.

The function is called with what `drdc.reporting.kinds` reads for its kind; a figure then gets the path of its
PNG. What else it asks for by a parameter of that name: `described`, the methods that the experiment compares
(`drdc.reporting.described`); `failed`, the categories that its data lack because a job failed
(`drdc.reporting.lost`); a table `reported`, numbers from other work (`drdc.reporting.reported`), and
`dataset`, the name of the dataset's reader.
`drdc.reporting.registry` finds the declarations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from drdc.reporting.kinds import READERS

Shape = Literal["table", "figure"]
#: The parts of the report, in their order.
SECTIONS = {
    "glance": "1 At a glance",
    "paper": "2 Tables and figures of the paper",
    "detail": "3 In detail",
    "thresholds": "4 Thresholds and self-check",
    "data": "5 Training and data",
    "about": "6 About this run",
}
Make = TypeVar("Make", bound=Callable[..., Any])


@dataclass(frozen=True)
class Declared:
    """A table or a figure.

    Attributes:
        name: of its files, of the workflow's target and of the argument of `drdc tables` or `drdc figures`.
        of: the kind of data that it is made of, a key of `drdc.reporting.kinds.READERS`.
        heading, caption: one sentence each or more, in reStructuredText, for the workflow's report.
        function: makes the table, or draws the figure.
        section: of the report, a value of `SECTIONS`; declared by its key.
        further: names of pictures that a figure leaves next to its own, and titles; `{category}`: for each.
    """

    name: str
    of: str
    heading: str
    caption: str
    function: Callable[..., Any]
    section: str
    further: Mapping[str, str]

    @property
    def title(self) -> str:
        """What the report calls it."""
        return self.heading.rstrip(".")

    @property
    def text(self) -> str:
        """Heading and caption, for the workflow's report."""
        return f"**{self.heading}** {self.caption}"

    def pictures(self, categories: Iterable[str]) -> dict[str, str]:
        """The names of all pictures of a figure, its own first, and their titles."""
        further = {
            name.format(category=category): title.format(category=category)
            for name, title in self.further.items()
            for category in categories
        }
        return {self.name: self.title} | further

    def make(self, *arguments: Any, **offered: Any) -> Any:
        """The result of the function; of what is `offered` it gets what it has a parameter for."""
        asked = inspect.signature(self.function).parameters
        return self.function(*arguments, **{name: own for name, own in offered.items() if name in asked})


#: All declarations of the modules that were imported so far.
DECLARED: dict[Shape, dict[str, Declared]] = {"table": {}, "figure": {}}


def table(
    name: str, *, of: str, heading: str, caption: str, section: str = "detail"
) -> Callable[[Make], Make]:
    """Declare a function that makes a `drdc.reporting.formats.Table`; arguments: `Declared`."""
    return _declaring("table", name, of, heading, caption, section, {})


def figure(
    name: str,
    *,
    of: str,
    heading: str,
    caption: str,
    section: str = "detail",
    further: Mapping[str, str] | None = None,
) -> Callable[[Make], Make]:
    """Declare a function that draws a PNG; arguments: `Declared`."""
    return _declaring("figure", name, of, heading, caption, section, further or {})


def _declaring(
    shape: Shape, name: str, of: str, heading: str, caption: str, section: str, further: Mapping[str, str]
) -> Callable[[Make], Make]:
    if of not in READERS:
        raise ValueError(f"{shape} {name!r}: there is no kind of data {of!r}; known: {', '.join(READERS)}")
    if section not in SECTIONS:
        raise ValueError(f"{shape} {name!r}: there is no section {section!r}; known: {', '.join(SECTIONS)}")

    def declare(function: Make) -> Make:
        if name in DECLARED[shape]:
            raise ValueError(f"{shape} {name!r} is declared twice; rename that of {function.__module__}")
        text = inspect.cleandoc(caption)
        DECLARED[shape][name] = Declared(name, of, heading, text, function, SECTIONS[section], further)
        return function

    return declare
