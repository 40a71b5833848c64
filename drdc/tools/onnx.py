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

    from drdc.detection.backends import DrdcFinder


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--model", required=True, help="folder of an experiment, or an exported file")
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
    from drdc.detection.backends import DrdcFinder
    from drdc.detection.detector import Detector

    finder = Detector.load(model).modes[FULL].finder
    if not isinstance(finder, DrdcFinder):
        raise UserError(
            model, "a compared method has no base model", "name the file that `drdc export` writes"
        )
    size = finder.features.settings.input_size
    example = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):  # each optimisation is a line in their logs
        logging.getLogger(name).setLevel(logging.WARNING)
    with atomic(output) as path, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            base_heatmap(finder),
            (example,),
            input_names=["image"],
            output_names=["heatmap"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        program.save(path, external_data=False)
    say(f"{output}: image uint8 (B, 3, {size}, {size}) -> heatmap float32 (B, {finder.image_size}, same)")


def base_heatmap(finder: DrdcFinder) -> nn.Module:
    """The network that is exported, on the CPU: (B, 3, S, S) of 0-255 -> (B, H, H)."""
    from torch import nn

    from drdc.equations.fusion import feature_error, upsample_base

    class BaseHeatmap(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.extractor, self.base = finder.features.extractor.cpu(), finder.base.cpu()

        def forward(self, image: Tensor) -> Tensor:
            features = self.extractor(image)
            return upsample_base(feature_error(features, self.base(features)), finder.image_size)

    return BaseHeatmap().eval()
