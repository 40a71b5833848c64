"""images -> manifest: list the dataset and check every file once."""

from __future__ import annotations

import logging
from pathlib import Path

from drdc.config.dataset import Dataset, Drawn
from drdc.data import datasets, fingerprint, manifest, synthetic
from drdc.data.checks import without_copies
from drdc.data.regions import Regions
from drdc.data.samples import drawn
from drdc.results.layout import Layout
from drdc.results.scores import read_numbers
from drdc.runtime.batching import job_threads, progress_bar

log = logging.getLogger(__name__)


def prepare(layout: Layout, *, dataset: Dataset) -> None:
    """Write manifest, masks, `problems.csv` and `regions.csv`; draw the dataset if it is the synthetic one.

    Raises:
        UserError: the folder, a category or images are missing, or `drdc check` finds an error that is not
            listed in `dataset.accept`.
    """
    there = fingerprint.listing(dataset)
    planned = fingerprint.trigger(layout.dataset, there)
    if dataset.name == "synthetic":
        _draw(layout.synthetic_dataset, dataset)
    root = root_of(layout, dataset)
    samples, found = datasets.scan(dataset.name, root, dataset.categories, dataset.good)
    if dataset.drawn != Drawn():  # before, so that as many different images are drawn as the setting says
        samples = without_copies(samples, root, dataset.bits, job_threads())
    table = manifest.prepare(
        drawn(samples, **dataset.drawn.model_dump()),
        root,
        image_size=dataset.image_size,
        holdout=dataset.holdout,
        bits=dataset.bits,
        manifest_path=layout.manifest,
        masks_path=layout.masks,
        problems_path=layout.problems,
        regions_path=layout.regions,
        found=found,
        accept=dataset.accept,
        progress=progress_bar,
    )
    fingerprint.note(layout.dataset, planned, there)
    counts = table.groupby(["category", "split"]).size().unstack(fill_value=0)
    log.info("%d images in %s\n%s", len(table), root, counts.to_string())
    _log_regions(layout, dataset.image_size)
    for category, bits in manifest.noted_ranges(table, dataset.bits).categories.items():
        log.info("%s: files of more than 8 bits are read with a range of %d bits", category, bits)


def root_of(layout: Layout, dataset: Dataset) -> Path:
    """Folder that the manifest's paths are relative to."""
    root = dataset.root if dataset.name != "synthetic" else str(layout.synthetic_dataset)
    return datasets.dataset_root(dataset.name, root)


def _log_regions(layout: Layout, size: int) -> None:
    regions = read_numbers(layout.regions, "regions", "prepare").dropna()
    if len(regions):
        sums = regions.groupby("category")[list(Regions._fields)].sum().astype(int)
        log.info(
            "regions of the ground truth, and what is left of them at %d x %d pixels\n%s", size, size, sums
        )


def _draw(root: Path, dataset: Dataset) -> None:
    synthetic.generate(root, **dataset.synthetic.model_dump())
