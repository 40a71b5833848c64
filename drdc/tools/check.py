"""`drdc check`: all problems of a dataset at once, before hours are spent on it."""

from __future__ import annotations

import argparse
import os
import sys

from drdc.arguments import positive
from drdc.data.datasets import dataset_root, scan
from drdc.endings import say
from drdc.errors import UserError
from drdc.experiment import load_experiment
from drdc.layout import Layout
from drdc.problems import HEAD, Problem, ordered, row


def arguments(parser: argparse.ArgumentParser) -> None:
    """A folder in MVTec AD's layout, or the dataset of a configuration."""
    parser.add_argument(
        "folder", nargs="?", help="dataset: <category>/train/good, <category>/test/<defect>, ..."
    )
    parser.add_argument("--config", help="check the dataset of this YAML file instead")
    parser.add_argument("--threads", type=positive, help="threads that read images (default: all cores)")


def run(folder: str | None, config: str | None, threads: int | None) -> int:
    """Print a table of problems; 1 if there is an error among them, 0 otherwise.

    Raises:
        UserError: neither or both of a folder and a configuration are given, or no dataset is found there.
    """
    from tqdm import tqdm

    from drdc.data.checks import check
    from drdc.stages.prepare import root_of

    if (folder is None) == (config is None):
        raise UserError("drdc check: name either a folder or a configuration (--config FILE)")
    if config is not None:
        experiment = load_experiment(config)
        name, categories = experiment.dataset.name, experiment.dataset.categories
        root = root_of(Layout(experiment.experiment), experiment.dataset)
    else:
        name, categories, root = "mvtec", None, dataset_root("mvtec", folder)
    samples, problems = scan(name, root, categories)
    with tqdm(total=len(samples), disable=not sys.stderr.isatty()) as bar:
        problems += check(samples, root, threads or os.cpu_count() or 1, bar.update)
    errors = sum(problem.severity == "error" for problem in problems)
    if problems:
        say(f"{table(problems)}\n")
    found = f"{errors} errors, {len(problems) - errors} warnings" if problems else "no problem found"
    say(f"{root}: {len(samples)} images in {len({s.category for s in samples})} categories; {found}")
    return 1 if errors else 0


def table(problems: list[Problem]) -> str:
    """Errors first, then by category and file, in columns that are as wide as their longest text."""
    texts = [HEAD, *([text or "-" for text in row(problem)] for problem in ordered(problems))]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in texts]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])
