"""`drdc check`: all problems of a dataset at once, before hours are spent on it."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from drdc.config.dataset import Dataset
from drdc.config.names import printable
from drdc.data.datasets import dataset_root, scan
from drdc.data.problems import HEAD, Problem, grade, ordered, row, summary
from drdc.data.samples import Sample
from drdc.experiment.experiment import load_experiment
from drdc.results.layout import Layout
from drdc.runtime.arguments import positive
from drdc.runtime.endings import say
from drdc.runtime.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """A folder in MVTec AD's layout, or the dataset of a configuration."""
    parser.add_argument(
        "folder", nargs="?", help="dataset: <category>/train/good, <category>/test/<defect>, ..."
    )
    parser.add_argument("--config", help="check the dataset of this YAML file instead")
    parser.add_argument("--all", action="store_true", help="a line for each problem, not only for each kind")
    parser.add_argument(
        "--model", help="also rank the training images by this detector's scores (file, or folder)"
    )
    parser.add_argument(
        "--worst",
        type=positive,
        default=20,
        metavar="N",
        help="how many of them to list (default: %(default)s)",
    )
    parser.add_argument("--threads", type=positive, help="threads that read images (default: all cores)")


def run(
    folder: str | None,
    config: str | None,
    threads: int | None,
    model: str | None = None,
    worst: int = 20,
    **options: bool,
) -> int:
    """Print the problems, by kind or `all` in a table; 1 if there is an error among them, 0 otherwise.

    With a `model` also the `worst` training images, see `drdc.tools.suspects`.

    Raises:
        UserError: neither or both of a folder and a configuration are given, no dataset is found there, or
            the model cannot be used.
    """
    from tqdm import tqdm

    from drdc.data.checks import check

    dataset, root = _dataset(folder, config)
    categories = dataset.categories if config else None
    samples, problems = scan(dataset.name, root, categories, dataset.good)
    with tqdm(total=len(samples), disable=not sys.stderr.isatty()) as bar:
        problems += check(samples, root, threads or os.cpu_count() or 1, bar.update, dataset.bits)
    if problems:
        lines = [table(problems, dataset.accept)] if options["all"] else summary(problems, dataset.accept)
        say("\n".join([*lines, ""]))
    grades = Counter(grade(problem, dataset.accept) for problem in problems)
    number = len({sample.category for sample in samples})
    say(f"{root}: {len(samples)} images in {number} categories; {_found(grades)}")
    if model is not None:
        _say_suspects(model, root, samples, worst)
    return 1 if grades["error"] else 0


def _dataset(folder: str | None, config: str | None) -> tuple[Dataset, Path]:
    from drdc.stages.prepare import root_of

    if (folder is None) == (config is None):
        raise UserError(
            "drdc check",
            "no dataset is named, or two are",
            "name either a folder or a configuration (--config FILE)",
        )
    if config is None:
        return Dataset(root=folder), dataset_root("mvtec", folder)
    experiment = load_experiment(config)
    return experiment.dataset, root_of(Layout(experiment.experiment), experiment.dataset)


def _say_suspects(model: str, root: Path, samples: Sequence[Sample], worst: int) -> None:
    from drdc.tools.suspects import rows, suspects

    found = suspects(model, root, samples)
    say(f"\nOf {len(found)} training images the most unusual for their category; look at these first:")
    say("\n".join(aligned([[printable(text) for text in line] for line in rows(found[:worst])])))


def _found(grades: Counter[str]) -> str:
    if not grades:
        return "no problem found"
    accepted = f", {grades['accepted']} accepted errors" if grades["accepted"] else ""
    return f"{grades['error']} errors, {grades['warning']} warnings{accepted}"


def table(problems: Sequence[Problem], accept: Collection[str] = ()) -> str:
    """Errors first, then by kind, category and file, in columns that are as wide as their longest text."""
    lines = aligned(
        [HEAD, *([text or "-" for text in row(problem, accept)] for problem in ordered(problems))]
    )
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def aligned(texts: Sequence[Sequence[str]]) -> list[str]:
    """Rows of texts as lines, in columns that are as wide as their longest text."""
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in texts]
