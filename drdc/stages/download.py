"""configuration -> dataset: the published images that it names, and a note of their source."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from drdc.config.dataset import Dataset
from drdc.data import fingerprint
from drdc.data.datasets import SOURCES
from drdc.data.download import obtain
from drdc.results.layout import Layout
from drdc.runtime.files import artefact

log = logging.getLogger(__name__)


def download(layout: Layout, *, dataset: Dataset) -> None:
    """Fetch the dataset where `dataset.download` is true, and write `download.json`.

    Its keys: dataset, folder, licence, home (where the dataset is published), archive, and, of what was
    fetched by this stage, source (address, or path of an archive that was there) and sha256 of the archive.
    Both are null for a folder that existed: it is left as it is, and its contents are not checked.

    Raises:
        UserError: as `drdc.data.download.obtain`.
    """
    if not dataset.download or dataset.root is None:
        log.info("dataset.download is false: no images are fetched")
        return
    source, folder = SOURCES[dataset.name], Path(dataset.root)
    log.info("%s: %s; %s", source.title, source.licence, source.home)
    planned = fingerprint.trigger(layout.dataset, fingerprint.listing(dataset))
    origin = obtain(source, folder)
    if origin is not None:
        fingerprint.note(layout.dataset, planned, fingerprint.listing(dataset))
    log.info("%s: %s", folder, "ready" if origin else "exists already and was left as it is")
    facts = {
        "dataset": source.title,
        "folder": str(folder),
        "licence": source.licence,
        "home": source.home,
        "archive": source.file,
        "source": origin,
        "sha256": origin and source.sha256,
    }
    with artefact(layout.download) as part:
        part.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
