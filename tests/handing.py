"""Settings in the files that the workflow hands to the stages, for tests that start a stage by itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from drdc.experiment.stage_settings import Handed
from drdc.results.layout import Layout


def handed_over(folder: Path, experiment: str, stage: str, **used: Any) -> str:
    """Write the settings `used` for a stage that runs in `folder`; returns what its `--config` is."""
    text = json.dumps({"stage": stage, "experiment": experiment} | used)
    path = Layout(experiment).handed(stage, hashlib.sha256(text.encode()).hexdigest()[:12])
    Handed(folder / path, text).write()
    return str(path)
