"""anomalib's image models: their names and arguments, read without importing them, and building one."""

from __future__ import annotations

import ast
import inspect
from enum import Enum
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anomalib

from drdc.methods.anomalib.papers import NETWORKS
from drdc.methods.anomalib.weights import weights_from
from drdc.runtime.errors import UserError

if TYPE_CHECKING:
    from anomalib.models.components import AnomalibModule
    from torchvision.transforms.v2 import Normalize  # type: ignore[import-untyped]

_FOLDER = Path(anomalib.__file__).parent / "models" / "image"
#: Arguments of anomalib's models that the adapter sets itself, and the setting that stands for them.
OURS = {
    "pre_processor": "input_size",
    "post_processor": "score",
    "evaluator": "evaluation",
    "visualizer": "evaluation",
    "pre_trained": "weights",
    "lr": "learning_rate",
    "weight_decay": "weight_decay",
    "epochs": "epochs",
    "lr_decay_factor": "schedule",
    "image_size": "input_size",
}
#: Arguments that models have here in addition to those of anomalib.
EXTRA = {"draem": ["base_width"]}


@cache
def known_models() -> list[str]:
    """The image models of the installed anomalib, as its folders name them."""
    return sorted(file.parent.name for file in _FOLDER.glob("*/lightning_model.py"))


@cache
def known_arguments(model: str) -> list[str]:
    """Arguments of the constructor of a model without `OURS`, and its `EXTRA`.

    They are read from the source: importing anomalib takes ten seconds, and every check of a configuration
    needs them.
    """
    tree = ast.parse((_FOLDER / model / "lightning_model.py").read_text(encoding="utf-8"))
    signatures = [
        function.args
        for kind in tree.body
        if isinstance(kind, ast.ClassDef) and _is(kind.name, model)
        for function in kind.body
        if isinstance(function, ast.FunctionDef) and function.name == "__init__"
    ]
    names = [one.arg for args in signatures for one in (*args.args, *args.kwonlyargs)]
    return [name for name in names if name != "self" and name not in OURS] + EXTRA.get(model, [])


def build(
    model: str, arguments: dict[str, Any], input_size: int, weights: str
) -> tuple[AnomalibModule, list[str]]:
    """A model for images of that size, with the normalisation of its backbone, and nothing else.

    Returns:
        The model, and the timm names of its pre-trained networks.

    Args:
        model: one of `known_models`.
        arguments: some of `known_arguments`.
        input_size: height and width of the images in pixels.
        weights: where pre-trained networks come from, see `weights_from`.

    Raises:
        UserError: the arguments fit neither the model nor each other, or there are no such weights.
    """
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, Resize

    kind = model_class(model)
    resize = Resize((input_size, input_size), antialias=True)
    given = _as_declared(kind, arguments)
    given |= dict.fromkeys(("post_processor", "evaluator", "visualizer"), False)
    if "image_size" in inspect.signature(kind).parameters:
        given["image_size"] = input_size
    try:
        transform = Compose([resize, *_normalisation(kind, arguments)])
        with weights_from(weights) as networks:
            built = kind(**given, pre_processor=PreProcessor(transform=transform))
    except UserError:
        raise
    except Exception as error:  # whatever a model says to what it cannot take
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            "",
            f"anomalib's {model} cannot be built ({type(error).__name__}: {reason})",
            "change arguments, input_size or weights",
        ) from error
    _refuse_missing_layers(built, model)
    return built, networks


def model_class(model: str) -> type[AnomalibModule]:
    """The class of a model, one of `known_models`."""
    module = import_module(f"anomalib.models.image.{model}")
    return next(v for name, v in vars(module).items() if isinstance(v, type) and _is(name, model))


def _normalisation(kind: type[AnomalibModule], arguments: dict[str, Any]) -> list[Normalize]:
    """How a model's images, in [0, 1], are normalised: one transform, or none.

    It is the model's own, or that of the backbone that `arguments` name instead of the published one:
    (0.5, 0.5, 0.5) for EfficientNet-lite0, ImageNet's mean and standard deviation for most others.
    """
    import timm
    from torchvision.transforms.v2 import Normalize

    own: Any = kind.configure_pre_processor()
    normal = [part for part in _flat(own.transform) if isinstance(part, Normalize)]
    name = next((str(arguments[key]) for key in NETWORKS if key in arguments), "")
    configured = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    return [Normalize(configured.mean, configured.std)] if normal and configured else normal


def _flat(transform: Any) -> list[Any]:
    """The transforms within a transform: torchvision's `Compose` keeps them in a plain list."""
    parts = getattr(transform, "transforms", None)
    return [transform] if parts is None else [one for part in parts for one in _flat(part)]


def _is(name: str, model: str) -> bool:
    """Whether a class has the name of a model: `ReverseDistillation`, `reverse_distillation`."""
    return name.lower() == model.replace("_", "")


def _as_declared(kind: type[Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Texts and lists of a configuration as the enumerations and tuples of the model."""
    parameters = inspect.signature(kind).parameters
    given = dict(arguments)
    for name, value in arguments.items():
        default = parameters[name].default
        if isinstance(default, Enum | tuple) and isinstance(value, str | list):
            try:
                given[name] = type(default)(value)
            except ValueError:
                choices = ", ".join(str(choice.value) for choice in type(default))  # type: ignore[union-attr]
                raise UserError(
                    f"arguments.{name}", f"{value!r} is not available", f"choose one of {choices}"
                ) from None
    return given


def _refuse_missing_layers(built: AnomalibModule, model: str) -> None:
    """anomalib ignores layers that the backbone does not have, and fails on their features later."""
    from anomalib.models.components import TimmFeatureExtractor

    wanted: Any = getattr(built.model, "layers", None) or getattr(built, "layers", ())
    for part in built.modules():
        if isinstance(part, TimmFeatureExtractor) and len(part.layers) < len(wanted):
            raise UserError(
                "arguments.layers",
                f"{part.backbone!r}, the backbone of {model}, lacks some of the layers "
                f"{', '.join(map(str, wanted))}",
                "give them as numbers of its stages, from 0",
            )
