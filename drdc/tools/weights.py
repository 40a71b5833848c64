"""`drdc weights`: fetch the pre-trained networks of an experiment into the hub's cache."""

from __future__ import annotations

from argparse import ArgumentParser


def arguments(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "network", nargs="?", help="`backbone` or the name of a method (default: all of them)"
    )
    parser.add_argument(
        "--config", default="config/config.yaml", help="YAML file of an experiment (default: %(default)s)"
    )


def run(*, network: str | None, config: str) -> None:
    """Fetch what the experiment's backbone or a method loads; raises as `drdc.stages.weights.weights`."""
    from drdc.experiment.experiment import load_experiment
    from drdc.experiment.stage_settings import stage_settings
    from drdc.results.layout import BACKBONE, Layout
    from drdc.stages.weights import weights

    for name in [network] if network else [BACKBONE, *load_experiment(config).methods]:
        stage, method = ("weights", "") if name == BACKBONE else ("method_weights", name)
        experiment, settings = stage_settings(stage, config, method=method)
        weights(Layout(experiment), **settings)
