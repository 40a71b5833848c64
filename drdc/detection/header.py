"""The header of a model file, checked against the rules of a configuration before anything is built."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from drdc.config.backbone import Backbone
from drdc.config.dataset import Dataset
from drdc.config.section import MOST_PIXELS
from drdc.config.variants import FULL
from drdc.experiment.experiment import checked, validated
from drdc.runtime.arguments import LARGEST_SEED
from drdc.runtime.devices import total_memory
from drdc.runtime.errors import UserError

#: Bytes of a header: a thousand categories and ten thousand tensors need less.
_LARGEST = 2**22
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=255)]
_Pair = tuple[float, Annotated[float, Field(ge=0)]]  # mean and standard deviation


class _Finite(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)


class _Mode(_Finite):
    """One way to compute heatmaps; of DRDC with the statistics of its maps."""

    accuracy: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(max_length=100)
    statistics: dict[Literal["base", "diffusion"], _Pair] = {}


class _Shapes(_Finite):
    image_size: int = Field(ge=16, le=MOST_PIXELS)
    channels: int = Field(ge=0, le=65_536)
    feature_size: int = Field(ge=1, le=MOST_PIXELS)


_Bits = Annotated[int, Field(ge=8, le=16)]


class _Ranges(_Finite):
    setting: _Bits | None
    categories: dict[str, _Bits]


class _Header(_Finite):
    """The facts of every detector, and of methods other than DRDC name, shapes and scale."""

    experiment: _Name
    seed: int = Field(ge=0, le=LARGEST_SEED)
    provenance: dict[str, str]
    self_check: dict[str, dict[str, float]] = Field(default={}, max_length=100_000)
    recommended: dict[_Name, float] = Field(default={}, max_length=1000)
    modes: dict[_Name, _Mode] = Field(min_length=1, max_length=100)
    ranges: _Ranges
    method: str | None = None
    name: _Name | None = None
    shapes: _Shapes | None = None
    scale: _Pair | None = None


def refuse_endless(path: Path) -> None:
    """Raise ValueError for a file whose header is longer than that of any model file.

    The first eight bytes of safetensors are its length.
    """
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) < 8 or struct.unpack("<Q", start)[0] > _LARGEST:
        raise ValueError("it has no header of a model file")


def refuse_larger_than_memory(path: Path) -> None:
    """Raise UserError for a file that is larger than this computer's memory."""
    size, memory = path.stat().st_size, total_memory()
    if size > memory:
        raise UserError(path, f"has {size} bytes, and this computer's memory {memory}", "use a larger one")


def check_header(path: Path, about: dict[str, Any]) -> None:
    """Raise UserError, with the first fault, where a header is not one that an export writes."""
    try:
        _check(f"{path}: is not a drdc model file", about)
    except UserError as error:
        raise UserError(error.subject, error.problem, error.fix[:500]) from None


def _check(name: str, about: dict[str, Any]) -> None:
    validated(_Header, about, name, ())
    if FULL not in about["modes"]:
        raise UserError(f"{name}: modes", f"{FULL!r} is missing", "export the model again")
    dataset = {key: about.get(key) for key in ("categories", "image_size")}
    if "method" in about:
        validated(Dataset, dataset, name, ())
        validated(Backbone, about.get("backbone", {}), name, ("backbone",))
        return
    shared = {key: about.get(key) for key in ("experiment", "backbone", "base", "diffusion", "fusion")}
    shared |= {"seeds": [about["seed"]], "dataset": dataset | {"name": "synthetic"}}
    for mode in about["modes"].values():
        checked(shared | {"sampling": mode.get("sampling")}, name)
