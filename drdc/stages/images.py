"""manifest -> images: the original files, resized once for everything that reads them at this size."""

from __future__ import annotations

import logging

import numpy as np

from drdc.config.dataset import Dataset
from drdc.data.images import to_square
from drdc.data.manifest import read_manifest, read_original
from drdc.results.layout import Layout
from drdc.runtime.batching import in_order, job_threads, progress_bar
from drdc.runtime.files import artefact, create_array
from drdc.stages.prepare import root_of

log = logging.getLogger(__name__)


def images(layout: Layout, size: int, *, dataset: Dataset) -> None:
    """Write `images/<size>.npy`, uint8 (N, size, size, 3) RGB in the order of the manifest.

    A method reads the images at its own input size, resized from the original files: none is resized twice.

    Raises:
        UserError: an image file is not the one that was prepared.
    """
    table, root = read_manifest(layout.manifest), root_of(layout, dataset)
    with artefact(layout.images(size), layout.manifest) as path:
        stored = create_array(path, np.uint8, (len(table), size, size, 3))
        resized = in_order(
            lambda row: to_square(read_original(root, row), size), table.itertuples(), job_threads()
        )
        for index, image in zip(progress_bar(range(len(table))), resized, strict=True):
            stored[index] = image
        stored.flush()
    log.info("%d images of %d x %d pixels", len(table), size, size)
