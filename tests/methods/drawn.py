"""A tiny drawn experiment for the compared methods: grey noise, and a red square as a plain defect."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from stamping import stamped

from drdc.data.manifest import COLUMNS
from drdc.methods.fitted_method import FittedMethod
from drdc.methods.fitting import fit_method, inputs_of
from drdc.methods.interface import Method
from drdc.methods.registry import Configured, method_class
from drdc.methods.trainer import MethodJob, Trainer
from drdc.results.layout import Layout
from drdc.runtime.identity import fingerprint_of

SIZE, CELL = 16, 4
#: Input sizes of the methods below.
SIDES = (16, 32, 64)
COUNTS = {"train": 24, "val": 6, "good": 6, "defect": 6}
_QUICK = {"batch_size": 8, "learning_rate": 3e-3, "validations": 2}
_BASE = {"encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0, "schedule": "constant", **_QUICK}
_REFINED = {
    "base": {"hidden": 16, "heads": 2, "feedforward": 32, "neighbour_window": 1, "epochs": 20, **_BASE},
    **{"width": 8, "levels": 2, "scales": [1, 2], "filter_size": 3, "pool_size": 2, "epochs": 20, **_QUICK},
}
#: For each method settings with which it is fitted here in a second or two.
SMALL: dict[str, dict[str, Any]] = {
    "anomalib": {
        "model": "padim",
        "arguments": {"backbone": "tf_efficientnet_lite0", "layers": [0, 1, 2], "n_features": 30},
        **{"weights": "package", "input_size": 64},
    },
    "ast": {
        **{"couplings": 2, "teacher_width": 16, "student_width": 32, "student_blocks": 1, "score": "max"},
        **{"epochs": 20, **_QUICK},
    },
    "cutpaste": {
        "initial": "pretrained",
        "backbone": {
            **{"name": "tf_efficientnet_lite0", "weights": "package", "input_size": 32},
            **{"feature_size": 8, "stages": [0, 1]},
        },
        **{"head": [16], "blur": 1.0, "epochs": 5, **_QUICK},
    },
    "diad": {
        "pretrained": "scratch",
        "autoencoder": {
            **{"width": 16, "multipliers": [1, 1], "layers_per_block": 1, "perceptual_weight": 0.1},
            **{"discriminator_width": 8, "discriminator_layers": 1},
            **{**_QUICK, "epochs": 4, "adversarial_epochs": 1},
        },
        "denoiser": {
            **{"width": 32, "multipliers": [1, 1], "layers_per_block": 1, "heads": 2, "context_width": 8},
            **{"pretraining_epochs": 3, "pretraining_rate": 3e-3},
        },
        "backbone": {"name": "tf_efficientnet_lite0", "weights": "package", "stages": [0, 1]},
        **{"blur": 1.0, "pool_size": 2, "pools": 2, "epochs": 5, **_QUICK},
    },
    "fcdd": {
        "backbone": {
            **{"name": "tf_efficientnet_lite0", "weights": "package", "input_size": 64},
            **{"feature_size": 32, "stages": [0, 1]},
        },
        **{"width": 16, "deviation": 1.0, "receptive_field": 3, "epochs": 20, **_QUICK},
    },
    "mkd": {
        "backbone": {
            **{"name": "tf_efficientnet_lite0", "weights": "package", "input_size": 32, "stages": [0, 1, 2]},
        },
        **{"convolutions": [1, 1, 1], "width": 8, "blur": 1.0, "pool_size": 2, "epochs": 20, **_QUICK},
    },
    "psvdd": {
        **{"patch": 4, "widths": [], "code": 8, "small_stride": 2, "large_stride": 2, "memory": 1000},
        **{"svdd_weight": 0.01, "pairs": 4, "epochs": 20, **_QUICK},
    },
    "st": {
        "backbone": {"name": "tf_efficientnet_lite0", "weights": "package", "input_size": 32},
        "teacher": {"patches": 2, "epochs": 20, **_QUICK},
        **{"receptive_fields": [17], "students": 2, "width": 8, "descriptor": 8, "pool_size": 2},
        **{"epochs": 20, **_QUICK},
    },
    "uniad": {
        **{"hidden": 32, "heads": 4, "feedforward": 64, "neighbour_window": 5, "size": 8, "pool_size": 2},
        **{"epochs": 20, **_BASE},
        "backbone": {"name": "tf_efficientnet_lite0", "weights": "package", "input_size": 32},
    },
    "uniad_gan": {"code": 8, **_REFINED},
    "uniad_unet": _REFINED,
    "uniad_vae": {"code": 8, **_REFINED},
    "simplenet": {
        "width": 32,
        "epochs": 20,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "noise": 1.0,
        "patch": 1,  # the grid is too small for a neighbourhood
        "blur": 1,
        "validations": 2,
    },
}


def drawn_experiment() -> Layout:
    """Write manifest, images, masks and features below the working directory."""
    layout, generator = Layout("drawn"), np.random.default_rng(0)
    kinds = [kind for kind, count in COUNTS.items() for _ in range(count)]
    images = generator.normal(128, 12, (len(kinds), SIZE, SIZE, 3)).clip(0, 255).astype(np.uint8)
    masks = np.zeros((len(kinds), SIZE, SIZE), dtype=bool)
    rows = []
    for i, kind in enumerate(kinds):
        if kind == "defect":
            y, x = generator.integers(0, SIZE // CELL, 2) * CELL
            masks[i, y : y + CELL, x : x + CELL] = True
            images[i][masks[i]] = (250, 20, 20)
        split = kind if kind in ("train", "val") else "test"
        facts = [f"{i:02}.png", "thing", split, int(kind == "defect"), kind, "mask" * (kind == "defect")]
        rows.append([*facts, SIZE, SIZE, 8, 8, *[f"{i:064x}"] * 2])
    layout.root.mkdir(parents=True)
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(layout.manifest, index=False)
    for side in SIDES:
        layout.images(side).parent.mkdir(exist_ok=True)
        np.save(layout.images(side), images.repeat(side // SIZE, 1).repeat(side // SIZE, 2))
    np.save(layout.masks, masks)
    np.save(layout.features, _features(images))
    stamped(layout.manifest, *map(layout.images, SIDES), layout.masks, layout.features)
    return layout


def _features(images: np.ndarray) -> np.ndarray:
    """Mean colour and contrast of each cell, (N, 4, h, h) float16."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean = F.avg_pool2d(pixels, CELL)
    contrast = (F.avg_pool2d(pixels**2, CELL) - mean**2).clamp(min=0).sum(1, keepdim=True).sqrt()
    return torch.cat([mean, contrast], 1).half().numpy()


