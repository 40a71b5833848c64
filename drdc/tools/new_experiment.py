"""`drdc new-experiment`: a configuration for a folder of images, sized for the machine that it runs on.

Nothing is tuned here: sizes, networks and learning rates are those of an experiment of `config/` that is
known to work, and only the length of the trainings is new, from the time that their steps take here. The
fusion is the variant beyond the paper that finds most in little time (docs/method.md).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from drdc.config.names import category_fault, printable
from drdc.config.variants import BEYOND
from drdc.data.datasets import scan
from drdc.data.natural import LINKED
from drdc.data.samples import Sample
from drdc.experiment.experiment import Experiment, load_experiment, read_mapping
from drdc.experiment.jobs import share_of_cores
from drdc.results.layout import Layout
from drdc.runtime.devices import total_memory
from drdc.runtime.endings import say
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic
from drdc.runtime.project import CONFIG

if TYPE_CHECKING:
    from drdc.planning.timing import Training

#: The experiments whose settings are used, smallest images first, and the least fraction of their training
#: images per category for which their size is chosen. The paper's length takes days: a tenth of it suffices.
MODELS = {"config.yaml": 0.0, "mvtec-small.yaml": 1.0, "mvtec.yaml": 0.1}
#: The one that needs a GPU: EfficientNet-B4 at 224 pixels and a wide U-Net.
LARGE = "mvtec.yaml"
#: Where the settings of the quick methods are, which are trained alongside DRDC in seconds to minutes, with
#: the backbone of an installed package, on any machine.
QUICK = "demo-systems.yaml"
QUICK_METHODS = ("padim", "patchcore", "simplenet")
#: Of their input, at most.
QUICK_SIDE = 256
#: Of the training time for the transformer: little, because the base heatmap is that of the memory bank.
BASE_SHARE = 0.05
#: What is made of both heatmaps, and the memory bank: how many features, of which stages of the backbone.
FUSION, MEMORY = BEYOND["memory+centred"], {"memory": 40_000, "memory_stages": [2, 3]}
#: The paper's length, beyond which no training is made.
MOST_EPOCHS = 1000
LOOKED_AT = 200


@dataclass(frozen=True)
class Folder:
    """The contents of a dataset's folder: categories with their numbers of images, and sides in pixels.

    `good`: names of folders of normal images other than `good`, None if there are no similar names.
    """

    root: Path
    good: list[str] | None
    train: dict[str, int]
    test: dict[str, int]
    masks: int
    smallest: tuple[int, int]
    typical: tuple[int, int]
    largest: tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """The experiment whose settings are taken, the lengths of training, and seconds per training image."""

    model: str
    epochs: int
    images: int
    seconds: tuple[float, float]


def arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, and options for the new file."""
    parser.add_argument("folder", help="dataset: <category>/train/good, <category>/test/<defect>, ...")
    parser.add_argument("--name", help=f"name of the experiment (default: of the folder, without `{LINKED}`)")
    parser.add_argument("--output", type=Path, help="file to write (default: config/<name>.yaml)")
    parser.add_argument(
        "--good",
        nargs="*",
        metavar="NAME",
        help="names of folders of normal images apart from `good`, such as ok; without a NAME: none",
    )
    parser.add_argument(
        "--minutes", type=float, default=90, help="time for the two trainings (default: %(default)s)"
    )


def run(
    folder: str, name: str | None, output: Path | None, minutes: float, good: list[str] | None = None
) -> None:
    """Write the configuration and print the next two commands.

    Raises:
        UserError: the folder is not a dataset, a category's name cannot be used, or the file exists.
    """
    if not 0 < minutes < 1_000_000:
        raise UserError("--minutes", f"invalid value {minutes:g}", "give more than 0 and less than two years")
    name = name or name_of(folder)
    output = output or Path("config", f"{name}.yaml")
    if output.exists():
        raise UserError(output, "exists already and is not overwritten", "give another --name")
    if (results := Layout(name).root).exists():
        raise UserError(results, "has results of that name", "give another --name, or delete them")
    load_experiment({"experiment": name, "dataset": {"root": folder}})  # refuses a name before the timing
    seen = look_at(Path(folder), good)
    images, typical = sum(seen.train.values()), "{} x {}".format(*seen.typical)
    say(f"{images} training images of {len(seen.train)} categories, the typical one of {typical} pixels.")
    say("Timing training steps on this machine, which takes one to two minutes:")
    memory = _gpu_memory()
    planned = plan(seen, minutes, memory is not None, partial(_measured, memory))
    say(_chosen(seen, planned))
    parts = accumulations(planned, memory) if memory is not None else {}
    text = write(name, seen, planned, minutes, memory is not None, parts)
    load_experiment(yaml.safe_load(text))
    with atomic(output) as path:
        path.write_text(text, encoding="utf-8")
    file = shlex.quote(str(output))
    say(f"{output} is written. Next:")
    say(f"  drdc check --config {file}")
    target = "" if seen.test else "detector "  # before the flag, which takes all words that follow
    snakefile = "" if Path("Snakefile").exists() else '--snakefile "$(drdc workflow)" '
    say(f"  snakemake --cores all {snakefile}{target}--configfile {file}")


