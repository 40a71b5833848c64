"""features -> groups: the known category that each held-out and test image is most like."""

from __future__ import annotations

import logging

from drdc.data.manifest import read_manifest
from drdc.results.groups import training_groups
from drdc.results.layout import Layout
from drdc.results.scores import write_table

log = logging.getLogger(__name__)


def groups(layout: Layout) -> None:
    """Write `groups.csv`: row of the manifest, category, split, group, and distance to the training images.

    A threshold of a group is from the held-out images in it, see `drdc.evaluation.groups`.
    """
    table = read_manifest(layout.manifest)
    known, embeddings = training_groups(layout, table)
    found = table.loc[table.split != "train", ["category", "split"]].rename_axis("row").reset_index()
    found["group"], found["distance"] = known.nearest(embeddings[found["row"]])
    right = (found["group"] == found["category"]).groupby(found["category"]).mean()
    log.info("images that are most like their own category: %s", right.round(4).to_dict())
    write_table(layout.groups, found, layout.manifest)
