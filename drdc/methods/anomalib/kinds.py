"""How each model of anomalib is fitted."""

from __future__ import annotations

from typing import Any

from drdc.methods.anomalib.adapter import Adapter, Dinomaly, DrawsElsewhere, HardPlaces
from drdc.methods.anomalib.draem import Draem
from drdc.methods.anomalib.efficient_ad import EfficientAd
from drdc.methods.anomalib.memory_bank import MemoryBank
from drdc.methods.anomalib.models import model_class
from drdc.runtime.errors import UserError

_OWN: dict[str, type[Adapter]] = {
    "dinomaly": Dinomaly,
    "draem": Draem,
    "efficient_ad": EfficientAd,
    "foundad": DrawsElsewhere,
    "inp_former": HardPlaces,
}
#: Not fitted by gradients of one loss, nor by collecting features once: by prompts, or several optimisers.
_NOT_FITTED = {
    "anomalyvfm",
    "cfa",
    "cflow",
    "cfm",
    "dsr",
    "ganomaly",
    "glass",
    "mh_patchcore",
    "vlm_ad",
    "winclip",
}
#: Gives image scores alone.
_WITHOUT_MAPS = {"dfkde"}
#: Downloads weights otherwise than by timm whenever it is built, also to be loaded.
_FETCHING = {"csflow", "uninet"}
_REASONS = {
    **dict.fromkeys(_NOT_FITTED, "is fitted in a way of its own"),
    **dict.fromkeys(_WITHOUT_MAPS, "gives no heatmaps"),
    **dict.fromkeys(_FETCHING, "downloads weights by itself"),
}


def adapter(settings: Any, weights: str) -> Adapter:
    """The adapter of the model that `settings` name, with weights from there; see `Adapter`.

    Raises:
        UserError: the model cannot be fitted here, or there are no such weights.
    """
    from anomalib.models.components import MemoryBankMixin

    if settings.model in _REASONS:
        reason = _REASONS[settings.model]
        raise UserError(
            "", f"anomalib's {settings.model} {reason}, which this project cannot use", "choose another"
        )
    if settings.model == "dfm" and settings.arguments.get("score_type", "fre") != "fre":
        raise UserError("arguments.score_type", "dfm gives heatmaps with fre alone", "leave it out")
    kind = _OWN.get(settings.model)
    if kind is None:
        kind = MemoryBank if issubclass(model_class(settings.model), MemoryBankMixin) else Adapter
    return kind(settings, weights)
