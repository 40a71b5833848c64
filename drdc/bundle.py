"""The file of an exported model: all networks, settings and the calibration, in safetensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from drdc.errors import UserError
from drdc.files import load_weights, save_weights
from drdc.layout import EXPORTED

#: Version of the file; a number that this code does not know is refused.
FORMAT = 1


def save_bundle(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write an exported model; `about` goes into the header as JSON, beside a digest of the tensors."""
    save_weights(path, tensors, {**about, "detector": FORMAT, "tensors_sha256": _digest(tensors)})


def load_bundle(model: str | Path) -> tuple[Path, dict[str, Tensor], dict[str, Any]]:
    """(file, tensors, header) of an exported model: of the file itself or of the folder of its experiment.

    Raises:
        UserError: the file is missing, damaged, no exported model, or written by a newer version.
    """
    path = Path(model)
    path = path / EXPORTED if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"{path}: is missing; `snakemake detector` or `drdc export` writes it")
    try:
        tensors, about = load_weights(path, "detector")
    except UserError:
        raise UserError(f"{path}: is damaged or no exported model; `drdc export` writes one") from None
    if about["detector"] != FORMAT:
        raise UserError(
            f"{path}: was written in format {about['detector']!r}, and this drdc reads {FORMAT}; "
            "update drdc, or export the model again"
        )
    if _digest(tensors) != about.get("tensors_sha256"):
        raise UserError(f"{path}: is damaged, its numbers are not those that were written; export it again")
    return path, tensors, about


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of names and numbers, in hexadecimal: safetensors itself does not see a flipped bit."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        values = tensors[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
