"""NaN and infinity, refused where they arise: one of them would spoil all later results."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drdc.runtime.errors import UserError

#: So many images are named.
_NAMED = 5


def refuse_not_finite(what: str, values: Iterable[NDArray[Any]], names: Iterable[str], fix: str) -> None:
    """Check everything that was computed from some images.

    Args:
        what: these values are, with its verb: "the features are".
        values: arrays (B, ...) of any kind; of structured ones each field.
        names: of the B images.
        fix: what to change.

    Raises:
        UserError: one of them is NaN or infinite; names the images.
    """
    bad = [_not_finite(array) for array in values]
    if not any(rows.any() for rows in bad):
        return
    images = [str(name) for name, wrong in zip(names, np.any(bad, 0), strict=True) if wrong]
    more = f" and {len(images) - _NAMED} more" if len(images) > _NAMED else ""
    raise UserError("", f"{what} NaN or infinite for {', '.join(images[:_NAMED])}{more}", fix)


def _not_finite(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows have such a number, (B,)."""
    if array.dtype.names:
        return np.any([_not_finite(array[name]) for name in array.dtype.names], 0)
    if not np.issubdtype(array.dtype, np.floating):
        return np.zeros(len(array), dtype=bool)
    wrong: NDArray[np.bool_] = ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    return wrong
