"""What tables and figures say of a method; not set by the user."""

from __future__ import annotations

from drdc.config.section import Section


class Described(Section):
    """What tables and figures say of a method.

    Attributes:
        label: its name as it is shown; "" for that of the run.
        paper_name: what the paper's tables and the re-runs call it; "" where they do not have it.
        citation: authors, title, place and year, and in what the method differs from that; "" for neither.
        normalisation: as `fusion.normalisation`, of a method that fuses the base map, too; "" for others.
        input_size: height and width in pixels of the images that it sees; None where unknown.
        held_out: fraction of the normal training images that it was not trained on.
        imported: whether its heatmaps were made elsewhere, so that there is no network.
    """

    label: str = ""
    paper_name: str = ""
    citation: str = ""
    normalisation: str = ""
    input_size: int | None = None
    held_out: float = 0.0
    imported: bool = False
