"""Any image model of anomalib (PaDiM, DRAEM, PatchCore, ...), as one model for all categories."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch.nn.functional as F
from pydantic import ValidationInfo, field_validator, model_validator
from torch import Tensor

from drdc.config.section import MOST_PIXELS, setting
from drdc.methods.anomalib.models import OURS, known_arguments, known_models
from drdc.methods.anomalib.papers import ANOMALIB, NETWORKS, cited, pretrained_name
from drdc.methods.interface import History, JointMethod, Method, Shapes, TrainedSettings
from drdc.methods.trainer import Trainer
from drdc.models.pretrained import Pretrained

#: Dinomaly and INP-Former: 100 steps of warm-up on MVTec AD, and a cosine down to a tenth.
_TRANSFORMER: dict[str, Any] = {
    **{"input_size": 392, "batch_size": 16, "optimizer": "stable_adamw", "clip_norm": 0.1},
    **{"schedule": "cosine", "floor": 0.1, "warmup": 0.01},
}
#: Defaults of a model that differ from those of `Settings`: those of its paper or of anomalib.
RECIPES: dict[str, dict[str, Any]] = {
    "anomaly_dino": {"input_size": 252, "batch_size": 1},  # compares a batch with the whole bank at once
    "foundad": {"input_size": 518},
    "general_ad": {"input_size": 518, "learning_rate": 5e-4, "weight_decay": 1e-5, "epochs": 160},
    "l2bt": {"input_size": 224, "optimizer": "adam", "learning_rate": 1e-4, "weight_decay": 0.0},
    "patchflow": {"input_size": 768, "optimizer": "adam"},
    "rad": {"input_size": 448},
    "draem": {
        **{"optimizer": "adam", "weight_decay": 0.0, "learning_rate": 1e-4, "epochs": 700},
        **{"schedule": "step", "milestones": [0.8, 0.9], "decay": 0.2, "score": "pool", "pool_size": 21},
    },
    "dinomaly": {"learning_rate": 2e-3, "epochs": 45, **_TRANSFORMER},
    "efficient_ad": {
        **{"optimizer": "adam", "learning_rate": 1e-4, "weight_decay": 1e-5, "batch_size": 1, "epochs": 20},
        **{"schedule": "step", "milestones": [0.95]},
    },
    "fastflow": {
        **{"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 1e-5, "epochs": 500, "batch_size": 32},
    },
    "inp_former": {"learning_rate": 1e-3, "epochs": 200, **_TRANSFORMER, "warmup": 0.0023},
    "reverse_distillation": {
        **{"optimizer": "adam", "betas": [0.5, 0.99], "learning_rate": 5e-3, "weight_decay": 0.0},
        **{"epochs": 200, "batch_size": 16},
    },
    "stfpm": {
        **{"optimizer": "sgd", "learning_rate": 0.4, "weight_decay": 1e-4, "epochs": 100, "batch_size": 32},
    },
}


class Anomalib(JointMethod):
    """One model of anomalib: its network and its loss, with the rest of this project around it.

    anomalib itself trains one model for each category. Here the model gets the training images of all
    categories at its `input_size`, and the experiment's seeds; a model with a memory bank (PaDiM, PatchCore,
    RAD, AnomalyDINO, DFM) collects their features in one bank for all categories, any other is trained by the
    project's loop, which resumes. The heatmap is the model's, resized to the images' size, and so is the
    image score.

    A model with an optimiser in `RECIPES` has that and the schedule of its paper or of its authors' code, any
    other AdamW at a constant rate. Differs: the images are only resized and normalised (as the model's own
    transform does, or as another backbone wants them), never cropped; heatmaps and scores are not normalised;
    DRAEM's image score is the maximum of the averaged map, as in its paper, and not of the map. Reverse
    Distillation and FastFlow are built for ResNets, of which no package contains weights.

    Tried here: PaDiM, PatchCore, STFPM, Reverse Distillation, FastFlow, DRAEM, DFM, PatchFlow; without their
    weights EfficientAD, Dinomaly, INP-Former, AnomalyDINO, FoundAD, GeneralAD, L2BT and RAD. Others should
    work but were not tried. Those with several optimisers, with prompts in place of training, or without
    heatmaps are refused.
    """

    class Settings(TrainedSettings):
        """Image models of anomalib (Akcay et al., ICIP 2022); `model` changes some of the defaults."""

        model: str = setting("padim", "ours", "Which model: a folder of `anomalib.models.image`.")
        arguments: dict[str, Any] = setting(
            {},
            "ours",
            "Arguments of its class in anomalib that differ from their defaults. DRAEM without `dtd_dir`, a "
            "folder of textures, pastes synthetic ones (ours), and has a `base_width` here, 128 as "
            "published; EfficientAD needs `imagenet_dir`.",
        )
        weights: str = setting(
            "hub",
            "ours",
            "Weights of its pre-trained network: `hub`, `package` or a local file as for `backbone.weights`, "
            "for EfficientAD the file of its teacher; `scratch`: none, for trials.",
        )
        input_size: int = setting(
            256, "inferred", "Images are resized to this height and width.", ge=16, le=MOST_PIXELS
        )
        score: Literal["model", "pool"] = setting(
            "model", "ours", "Image score: that of the model, or the maximum of the average-pooled heatmap."
        )
        learning_rate: float = setting(1e-3, "inferred", "Learning rate.", gt=0)

        @model_validator(mode="before")
        @classmethod
        def _recipe(cls, given: Any) -> Any:
            if not isinstance(given, Mapping):
                return given
            return RECIPES.get(str(given.get("model", "padim")), {}) | dict(given)

        @field_validator("model")
        @classmethod
        def _known(cls, value: str) -> str:
            if value not in known_models():
                raise ValueError(f"anomalib has no such image model; known: {', '.join(known_models())}")
            return value

        @field_validator("arguments")
        @classmethod
        def _accepted(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
            model = info.data.get("model")
            for name in value if model else ():
                if name in OURS:
                    raise ValueError(f"{name!r} is set by `{OURS[name]}`; leave it out here")
                if name not in known_arguments(str(model)):
                    known = ", ".join(known_arguments(str(model)))
                    raise ValueError(f"{name!r} is not an argument of {model}; known: {known}")
                if name in NETWORKS and not isinstance(value[name], str):
                    raise ValueError(f"{name!r} is the name of a network alone, as resnet18")
            return value

    uses_features = False
    citation = ANOMALIB

    def __init__(self, settings: Any, shapes: Shapes, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(settings, shapes, weights)
        from drdc.methods.anomalib.kinds import adapter

        source = settings.weights if weights is None else "scratch"
        self._adapter = adapter(settings, source)
        self.model = self._adapter.lightning.model  # all that is saved: the rest of the module has no state

    @classmethod
    def pretrained(cls, settings: Any) -> list[Pretrained]:
        name = pretrained_name(settings.model, settings.arguments)
        if not name or settings.weights == "scratch":
            return []
        return [Pretrained(name, settings.weights, partial(_digest, settings))]

    @classmethod
    def name_in_paper(cls, settings: Mapping[str, Any]) -> str:
        return {"padim": "PaDiM", "draem": "DRÆM"}.get(settings["model"], "")

    @classmethod
    def cited(cls, settings: Mapping[str, Any], backbone: str) -> str:
        model = settings["model"]
        return cited(settings, cls.Settings(model=model), RECIPES.get(model, ()))

    def fit(self, trainer: Trainer) -> History:
        return self._adapter.fit(self, trainer)

    def loss(self, images: Tensor, features: Tensor) -> Tensor:
        return self._adapter.loss(self._adapter.prepared(images))

    def heatmaps_and_scores(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model(self._adapter.prepared(images))
        maps = found.anomaly_map.float().view(len(images), 1, *found.anomaly_map.shape[-2:])
        size = (self.shapes.image_size,) * 2
        heatmaps = F.interpolate(maps, size, mode="bilinear", antialias=True)[:, 0]
        if self.settings.score == "pool":
            return heatmaps, Method.image_scores(self, heatmaps, images, features)
        return heatmaps, found.pred_score.float().view(len(images))


def _digest(settings: Any) -> str:
    """SHA-256 of the pre-trained weights of a model; building it fetches them."""
    from drdc.methods.anomalib.kinds import adapter

    return adapter(settings, settings.weights).weights_digest()
