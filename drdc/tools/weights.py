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
    from drdc.config.variants import BACKBONE
    from drdc.experiment.experiment import load_experiment
    from drdc.experiment.stage_settings import stage_settings
    from drdc.results.layout import Layout
    from drdc.stages.weights import weights

    for name in [network] if network else [BACKBONE, *load_experiment(config).methods]:
        experiment, settings = stage_settings("weights", config, name)
        weights(Layout(experiment), **settings)
