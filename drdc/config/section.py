"""What every section of the configuration has: settings with a default, its source and a description.

Each setting says where its default comes from: `paper` (stated in the DRDC paper), `inferred` (reconstructed
from the paper's sources) or `ours` (chosen by this project, because the paper does not say). Validation,
defaults, JSON schema and manual come from these models.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Source = Literal["paper", "inferred", "ours"]


#: Bounds of what determines memory and time, far above any sensible value; also checked in a model file.
MOST_PIXELS = 2048  # of a side
MOST_IMAGES = 100_000  # of a batch, or drawn
MOST_EPOCHS = 1_000_000
MOST_CHANNELS = 16_384  # of a layer of a method
MOST_TIMESTEPS = 100_000


def setting(default: Any, source: Source, description: str, **constraints: Any) -> Any:
    """A pydantic field whose default is labelled with its source."""
    return Field(default, description=description, json_schema_extra={"source": source}, **constraints)


def _distinct(values: list[Any]) -> list[Any]:
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise ValueError(f"names {twice[0]} twice; name each once")
    return values


#: Of a list that stands for a set.
DISTINCT = AfterValidator(_distinct)


class Section(BaseModel):
    """Settings are complete, known by name and never changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
