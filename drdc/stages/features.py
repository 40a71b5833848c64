"""manifest -> features: the frozen backbone's feature maps, computed once for all trainings."""

from __future__ import annotations

import logging
from itertools import islice

import numpy as np
import torch

from drdc.config.sections import Backbone, Dataset
from drdc.data.images import to_square
from drdc.data.manifest import read_manifest, read_original
from drdc.models.backbone import FeatureExtractor
from drdc.results.layout import Layout
from drdc.runtime.batching import chunks, in_order, job_threads, progress_bar
from drdc.runtime.devices import torch_device
from drdc.runtime.files import artefact, create_array
from drdc.runtime.finite import refuse_not_finite
from drdc.stages.prepare import root_of

log = logging.getLogger(__name__)

_FIX = "take another backbone.name or backbone.weights, whose values float16 can hold"


def features(layout: Layout, *, dataset: Dataset, backbone: Backbone) -> None:
    """Write `features.npy`, float16 (N, C, h, w) in the order of the manifest.

    Nothing is lost by it: the backbone is frozen and no image is augmented (Sec. 4.5).

    Raises:
        UserError: an image file is not the one that was prepared.
    """
    table = read_manifest(layout.manifest)
    root = root_of(layout, dataset)
    device = torch_device()
    extractor = FeatureExtractor(backbone).to(device)
    shape = (len(table), extractor.channels, backbone.feature_size, backbone.feature_size)
    with artefact(layout.features, layout.manifest) as path, torch.inference_mode():
        stored = create_array(path, np.float16, shape)
        decoded = in_order(
            lambda row: to_square(read_original(root, row), backbone.input_size),
            table.itertuples(),
            job_threads(),
        )
        for batch in progress_bar(list(chunks(np.arange(len(table)), 8))):
            images = list(islice(decoded, len(batch)))
            pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device)
            found = extractor(pixels).half().cpu().numpy()
            refuse_not_finite("the features are", [found], table.path.iloc[batch], _FIX)
            stored[batch] = found
        stored.flush()
    log.info("%d feature maps of %d x %d x %d", *shape)
