"""Arguments that several tools have."""

from __future__ import annotations

import argparse

from drdc.evaluation.calibration import RATE


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model`, see `drdc.detection.detector.Detector.load`."""
    parser.add_argument("--model", required=True, help="detector's file, or folder of an experiment")


def add_rate(parser: argparse.ArgumentParser) -> None:
    """`--false-alarm-rate`."""
    parser.add_argument(
        "--false-alarm-rate",
        type=float,
        metavar="RATE",
        help="probability, at most, of calling a normal image anomalous "
        f"(default: {RATE}, or the smallest that the held-out images allow)",
    )
