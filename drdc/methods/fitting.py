"""images, features -> a fitted method, trained on the normal images of all categories."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite, nan
from typing import Any

import torch

from drdc.equations.fusion import map_scale
from drdc.methods.inputs import Inputs
from drdc.methods.registry import Configured, method_class, pretrained_networks
from drdc.methods.trainer import MethodJob, Trainer
from drdc.results.layout import Layout
from drdc.runtime.devices import torch_device
from drdc.runtime.errors import UserError
from drdc.runtime.identity import fingerprint_of, seed_of
from drdc.training.job import carry_out, finish


def inputs_of(layout: Layout, image_size: int, configured: Configured) -> Inputs:
    """What a method of the configuration sees, in an experiment with that `dataset.image_size`."""
    kind = method_class(configured.method)
    size = kind.input_size(configured.settings, image_size)
    return Inputs.read(layout, size, kind.uses_features_with(configured.settings))


def fit_method(layout: Layout, seed: int, *, image_size: int, method: Configured) -> None:
    """Write `seed<k>/<name>.safetensors` and its loss curve, or resume an earlier call's training."""
    inputs = inputs_of(layout, image_size, method)
    settings = method_class(method.method).Settings.model_validate(method.settings)
    identity = {
        "kind": method.name,
        "seed": seed,
        "method": method.method,
        "settings": settings.model_dump(mode="json", exclude={"save_images", "save_minutes"}),
        "pretrained": [network.digest() for network in pretrained_networks(method)],
        "categories": inputs.images.categories[inputs.images.train].tolist(),
        "inputs": [inputs.digest(rows) for rows in (inputs.images.train, inputs.images.held_out)],
    }
    job = MethodJob(layout, seed, method.name, settings, fingerprint_of(identity))
    carry_out(job, 1, lambda job, group: _fit(job, inputs, method))


def _fit(job: Any, inputs: Inputs, configured: Configured) -> None:
    torch.manual_seed(job.seed)
    method = method_class(configured.method)(job.settings, inputs.shapes).to(torch_device()).eval()
    trainer = Trainer(job, inputs)
    history = method.fit(trainer)
    method.eval()
    with torch.inference_mode():
        torch.manual_seed(seed_of(job.seed, -1))
        scale = map_scale(method.heatmaps(*batch) for batch in trainer.held_out())
    if not all(map(isfinite, scale)):
        raise UserError(
            "",
            f"the heatmaps of {configured.name!r} are NaN or infinite for held-out images",
            f"change methods.{configured.name} in the configuration",
        )
    # A method that is not trained by gradients has no curve: one row without losses.
    untrained = {"images": len(inputs.images.train), "train_loss": nan, "val_loss": nan, "lr": 0.0}
    about: dict[str, Any] = {"method": configured.method, "shapes": asdict(inputs.shapes), "scale": scale}
    finish(job, method, history or [untrained], about)
