"""images -> features: the frozen backbone's feature maps, computed once for all trainings."""

from __future__ import annotations

import logging

import numpy as np
import torch

from drdc.config.backbone import Backbone
from drdc.data.manifest import read_manifest
from drdc.models.backbone import FeatureExtractor
from drdc.results.layout import Layout
from drdc.runtime.batching import chunks, progress_bar
from drdc.runtime.devices import to_device, torch_device
from drdc.runtime.files import artefact, create_array, load_array
from drdc.runtime.finite import refuse_not_finite

log = logging.getLogger(__name__)

_FIX = "take another backbone.name or backbone.weights, whose values float16 can hold"


def features(layout: Layout, *, backbone: Backbone) -> None:
    """Write `features.npy`, float16 (N, C, h, w) in the order of the manifest.

    Nothing is lost by it: the backbone is frozen and no image is augmented (Sec. 4.5).

    Raises:
        UserError: there are no images of the backbone's `input_size`, or its weights are missing.
    """
    table, size = read_manifest(layout.manifest), backbone.input_size
    images = load_array(layout.images(size), len(table), f"images {size}")
    extractor = FeatureExtractor(backbone).to(torch_device())
    shape = (len(table), extractor.channels, backbone.feature_size, backbone.feature_size)
    with artefact(layout.features, layout.manifest) as path, torch.inference_mode():
        stored = create_array(path, np.float16, shape)
        for batch in progress_bar(list(chunks(np.arange(len(table)), 8)), images=8):
            pixels = to_device(images[batch]).permute(0, 3, 1, 2)
            found = extractor(pixels).half().cpu().numpy()
            refuse_not_finite("the features are", [found], table.path.iloc[batch], _FIX)
            stored[batch] = found
        stored.flush()
    log.info("%d feature maps of %d x %d x %d", *shape)
