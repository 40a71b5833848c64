"""Pre-trained networks inside of anomalib's models, only from the source in the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from drdc.config.backbone import Network
from drdc.models.backbone import pretrained_state
from drdc.models.checkpoint import PACKAGE_WEIGHTS
from drdc.models.pretrained import not_cached
from drdc.runtime.errors import UserError


@contextmanager
def weights_from(source: str) -> Iterator[list[str]]:
    """While anomalib's models are built here, timm gives their pre-trained networks the weights of `source`.

    Yields the names of these networks, each when it is asked for.

    anomalib asks timm for a network by its name, in some models without an option, and timm downloads it.

    Args:
        source: `hub`, `package`, `scratch` or a file, as `drdc.config.backbone.Backbone` has them.
    """
    import timm

    names: list[str] = []
    original = timm.create_model
    timm.create_model = partial(_create, original, names, source)
    try:
        yield names
    finally:
        timm.create_model = original


def _create(
    original: Callable[..., Any],
    names: list[str],
    source: str,
    model_name: str,
    pretrained: bool = False,
    **options: Any,
) -> Any:
    """timm's `create_model` with the weights of `source`; UserError where there are none."""
    if pretrained and model_name not in names:
        names.append(model_name)
    if options.get("features_only") and options.get("out_indices") == []:
        raise UserError(
            "arguments.layers",
            f"{model_name!r} has no such layers",
            "give them as numbers of its stages, from 0",
        )
    if not pretrained or source == "scratch":
        return original(model_name, pretrained=False, **options)
    _check(source, model_name)
    try:
        if source == "hub":
            return original(model_name, pretrained=True, **options)
        state = pretrained_state(Network(name=model_name, weights=source))
        return original(model_name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **options)
    except UserError as error:
        raise UserError("weights", error.problem, error.fix) from None
    except Exception as error:  # timm, safetensors and the hub raise many kinds
        if fix := not_cached(error):
            raise UserError(
                "weights", f"{model_name!r} is not in the hub's cache", f"{fix}, or name a local file"
            ) from None
        reason = " ".join(str(error).split())[:200]
        raise _not_there(model_name, f"`{source}` does not have them: {reason}") from None


def _check(source: str, name: str) -> None:
    if source == "package" and name not in PACKAGE_WEIGHTS:
        known = ", ".join(PACKAGE_WEIGHTS)
        raise _not_there(name, f"a package contains weights of {known} alone")
    if source not in ("hub", "package") and not Path(source).is_file():
        raise _not_there(name, f"there is no file {source}")


def _not_there(name: str, reason: str) -> UserError:
    """The error for missing weights: which file is needed, from where, and where to put it."""
    import timm

    configured = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if configured is None or not configured.hf_hub_id:
        fix = "timm has none either: use another backbone, or a file of yours"
    else:
        fix = (
            f"use `hub` where there is a connection, else save model.safetensors of https://huggingface.co/"
            f"{configured.hf_hub_id} in any folder and name the file here"
        )
    return UserError("weights", f"none found for {name!r} ({reason})", fix)
