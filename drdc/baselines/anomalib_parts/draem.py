"""DRAEM of anomalib: where the textures of its made defects come from."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from drdc.baselines.anomalib_parts.adapter import Adapter
from drdc.baselines.anomalib_parts.images import images_below, made_textures
from drdc.baselines.system import History
from drdc.baselines.trainer import Trainer

if TYPE_CHECKING:
    from drdc.baselines.anomalib import Anomalib

_ADVICE = (
    "unpack https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz there and name the folder "
    "in arguments.dtd_dir, or leave that out for made textures"
)


class Draem(Adapter):
    """DRAEM pastes textures into normal images; without a folder of them (`dtd_dir`) into made ones."""

    def arguments(self) -> dict[str, Any]:
        # anomalib fetches the textures where the folder is missing; a model that is loaded needs none
        return super().arguments() | {"dtd_dir": Path(__file__).parent}

    def fit(self, system: Anomalib, trainer: Trainer) -> History:
        folder = self.settings.arguments.get("dtd_dir")
        made = folder is None
        with made_textures(trainer.job.seed) if made else nullcontext(images_below(folder, _ADVICE)) as paths:
            self.lightning.augmenter.anomaly_source_paths = paths
            return super().fit(system, trainer)
