"""The groups of an experiment's images: `groups.csv`, and what finds them."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from drdc.evaluation.groups import Groups, embedding
from drdc.results.layout import Layout
from drdc.results.scores import read_numbers
from drdc.runtime.batching import chunks
from drdc.runtime.files import load_array


def read_groups(layout: Layout, table: pd.DataFrame) -> pd.DataFrame:
    """`group` and `distance` of each row of the manifest, "" and NaN for training images.

    Raises UserError where `groups.csv` is missing or damaged.
    """
    found = read_numbers(layout.groups, "groups", "groups").set_index("row")[["group", "distance"]]
    return found.reindex(table.index).fillna({"group": ""})


def training_groups(layout: Layout, table: pd.DataFrame) -> tuple[Groups, NDArray[np.float32]]:
    """Those of the training images, and the embeddings of all images, (N, C), rows as in the manifest."""
    stored = load_array(layout.features, len(table), "features")
    embeddings = np.concatenate([embedding(stored[rows]) for rows in chunks(np.arange(len(table)))])
    train = (table.split == "train").to_numpy()
    return Groups.of(embeddings[train], table.category[train].to_numpy(str)), embeddings
