"""Stable Diffusion 1.5's weights, from the hub or a folder, and its embedding of the empty prompt."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drdc.models.pretrained import Pretrained, not_cached
from drdc.runtime.digests import sha256_of
from drdc.runtime.errors import UserError

#: The repository of the weights.
HUB = "stable-diffusion-v1-5/stable-diffusion-v1-5"
TEXT = "text_encoder/model.safetensors"
#: The weights of each part, and its other files that are read.
PARTS = {
    "vae": ("vae/diffusion_pytorch_model.safetensors", "vae/config.json"),
    "unet": ("unet/diffusion_pytorch_model.safetensors", "unet/config.json"),
    "text_encoder": (TEXT,),
}
#: Channels of one attention head of CLIP's text network.
HEAD = 64


def stable_diffusion(source: str) -> list[Pretrained]:
    """Its parts, with the digests of their weights; `source` as in `load_stable_diffusion`."""
    return [Pretrained(f"{HUB}/{part}", source, partial(_digest, source, part)) for part in PARTS]


def load_stable_diffusion(source: str, autoencoder: nn.Module, unet: nn.Module) -> Tensor:
    """Fill both networks; returns the tokens of the empty prompt (1, L, channels).

    Args:
        source: `hub`, or a folder with `vae`, `unet` and `text_encoder` in diffusers' format (safetensors).

    Raises:
        UserError: there are no such weights, or they do not fit the networks.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel  # seconds to import

    given: Any = HUB if source == "hub" else source
    if source != "hub" and not Path(source).is_dir():
        raise _fault(source, "there is no such folder")
    try:
        for part, kind, network in (
            ("vae", AutoencoderKL, autoencoder),
            ("unet", UNet2DConditionModel, unet),
        ):
            loaded: Any = kind
            weights = loaded.from_pretrained(
                given, subfolder=part, use_safetensors=True, low_cpu_mem_usage=False
            )
            _fill(network, weights.state_dict(), f"{source}, {part}")
        return empty_prompt(_text_weights(source))
    except UserError:
        raise
    except Exception as error:  # diffusers, safetensors and the hub raise many kinds
        raise _not_loaded(source, error) from None


def empty_prompt(weights: Mapping[str, Tensor]) -> Tensor:
    """CLIP's text network (Radford et al., ICML 2021) on the prompt without words, (1, L, channels).

    Args:
        weights: state of transformers' `CLIPTextModel`: token and position embeddings, pre-norm layers with
            causal attention and sigmoid-approximated GELU, a last layer norm.
    """
    state = {name.removeprefix("text_model."): value.float() for name, value in weights.items()}
    tokens, positions = (state[f"embeddings.{kind}_embedding.weight"] for kind in ("token", "position"))
    end = len(tokens) - 1  # the prompt is the token of the start, then that of the end to fill it up
    hidden = (tokens[[end - 1] + [end] * (len(positions) - 1)] + positions)[None]
    layers = {int(name.split(".")[2]) for name in state if name.startswith("encoder.layers.")}
    for number in sorted(layers):
        prefix = f"encoder.layers.{number}."
        layer = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        hidden = hidden + _attention(layer, _norm(layer, "layer_norm1", hidden))
        inner = _linear(layer, "mlp.fc1", _norm(layer, "layer_norm2", hidden))
        hidden = hidden + _linear(layer, "mlp.fc2", inner * torch.sigmoid(1.702 * inner))
    return _norm(state, "final_layer_norm", hidden)


def _attention(layer: Mapping[str, Tensor], hidden: Tensor) -> Tensor:
    heads = hidden.shape[-1] // HEAD
    query, key, value = (
        _linear(layer, f"self_attn.{part}_proj", hidden).unflatten(-1, (heads, HEAD)).transpose(1, 2)
        for part in "qkv"
    )
    found = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return _linear(layer, "self_attn.out_proj", found.transpose(1, 2).flatten(2))


def _linear(layer: Mapping[str, Tensor], name: str, hidden: Tensor) -> Tensor:
    return F.linear(hidden, layer[f"{name}.weight"], layer[f"{name}.bias"])


def _norm(layer: Mapping[str, Tensor], name: str, hidden: Tensor) -> Tensor:
    return F.layer_norm(hidden, hidden.shape[-1:], layer[f"{name}.weight"], layer[f"{name}.bias"])


def _text_weights(source: str) -> Mapping[str, Tensor]:
    from safetensors.torch import load_file

    return load_file(_file(source, TEXT))


def _file(source: str, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(HUB, name)) if source == "hub" else Path(source) / name


def _digest(source: str, part: str) -> str:
    try:
        weights, *_ = [_file(source, name) for name in PARTS[part]]
    except Exception as error:  # the hub raises many kinds
        raise _not_loaded(source, error) from None
    return sha256_of(weights)


def _fill(network: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    own = network.state_dict()
    wrong = [name for name, value in own.items() if name not in weights or weights[name].shape != value.shape]
    if wrong or len(own) != len(weights):
        raise UserError(
            "pretrained",
            f"{where} does not fit the sizes in the configuration (first difference: "
            f"{(wrong or ['length'])[0]})",
            "leave out the sizes in `autoencoder` and `denoiser`",
        )
    network.load_state_dict(dict(weights))


def _not_loaded(source: str, error: Exception) -> UserError:
    if fix := not_cached(error):
        problem = "Stable Diffusion 1.5 is not in the hub's cache"
        return UserError("pretrained", problem, f"{fix}, or use `scratch`")
    return _fault(source, " ".join(str(error).split())[:200])


def _fault(source: str, reason: str) -> UserError:
    return UserError(
        "pretrained",
        f"Stable Diffusion 1.5 cannot be loaded from {source!r} ({reason})",
        f"put the folders vae, unet and text_encoder of huggingface.co/{HUB}, each with config.json and its "
        ".safetensors file, into a folder and name it, or use `scratch`",
    )
