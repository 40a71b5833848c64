"""How a table or a figure declares itself: name, what it is made of, heading and caption, above its function.

    @table("gain", of="scores", heading="What the refinement adds.", caption="Image AUROC per category.")
    def gain(scores: pd.DataFrame) -> Table: ...

    @figure("spread", of="image_scores", heading="Spread.", caption="Of the scores of normal images.")
    def spread(image_scores: pd.DataFrame, path: Path) -> None: ...

The function is called with what `drdc.reporting.kinds` reads for its kind; a figure then gets the path of its
PNG. One with a parameter `described` gets by that keyword the methods that the experiment compares
(`drdc.reporting.described`). `drdc.reporting.registry` finds the declarations.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from drdc.reporting.described import Methods
from drdc.reporting.kinds import READERS

Shape = Literal["table", "figure"]
Make = TypeVar("Make", bound=Callable[..., Any])


@dataclass(frozen=True)
class Declared:
    """A table or a figure.

    Attributes:
        name: of its files, of the workflow's target and of the argument of `drdc tables` or `drdc figures`.
        of: the kind of data that it is made of, a key of `drdc.reporting.kinds.READERS`.
        heading, caption: one sentence each or more, in reStructuredText, for the workflow's report.
        function: makes the table, or draws the figure.
        further: names of pictures that a figure leaves next to its own; `{category}`: one for each.
    """

    name: str
    of: str
    heading: str
    caption: str
    function: Callable[..., Any]
    further: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Heading and caption, for the workflow's report."""
        return f"**{self.heading}** {self.caption}"

    def pictures(self, categories: Iterable[str]) -> list[str]:
        """The names of all pictures of a figure, its own first."""
        every = dict.fromkeys(one.format(category=name) for one in self.further for name in categories)
        return [self.name, *every]

    def make(self, *arguments: Any, described: Methods) -> Any:
        """The result of the function; it gets the methods if it has a parameter for them."""
        asks = "described" in inspect.signature(self.function).parameters
        return self.function(*arguments, **({"described": described} if asks else {}))


#: All declarations of the modules that were imported so far.
DECLARED: dict[Shape, dict[str, Declared]] = {"table": {}, "figure": {}}


def table(name: str, *, of: str, heading: str, caption: str) -> Callable[[Make], Make]:
    """Declare a function that makes a `drdc.reporting.formats.Table`; arguments: `Declared`."""
    return _declaring("table", name, of, heading, caption)


def figure(
    name: str, *, of: str, heading: str, caption: str, further: tuple[str, ...] = ()
) -> Callable[[Make], Make]:
    """Declare a function that draws a PNG; arguments: `Declared`."""
    return _declaring("figure", name, of, heading, caption, further)


def _declaring(
    shape: Shape, name: str, of: str, heading: str, caption: str, further: tuple[str, ...] = ()
) -> Callable[[Make], Make]:
    if of not in READERS:
        raise ValueError(f"{shape} {name!r}: there is no kind of data {of!r}; known: {', '.join(READERS)}")

    def declare(function: Make) -> Make:
        if name in DECLARED[shape]:
            raise ValueError(f"{shape} {name!r} is declared twice; rename that of {function.__module__}")
        DECLARED[shape][name] = Declared(name, of, heading, inspect.cleandoc(caption), function, further)
        return function

    return declare
