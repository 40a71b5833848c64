"""`drdc onnx`: a whole detector as an ONNX file, for runtimes without torch."""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import warnings
from pathlib import Path

from drdc.runtime.endings import say
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic
from drdc.tools.options import add_model, add_rate


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_model(parser)
    parser.add_argument("--output", required=True, type=Path, help="the ONNX file")
    add_rate(parser)


def run(*, model: str, output: Path, false_alarm_rate: float | None) -> None:
    """Write the fast mode of a detector of DRDC: from an image's pixels to its score and its threshold.

    Input `image`: RGB, upright, uint8 (h, w, 3) of any size. Outputs: those of
    `drdc.detection.network.Output`. The file's metadata `drdc` are JSON: experiment, categories, false-alarm
    rate, and the code and settings that it comes from.

    Raises:
        UserError: the extra `onnx` is not installed, the model cannot be read or is of another method, or the
            file cannot be written.
    """
    for package in ("onnx", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            raise UserError("", f"{package} is not installed", "run `pip install -e '.[onnx]'`")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # constants must be where the file's networks are
    import torch

    from drdc.detection.detector import Detector
    from drdc.detection.network import DetectorNetwork, Output

    detector = Detector.load(model, precision="fp32")  # other runtimes have no bf16
    network = DetectorNetwork(detector, false_alarm_rate).eval()
    example = torch.zeros(96, 80, 3, dtype=torch.uint8)
    for name in ("torch.onnx", "onnxscript", "onnx_ir"):  # each optimisation is a line in their logs
        logging.getLogger(name).setLevel(logging.WARNING)
    with atomic(output) as path, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the exporter, about itself
        program = torch.onnx.export(
            network,
            (example,),
            input_names=["image"],
            output_names=list(Output._fields),
            dynamic_shapes=(dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC),),
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        facts = {
            "experiment": detector.experiment,
            "categories": detector.categories,
            "false_alarm_rate": detector.reference(false_alarm_rate=false_alarm_rate, fast=True).rate,
            "provenance": detector.provenance,
        }
        program.model.metadata_props["drdc"] = json.dumps(facts)
        program.save(path, external_data=False)
    say(f"{output}: image uint8 (h, w, 3) -> {', '.join(Output._fields)}")