def name_of(folder: str) -> str:
    """The experiment's name, from the folder's: of links that stand for a folder of photos, that folder's."""
    called = Path(folder).resolve().name.removesuffix(LINKED)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", called).strip("-._") or "own"


def look_at(root: Path, good: list[str] | None = None) -> Folder:
    """Count a folder's images and read the sizes of some; no pixel is read.

    Raises:
        UserError: it is not a dataset in MVTec AD's layout, a category's name cannot be used, or folders of
            other names than those in `good` may hold normal images.
    """
    if not root.is_dir():
        raise UserError(root, "there is no such folder", "name the one that holds the categories")
    samples, problems = scan("mvtec", root, None, good)
    if alike := sorted({Path(p.file).name for p in problems if p.kind == "good-by-another-name"}):
        raise UserError(
            root,
            f"folders called {', '.join(alike)} may hold normal images",
            f"give --good {shlex.join(alike)} if they do, --good alone if not",
        )
    categories = list(dict.fromkeys(sample.category for sample in samples))
    for category in categories:
        if fault := category_fault(category):
            raise UserError(root, f"category '{printable(category)}' {fault}", "rename the folder")
    train = Counter(sample.category for sample in samples if sample.split == "train")
    if sum(train.values()) < 2:
        raise UserError(
            root, "fewer than two training images were found", "put some in <category>/train/good"
        )
    sizes = sorted(_sizes(samples, root), key=lambda size: size[0] * size[1])
    if not sizes:
        raise UserError(root, "none of the images can be read", f"run `drdc check {shlex.quote(str(root))}`")
    return Folder(
        root,
        good,
        {category: train[category] for category in categories},
        dict(Counter(sample.category for sample in samples if sample.split == "test")),
        sum(bool(sample.mask) for sample in samples),
        *(sizes[0], sizes[len(sizes) // 2], sizes[-1]),
    )


def _sizes(samples: list[Sample], root: Path) -> Iterator[tuple[int, int]]:
    """(width, height) of at most `LOOKED_AT` images from all over the dataset, without unreadable ones."""
    from PIL import Image

    for sample in samples[:: -(-len(samples) // LOOKED_AT)]:
        path = root / sample.path
        if path.is_file():  # no pipe, which would never end
            with suppress(Exception), Image.open(path) as image:  # damaged files raise many kinds
                yield image.size


def plan(
    seen: Folder, minutes: float, gpu: bool, timed: Callable[[Experiment, Experiment], tuple[float, float]]
) -> Plan:
    """The largest images for which the time suffices, and as much training as there is time for.

    Args:
        seen: the dataset.
        minutes: time for both trainings.
        gpu: whether there is one; without it, the paper's networks are too slow.
        timed: experiments of the base and of the diffusion model -> their seconds per training image.
    """
    plans: list[Plan] = []
    for model, least in MODELS.items():
        known = settings_of(model)
        small = known.dataset.image_size > min(seen.typical)
        if plans and (small or (model == LARGE and not gpu)):
            break
        seconds = timed(settings_of(LARGE) if gpu else known, known)
        epoch = seconds[0] * sum(seen.train.values())
        epochs = max(1, min(MOST_EPOCHS, round(60 * minutes * BASE_SHARE / epoch)))
        images = (60 * minutes - epochs * epoch) / seconds[1]
        if plans and images < least * _per_category(known) * len(seen.train):
            break
        most = _per_category(settings_of(LARGE)) * len(seen.train)
        enough = max(known.diffusion.batch_size, min(most, images))
        plans.append(Plan(model, epochs, _two_digits(enough), seconds))
    return plans[-1]


def _measured(memory: float | None, base: Experiment, diffusion: Experiment) -> tuple[float, float]:
    """Seconds per training image, each batch in as many parts as the memory asks for."""
    from drdc.planning.timing import base_training, diffusion_training

    side, size = base.backbone.feature_size, diffusion.dataset.image_size
    return (
        _image_seconds(f"base model on {side} x {side} features", base_training(base), memory),
        _image_seconds(f"diffusion model at {size} x {size} pixels", diffusion_training(diffusion), memory),
    )


def _image_seconds(name: str, training: Training, memory: float | None) -> float:
    """Time a training with the threads that it will have, and say so before and after."""
    from drdc.planning.timing import LIMIT, computing_with

    say(f"  {name}: at most about {LIMIT:.0f} s ...")
    own = training if memory is None else parted(training, memory)
    with computing_with(share_of_cores(os.cpu_count() or 1, 2 + len(QUICK_METHODS))):
        seconds = own.timed().seconds / own.settings.batch_size
    say(f"  {name}: {seconds:.2g} s for a training image")
    return seconds


def parted(training: Training, memory: float) -> Training:
    """A training with its batch in as few parts as a GPU's memory allows."""
    from drdc.planning.memory import fitting

    settings = training.settings
    parts = settings.batch_size // max(1, fitting(training, memory))
    return replace(training, settings=settings.model_copy(update={"accumulation": parts}))


def accumulations(planned: Plan, memory: float) -> dict[str, int]:
    """Parts of the batches of base and diffusion model."""
    from drdc.planning.timing import base_training, diffusion_training

    base, diffusion = base_training(settings_of(LARGE)), diffusion_training(settings_of(planned.model))
    return {
        "base": parted(base, memory).settings.accumulation,
        "diffusion": parted(diffusion, memory).settings.accumulation,
    }


def _gpu_memory() -> float | None:
    """Bytes of the GPU's memory; None without a GPU."""
    import torch

    from drdc.runtime.devices import torch_device

    return float(torch.cuda.mem_get_info()[1]) if torch_device() == "cuda" else None


def settings_of(model: str) -> Experiment:
    """An experiment of the project's `config/`."""
    return load_experiment(CONFIG / model)


def _per_category(known: Experiment) -> float:
    return known.diffusion.images / len(known.dataset.categories)


def _two_digits(number: float) -> int:
    return int(float(f"{number:.1e}"))


def write(
    name: str,
    seen: Folder,
    planned: Plan,
    minutes: float,
    gpu: bool,
    parts: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """The YAML text, with a comment wherever a number was looked up, measured or chosen.

    `parts`: in which the batches of `base` and `diffusion` are computed, see `accumulations`.
    """
    known = settings_of(planned.model)
    base = settings_of(LARGE) if gpu else known
    values: dict[str, Any] = {
        "experiment": name,
        "seeds": [0],
        "dataset": _dataset(seen, known.dataset.image_size),
        "backbone": _written(base.backbone),
        "base": _written(base.base) | {"epochs": planned.epochs, "balanced": _uneven(seen)} | MEMORY,
        "diffusion": _written(known.diffusion) | {"images": planned.images, "balanced": _uneven(seen)},
        "sampling": _written(known.sampling),
        "fusion": _written(known.fusion) | FUSION,
        "methods": quick_methods(known.dataset.image_size),
    }
    for section, number in parts.items():
        if number > 1:
            values[section]["accumulation"] = number
    if seen.test:
        values["evaluation"] = {"sweeps": {"steps": [1]}}
    comments = _comments(seen, planned, gpu)
    lines = [*_head(seen, planned, minutes, gpu)]
    for key, value in values.items():
        if not isinstance(value, dict):
            lines.append(f"{key}: {_flow(value)}{comments.get(key, '')}")
            continue
        lines.append(f"{key}:{comments.get(key, '')}")
        lines += [f"  {k}: {_flow(v)}{comments.get(f'{key}.{k}', '')}" for k, v in value.items()]
    return "\n".join(lines) + "\n"


def quick_methods(image_size: int) -> dict[str, dict[str, Any]]:
    """Those that can run here, at twice the images' side, as in the demo's experiment."""
    known = read_mapping(CONFIG / QUICK)[1]["methods"]
    found = {name: known[name] for name in QUICK_METHODS}
    if importlib.util.find_spec("anomalib") is None:
        found = {name: own for name, own in found.items() if own.get("method") != "anomalib"}
    for own in found.values():
        if "input_size" in own:
            own["input_size"] = min(QUICK_SIDE, 2 * image_size)
    return found


def _dataset(seen: Folder, image_size: int) -> dict[str, Any]:
    root, here = seen.root.resolve(), Path.cwd()
    shown = root.relative_to(here) if root.is_relative_to(here) else root
    own: dict[str, Any] = {"name": "mvtec", "root": str(shown), "good": seen.good}
    own |= {"categories": list(seen.train), "image_size": image_size}
    return {key: value for key, value in own.items() if value is not None}


def _written(section: Any) -> dict[str, Any]:
    """The settings in the experiment's file; all others keep their defaults here too."""
    return section.model_dump(mode="json", exclude_unset=True)


def _uneven(seen: Folder) -> bool:
    return len(set(seen.train.values())) > 1


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=2**31)
    return text.removesuffix("...\n").strip()


def _head(seen: Folder, planned: Plan, minutes: float, gpu: bool) -> list[str]:
    images = f"{sum(seen.train.values())} training and {sum(seen.test.values())} test images"
    memory = total_memory() / 2**30
    sizes = ["{} x {}".format(*size) for size in (seen.smallest, seen.typical, seen.largest)]
    base, diffusion = planned.seconds
    return [
        "# Written by `drdc new-experiment`; every setting is explained in config/README.md.",
        f"# Folder: {images}, {seen.masks} masks; {sizes[1]} pixels ({sizes[0]} to {sizes[2]}).",
        f"# Machine: {'a GPU' if gpu else 'no GPU'}, {os.cpu_count()} CPU cores, {memory:.0f} GiB of memory.",
        f"# Sizes, networks and sampling are those of config/{planned.model}; length and fusion are new.",
        f"# Measured here over a few steps, for one training image: {base:.2g} s of the base model,",
        f"# {diffusion:.2g} s of the diffusion model; both trainings take about "
        f"{_minutes(seen, planned):.0f} minutes (asked for: {minutes:g}).",
        "# Features, quick methods, predictions, tables and figures take additional time.",
    ]


def _minutes(seen: Folder, planned: Plan) -> float:
    base, diffusion = planned.seconds
    return (planned.epochs * sum(seen.train.values()) * base + planned.images * diffusion) / 60


def _chosen(seen: Folder, planned: Plan) -> str:
    side = settings_of(planned.model).dataset.image_size
    return (
        f"Chosen: {side} x {side} pixels, {planned.epochs} epochs of the base model and {planned.images:,} "
        f"images of the diffusion model, about {_minutes(seen, planned):.0f} minutes."
    )


def _comments(seen: Folder, planned: Plan, gpu: bool) -> dict[str, str]:
    weights = "downloaded by timm" if gpu else "of an installed package"
    comments = {
        "seeds": "one run; more seeds give a spread: [0, 1, 2]",
        "dataset.root": "<category>/train/good, <category>/test/<defect>, <category>/ground_truth/<defect>",
        "dataset.image_size": "images are resized to this square",
        "backbone.weights": weights,
        "base.epochs": f"passes over {sum(seen.train.values())} training images",
        "base.memory": "features of normal images, for the base heatmap",
        "base.memory_stages": "the inner stages of the backbone find more than all of them",
        "base.balanced": "categories have different numbers of images" if _uneven(seen) else "all equal",
        "diffusion.images": f"training images seen, {planned.images // len(seen.train)} of each category",
        "base.accumulation": "parts of a batch, computed one after another, which fit into this GPU's memory",
        "diffusion.accumulation": "the same",
        "sampling.initial_index": "first timestep; follows the image size, as the noise within an area does",
        "sampling.grid_sizes": "sides of the hidden cells in pixels",
        "fusion.filter_size": "pixels; follows the image size",
        "fusion.base": "ours, beyond the paper; its own: base: transformer, weight: 0.9, centred: false",
        "methods": "quick; the self-check compares them with DRDC, and the best is recommended",
        "evaluation.sweeps": "measures the loss of `drdc detect --fast`",
    }
    if not seen.test:
        comments["dataset"] = "no test images: a detector is trained and exported, nothing is scored"
    elif not seen.masks:
        comments["dataset"] = "no masks: image metrics only"
    return {key: f"  # {words}" for key, words in comments.items()}
