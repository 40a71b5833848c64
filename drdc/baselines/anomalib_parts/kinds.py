"""Which way of fitting a model of anomalib has."""

from __future__ import annotations

from typing import Any

from drdc.baselines.anomalib_parts.adapter import Adapter, Dinomaly, HardPlaces, MemoryBank
from drdc.baselines.anomalib_parts.draem import Draem
from drdc.baselines.anomalib_parts.efficient_ad import EfficientAd
from drdc.baselines.anomalib_parts.models import model_class

_OWN: dict[str, type[Adapter]] = {
    "dinomaly": Dinomaly,
    "draem": Draem,
    "efficient_ad": EfficientAd,
    "inp_former": HardPlaces,
}


def adapter(settings: Any, weights: str) -> Adapter:
    """The adapter of the model that `settings` name, with weights from there; see `Adapter`."""
    from anomalib.models.components import MemoryBankMixin

    kind = _OWN.get(settings.model)
    if kind is None:
        kind = MemoryBank if issubclass(model_class(settings.model), MemoryBankMixin) else Adapter
    return kind(settings, weights)
