"""The commands: one for each rule of the workflow, usable without it."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from drdc.config import stage_settings
from drdc.devices import claim_gpus
from drdc.errors import UserError
from drdc.layout import Layout

STAGES = {
    "prepare": "list and decode the dataset: manifest.csv",
    "features": "compute the backbone's features: features.npy",
    "train": "train the base model or the diffusion model: seed<k>/*.safetensors",
    "predict": "compute the maps of test and held-out images: seed<k>/predictions/",
    "score": "fuse the maps and compute the metrics: seed<k>/scores.csv",
    "tables": "collect the scores of all seeds: scores.csv, tables/",
    "figures": "draw the gallery and the loss curves: figures/",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 2 for bad input, 130 after Ctrl-C."""
    options = vars(_parser().parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    stage = options.pop("command")
    stage += f"_{options.pop('model')}" if stage == "train" else ""
    try:
        run(stage, **options)
    except UserError as error:
        print(f"drdc: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("drdc: interrupted; the same command goes on from the last saved state", file=sys.stderr)
        return 130
    return 0


def run(stage: str, *, config: str, threads: int | None = None, gpu: int = 0, **wildcards: Any) -> None:
    """Run a stage with the settings it uses.

    Args:
        stage: a key of `drdc.config.USES`.
        config: YAML file or inline JSON, see `drdc.config.stage_settings`.
        threads: CPU threads; default: all.
        gpu: number of GPUs to claim on a machine that several jobs share.
        wildcards: `seed` and `category` where the stage has them; None as category stands for all.
    """
    experiment, settings = stage_settings(stage, config)
    layout = Layout(experiment)
    _compute_with(threads, gpu)
    function = _stage(stage)
    if stage == "predict" and wildcards["category"] is None:
        from drdc.data.manifest import read_manifest

        for category in sorted(set(read_manifest(layout.manifest).category)):
            function(layout, **wildcards | {"category": category}, **settings)
    else:
        function(layout, **wildcards, **settings)


def _compute_with(threads: int | None, gpu: int) -> None:
    """Set threads and device before torch is imported."""
    threads = threads or os.cpu_count() or 1
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    claim_gpus(gpu)


def _stage(name: str) -> Any:
    """The stage's function; imported late, because torch is slow to import and not every command needs it."""
    from importlib import import_module

    return getattr(import_module(f"drdc.stages.{name}"), name)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number, 0 or larger")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("drdc", description=__import__("drdc").__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in STAGES.items():
        command = commands.add_parser(name, help=text, description=text)
        if name == "train":
            command.add_argument("model", choices=["base", "diffusion"])
        command.add_argument(
            "--config", default="config/config.yaml", help="YAML file (default: %(default)s), or inline JSON"
        )
        if name in ("train", "predict", "score"):
            command.add_argument("--seed", type=_natural, default=0, help="run number (default: %(default)s)")
        if name == "predict":
            command.add_argument("--category", help="one category (default: all)")
        command.add_argument("--threads", type=int, help="CPU threads (default: all)")
        command.add_argument(
            "--gpu", type=int, default=0, help="GPUs to claim for this job alone (default: any visible)"
        )
    return parser