def configured(name: str, settings: dict[str, Any] | None = None) -> Configured:
    """A method with settings of `SMALL` or others, complete."""
    own = method_class(name).Settings.model_validate(settings or SMALL[name])
    return Configured(name=name, method=name, settings=own.model_dump(mode="json"))


def fitted(layout: Layout, name: str, settings: dict[str, Any] | None = None) -> FittedMethod:
    """A method fitted by the stage of the workflow with settings of `SMALL` or others, saved and loaded."""
    fit_method(layout, 0, image_size=SIZE, method=configured(name, settings))
    return FittedMethod.load(layout, 0, name, SIZE)


def unsaved(layout: Layout, name: str) -> Method:
    """The same method with the same seed, never saved."""
    kind, inputs = method_class(name), inputs_of(layout, SIZE, configured(name))
    settings = kind.Settings(**SMALL[name])
    torch.manual_seed(0)
    method = kind(settings, inputs.shapes).eval()
    method.fit(Trainer(MethodJob(layout, 0, "unsaved", settings, fingerprint_of({})), inputs))
    return method.eval()


def assert_finds(maps: np.ndarray, anomalous: np.ndarray, normal: np.ndarray, masks: np.ndarray) -> None:
    """Image scores of the anomalous images are higher, and their heatmaps (N, H, W) highest on the defect.

    Not without exception: after so little training other processors round their way to other weights. By
    chance the AUROC is 0.5, and one maximum in sixteen lies on the defect.
    """
    assert np.mean(anomalous[:, None] > normal) > 0.85, "image AUROC"
    pairs = [(heatmap.astype(float), mask) for heatmap, mask in zip(maps, masks, strict=True)]
    hits = [mask[np.unravel_index(heatmap.argmax(), heatmap.shape)] for heatmap, mask in pairs]
    assert np.mean(hits) > 0.6
    for heatmap, mask in pairs:
        assert heatmap[mask].mean() > heatmap[~mask].mean()


def assert_needs_no_features(model: Method) -> None:
    """A method for images of 16 × 16 trains and predicts without the experiment's features."""
    images, none = torch.rand(2, 3, 16, 16), torch.zeros(2, 0)
    assert not model.uses_features
    with torch.inference_mode():
        heatmaps = model.heatmaps(images, none)
        assert heatmaps.shape == (2, 16, 16)
        assert model.image_scores(heatmaps, images, none).shape == (2,)
    assert torch.isfinite(model.loss(images, none))


def rows_of(kind: str) -> np.ndarray:
    """Row numbers of one kind of image, a key of `COUNTS`."""
    kinds = [name for name, count in COUNTS.items() for _ in range(count)]
    return np.flatnonzero(np.array(kinds) == kind)
