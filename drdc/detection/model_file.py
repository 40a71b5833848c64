"""The model file: all networks, settings and the calibration of a detector, in safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from drdc.config.variants import DRDC
from drdc.detection.header import check_header, refuse_endless, refuse_larger_than_memory
from drdc.evaluation.calibration import Calibration
from drdc.evaluation.groups import Familiar, Groups
from drdc.results.layout import DETECTORS, MANIFEST, RECOMMENDED
from drdc.runtime.digests import digest_of
from drdc.runtime.errors import UserError
from drdc.runtime.files import below, read_metadata, read_weights, save_weights

#: Version of the file; a number that this code does not know is refused.
FORMAT = 5


def save_model_file(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a model file; `about` goes into the header as JSON, next to a digest of the file."""
    save_weights(path, tensors, {**about, "detector": FORMAT})


def load_model_file(model: str | Path) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    """(path, tensors, header) of a model file, given itself or the folder of its experiment.

    Raises:
        UserError: the file is missing, damaged, not a model file, or written by a newer version; or that of a
            folder is of other images than the folder's.
    """
    given = Path(model)
    path = _in_folder(given) if given.is_dir() else given
    if not path.is_file():
        raise UserError(path, "is missing", f"`snakemake {path}` or `drdc export` writes it")
    refuse_larger_than_memory(path)
    try:
        refuse_endless(path)
        about = read_metadata(path)
        version = about["detector"]
    except (OSError, UserError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            path, f"is damaged or not a drdc model file ({reason})", "`drdc export` writes one"
        ) from None
    if version != FORMAT:
        raise UserError(
            path,
            f"was written in format {str(version)[:100]!r}, and this drdc reads {FORMAT}",
            "update drdc, or export the model again",
        )
    check_header(path, about)
    if given.is_dir():
        _refuse_other_images(path, about, given / MANIFEST)
    try:
        tensors, about = read_weights(path, "detector")
    except (OSError, ValueError, RuntimeError, OverflowError) as error:
        raise UserError(path, f"is damaged ({str(error)[:200]})", "export it again") from None
    return path, tensors, about


def _in_folder(folder: Path) -> Path:
    """The recommended detector of an experiment, or where there is none that of DRDC."""
    recommended = folder / RECOMMENDED
    return recommended if recommended.is_file() else folder / DETECTORS / f"{DRDC}.safetensors"


def _refuse_other_images(path: Path, about: Mapping[str, Any], manifest: Path) -> None:
    """A file of an earlier run stays where a later one with other images has not come to its end."""
    if manifest.is_file() and about["provenance"].get("manifest_sha256") != digest_of(manifest):
        raise UserError(
            path,
            f"was trained and calibrated on other images than those of {manifest}",
            "run `snakemake` again with the experiment's configuration, or name the file itself",
        )


def calibration_tensors(modes: Mapping[str, Calibration], categories: list[str]) -> dict[str, Tensor]:
    """The calibration on n held-out images, as tensors of a model file.

    `calibration.category` and `calibration.group` (n,), places in `categories`, the same in all modes;
    `calibration.<mode>.scores` and `.peaks` (n,), float64.
    """
    tensors = {}
    for mode, own in modes.items():
        tensors[f"calibration.{mode}.scores"] = torch.from_numpy(own.scores)
        tensors[f"calibration.{mode}.peaks"] = torch.from_numpy(own.peaks)
        tensors["calibration.category"] = _places(own.categories, categories)
        tensors["calibration.group"] = _places(own.groups, categories)
    return tensors


def group_tensors(groups: Groups, distances: NDArray[np.float64], categories: list[str]) -> dict[str, Tensor]:
    """What finds the group of an image, as tensors of a model file.

    `groups.embeddings` (m, C) and `groups.scale` (C,), float32, `groups.category` (m,), places in
    `categories`; `groups.distances` (n,) float64, of the held-out images to the training images.
    """
    return {
        "groups.embeddings": torch.from_numpy(groups.embeddings),
        "groups.scale": torch.from_numpy(groups.scale),
        "groups.category": _places(groups.categories, categories),
        "groups.distances": torch.from_numpy(distances),
    }


def _places(names: NDArray[np.str_], categories: list[str]) -> Tensor:
    return torch.tensor([categories.index(name) for name in names.tolist()])


def read_groups(
    tensors: Mapping[str, Tensor], held_out: NDArray[np.str_], categories: list[str]
) -> tuple[Groups, Familiar] | None:
    """What finds the group of an image, and how far known ones are; None where the file has no groups.

    `held_out`: groups of the held-out images, (n,).

    Raises:
        UserError: they are not those of images of these categories.
    """
    own = below(tensors, "groups")
    if not own:
        return None
    embeddings, scale, distances = (own[name].numpy() for name in ("embeddings", "scale", "distances"))
    kinds = {embeddings.dtype, scale.dtype}
    shapes = embeddings.shape == (len(own["category"]), *scale.shape) and distances.shape == held_out.shape
    finite = all(np.isfinite(values).all() for values in (embeddings, scale, distances))
    if kinds != {np.dtype(np.float32)} or not shapes or not finite or not len(embeddings):
        raise UserError("groups", "has other numbers than an export writes", "export it again")
    names = _names("groups", own["category"], categories)
    groups = Groups(embeddings, names, scale)
    return groups, Familiar.of(groups, held_out, distances)


def read_calibration(tensors: Mapping[str, Tensor], mode: str, categories: list[str]) -> Calibration:
    """The calibration of one mode among those tensors.

    Raises:
        UserError: they are not those of held-out images of these categories.
    """
    own, places, groups = (
        below(tensors, f"calibration.{mode}"),
        tensors["calibration.category"],
        tensors["calibration.group"],
    )
    kinds = {(values.dtype, values.shape) for values in own.values()}
    if kinds != {(torch.float64, places.shape)} or places.ndim != 1 or groups.shape != places.shape:
        raise UserError(
            "calibration", "has numbers of another type or length than an export writes", "export it again"
        )
    names, most_like = (_names("calibration", own, categories) for own in (places, groups))
    return Calibration(own["scores"].numpy(), own["peaks"].numpy(), names, most_like)


def _names(what: str, places: Tensor, categories: list[str]) -> NDArray[np.str_]:
    """The categories at some places; UserError where one is not there."""
    whole = places.dtype == torch.int64 and len(places) > 0
    if not whole or places.min() < 0 or places.max() >= len(categories):
        raise UserError(what, "has no images, or some of an unknown category", "export it again")
    return np.array(categories)[places.numpy()]
