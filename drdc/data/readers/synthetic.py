"""The synthetic dataset, which `drdc.data.synthetic` draws in MVTec AD's layout."""

from drdc.data.reader import Reader

# Counts: with the default settings of `dataset.synthetic`.
READER = Reader(
    name="synthetic",
    title="synthetic images",
    licence="that of this project",
    tested="the whole dataset",
    by_hand="generate the synthetic dataset there first",
    counts=dict.fromkeys(("capsule", "fabric", "gear", "wood"), (72, 16, 24)),
)
