"""What both trainings do before and after the loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from drdc.errors import UserError
from drdc.files import atomic, save_weights
from drdc.layout import Layout


def split_rows(table: pd.DataFrame, split: str) -> NDArray[np.int64]:
    """Row numbers of a split of the manifest; raises UserError where it is empty."""
    rows = np.flatnonzero(table.split == split)
    if not len(rows):
        raise UserError(f"dataset.holdout: no image is left for the split {split!r}; add images or change it")
    return rows


def finish(
    layout: Layout,
    seed: int,
    kind: str,
    model: nn.Module,
    history: list[dict[str, float]],
    metadata: dict[str, Any],
) -> None:
    """Write the loss curve and the weights, then drop the state that the training would resume from."""
    with atomic(layout.losses(seed, kind)) as path:
        pd.DataFrame(history).astype({"images": int}).to_csv(path, index=False)
    save_weights(layout.model(seed, kind), model.state_dict(), metadata | {"seed": seed})
    layout.state(seed, kind).unlink(missing_ok=True)
