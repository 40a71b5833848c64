"""`drdc onnx`: the base model as an ONNX file, for runtimes without torch."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from drdc.runtime.endings import say
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic

if TYPE_CHECKING:
    from torch import Tensor, nn

    from drdc.models.backbone import FeatureExtractor
    from drdc.models.reconstructor import Reconstructor


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--model", required=True, help="detector's file, or folder of an experiment (DRDC)")
    parser.add_argument("--output", required=True, type=Path, help="the ONNX file")


def run(*, model: str, output: Path) -> None:
    """Write the base model with its backbone: pixels in, base heatmap (Eq. 2) out.

    Input `image`: uint8 RGB, (B, 3, S, S) with S = `backbone.input_size`, any B. Output `heatmap`: float32
    (B, H, H) with H = `dataset.image_size`, higher = more anomalous, before both maps are brought to one
    scale.

    Raises:
        UserError: the extra `onnx` is not installed, the model cannot be read or the file not be written.
    """
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise UserError("", f"{package} is not installed", "run `pip install -e '.[onnx]'`")
    import torch

    from drdc.config.variants import FULL
    from drdc.detection.detector import Detector
    from drdc.methods.drdc.predictor import DrdcPredictor

    backend = Detector.load(model).modes[FULL].backend
    predictor, features = backend.predictor, backend.features
    if features is None or not isinstance(predictor, DrdcPredictor):
        raise UserError(
            model, "only DRDC has a base model", "name the file that `drdc export` writes without a name"
        )
    size, heatmap_size = features.settings.input_size, predictor.input_size
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):  # each optimisation is a line in their logs
        logging.getLogger(name).setLevel(logging.WARNING)
    with atomic(output) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            base_heatmap(features.extractor.cpu(), predictor.base.cpu(), heatmap_size),
            (example,),
            input_names=["image"],
            output_names=["heatmap"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(path, external_data=False)
    say(f"{output}: image uint8 (B, 3, {size}, {size}) -> heatmap float32 (B, {heatmap_size}, same)")


def base_heatmap(extractor: FeatureExtractor, base: Reconstructor, size: int) -> nn.Module:
    """The network that is exported: (B, 3, S, S) of 0-255 -> (B, size, size)."""
    from torch import nn

    from drdc.equations.fusion import feature_error, upsample_base

    class BaseHeatmap(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.extractor, self.base = extractor, base
            base.settings = base.settings.model_copy(update={"precision": "fp32"})  # other runtimes' types

        def forward(self, image: Tensor) -> Tensor:
            features = self.extractor(image)
            return upsample_base(feature_error(features, self.base(features)), size)

    return BaseHeatmap().eval()
