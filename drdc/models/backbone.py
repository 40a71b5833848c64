"""The frozen backbone and its multi-scale feature map (Sec. 4.5: stages 1-4, resized and concatenated)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.config.backbone import Network
from drdc.models.checkpoint import local_file, package_file, weights_of
from drdc.models.pretrained import Pretrained, not_cached
from drdc.runtime.digests import sha256_of
from drdc.runtime.errors import UserError
from drdc.runtime.files import below

logging.getLogger("timm.models._builder").setLevel(logging.ERROR)  # it warns of weights without a use here


class FeatureExtractor(nn.Module):
    """Images -> aligned features f_org of Eq. 1.

    Shapes: uint8 RGB (B, 3, H, W) with values 0-255 -> float32 (B, C, h, w); for EfficientNet-B4 and 224
    pixels C = 272 and h = w = 14. Each stage is resized bilinearly with aligned corners, as in UniAD. Several
    networks see the same images, each normalised as in its own training; their stages are concatenated.

    Args:
        settings: name, size and source of the network, or of several.
        weights: the state of another `FeatureExtractor`, or `random`; `settings.weights` is then ignored, and
            nothing is fetched.

    Attributes:
        network: of timm.
        channels: C, of all networks.
        others: the further networks.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, settings: Network, weights: Mapping[str, Tensor] | Literal["random"] | None = None
    ) -> None:
        super().__init__()
        first, *others = settings.networks
        self.feature_size = settings.feature_size
        build = _load if weights is None else _built if weights == "random" else _empty
        self.network = build(first)
        further = [
            FeatureExtractor(own, below(weights, f"others.{i}") if isinstance(weights, Mapping) else weights)
            for i, own in enumerate(others)
        ]
        self.others = nn.ModuleList(further)
        self.channels: int = sum(self.network.feature_info.channels()) + sum(own.channels for own in further)
        mean, std = (torch.tensor(self.network.default_cfg[key]) for key in ("mean", "std"))
        self.register_buffer("mean", mean.view(1, 3, 1, 1) * 255)
        self.register_buffer("std", std.view(1, 3, 1, 1) * 255)
        if isinstance(weights, Mapping):
            self.load_state_dict(weights)
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # 2-3x faster on a CPU

    def forward(self, images: Tensor) -> Tensor:
        size = (self.feature_size, self.feature_size)
        stages = self.stages((images.float() - self.mean) / self.std)
        aligned = [F.interpolate(s, size, mode="bilinear", align_corners=True) for s in stages]
        return torch.cat([*aligned, *(other(images) for other in self.others)], 1)

    def stages(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps of the first network, (B, C_i, h_i, w_i), for pixels normalised as in its training."""
        return maps(self.network, pixels)


def channels_of(settings: Network, stages: Collection[int]) -> list[int]:
    """Where the channels of some stages are among all C of a `FeatureExtractor`; no weights are needed."""
    names = []
    for own in settings.networks:
        with torch.device("meta"):
            channels = _built(own).feature_info.channels()
        names += [stage for stage, count in zip(own.stages, channels, strict=True) for _ in range(count)]
    return [place for place, stage in enumerate(names) if stage in stages]


def maps(network: Any, pixels: Tensor) -> list[Tensor]:
    """Outputs of a timm feature network with the channels first; Swin and some others have them last."""
    found: list[Tensor] = network(pixels)
    last = getattr(network, "output_fmt", "NCHW") == "NHWC"
    return [stage.permute(0, 3, 1, 2) for stage in found] if last else found


def pretrained(settings: Network) -> list[Pretrained]:
    """The networks of a `FeatureExtractor`; a digest is of its state, or of the local file that has it."""
    return [Pretrained(own.name, own.weights, partial(_digest, own)) for own in settings.networks]


def _digest(settings: Network) -> str:
    if settings.weights not in ("hub", "package"):
        return sha256_of(local_file(settings.weights))
    digest = hashlib.sha256()
    for name, value in pretrained_state(settings).items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode() + value.numpy().tobytes())
    return digest.hexdigest()


def pretrained_state(settings: Network) -> dict[str, Tensor]:
    """The state of the timm network up to its classifier, if it has one; any failure is one sentence."""
    import timm

    with _failing_in_a_sentence(settings, fetching=True):
        if settings.weights == "hub":
            return dict(timm.create_model(settings.name, pretrained=True).state_dict())
        return weights_of(settings.name, _weights_file(settings))


def check_input_size(settings: Network) -> None:
    """Raise UserError where the network cannot take images of `input_size`; no weights are needed."""
    side = settings.input_size
    with torch.device("meta"), torch.inference_mode():
        network = _built(settings).eval()
        if reason := _refusal(network, side):
            raise UserError(
                "backbone.input_size",
                f"{settings.name!r} cannot take images of {side} pixels ({reason})",
                f"use a multiple of its patch size, or its own size, {network.default_cfg['input_size'][-1]}",
            )


def _refusal(network: Any, side: int) -> str:
    """Why a timm feature network on torch's meta device cannot take images of that side; empty if it can."""
    from timm.layers.patch_embed import PatchEmbed

    embeddings = (part for part in network.modules() if isinstance(part, PatchEmbed))
    if any(side % part.patch_size[0] and not part.dynamic_img_pad for part in embeddings):
        return "its patches do not divide them"  # timm may leave out the rest of an image in silence
    try:
        maps(network, torch.zeros(1, 3, side, side))
    except Exception as error:  # timm and torch raise many kinds
        if "meta" not in str(error):  # else it looks at values, which are not there
            return " ".join(str(error).split())[:200]
    return ""


def _empty(settings: Network) -> Any:
    """The timm feature network without weights, for a name that timm itself knows.

    timm would download a name like `hf-hub:...`, and read a folder for `local-dir:...`.
    """
    import timm

    if not timm.is_model(settings.name):
        raise UserError("backbone.name", f"{settings.name!r} is not a timm model", "choose another")
    return _built(settings)


def _load(settings: Network) -> Any:
    """The timm feature network with its weights; any failure is one sentence."""
    check_input_size(settings)
    if settings.weights == "hub":
        return _built(settings, pretrained=True)
    # timm resizes what depends on the input size, and ignores what feature maps do not need
    source = {"state_dict": pretrained_state(settings)}
    return _built(settings, pretrained=True, pretrained_cfg_overlay=source)


def _built(settings: Network, **options: Any) -> Any:
    """timm's feature network, for images of `input_size` where it depends on that."""
    import timm

    known = timm.get_pretrained_cfg(settings.name) if timm.is_model(settings.name) else None
    if known and known.fixed_input_size:
        options["img_size"] = settings.input_size
    stages = tuple(settings.stages)
    with _failing_in_a_sentence(settings, fetching="pretrained" in options):
        return timm.create_model(settings.name, features_only=True, out_indices=stages, **options)


def _weights_file(settings: Network) -> Path:
    return package_file(settings.name) if settings.weights == "package" else local_file(settings.weights)


@contextmanager
def _failing_in_a_sentence(settings: Network, fetching: bool) -> Iterator[None]:
    """The error for a backbone that cannot be built or fetched; timm and the hub raise many kinds."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise _not_loaded(settings, error, fetching) from None


def _not_loaded(settings: Network, error: Exception, fetching: bool) -> UserError:
    head = f"backbone {settings.name!r} cannot be loaded"
    if fix := not_cached(error):
        return UserError(
            "", f"{head}: not in the hub's cache", f"{fix}, or set backbone.weights to a local file"
        )
    fix = "backbone.name must be a timm model that has the stages of backbone.stages"
    if fetching and settings.weights == "hub":
        fix = "check the name and the connection, or set backbone.weights to a local file"
    if isinstance(error, OSError) and error.filename:
        fix = "set HOME or HF_HOME to a writable folder, or backbone.weights to a local file"
    return UserError("", f"{head} ({' '.join(str(error).split())[:200]})", fix)
