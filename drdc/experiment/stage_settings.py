"""What each stage sees of an experiment's settings, and how it is handed over."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from drdc.config.variants import FULL, Stored, Variant, stored, variants
from drdc.experiment.experiment import Experiment, load_experiment, read_mapping, validated
from drdc.methods.registry import Configured
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic

ALL = tuple(name for name in Experiment.model_fields if name != "experiment")
#: The settings that each stage uses: a rule is run again when one of them changes, and by no other.
USES: dict[str, tuple[str, ...]] = {
    "download": ("dataset",),
    "weights": ("backbone",),
    "method_weights": ("method",),
    "prepare": ("dataset",),
    "images": ("dataset",),
    "features": ("backbone",),
    "train_base": ("base",),
    "train_diffusion": ("diffusion",),
    "predict": ("sampling", "stored"),
    "score": ("dataset", "backbone", "base", "diffusion", "sampling", "fusion", "variant", "stored"),
    "train_system": ("method",),
    "predict_system": ("method",),
    "score_system": ("dataset", "backbone", "method"),
    "export_system": ("seeds", "dataset", "backbone", "method"),
    "export": ("seeds", "dataset", "backbone", "base", "diffusion", "sampling", "fusion"),
    "collect": ("seeds", "sampling", "fusion", "evaluation", "methods"),
    "costs": ("seeds", "backbone", "sampling", "timed_steps", "methods"),
    "tables": ("seeds", "backbone", "sampling", "fusion", "evaluation", "methods"),
    "figures": ("seeds", "sampling", "fusion", "evaluation", "methods"),
    "gallery": ("seeds", "fusion", "methods"),
    "about": ALL,
    "salvage": ALL,
}


def stage_settings(
    stage: str, source: str | Path, variant: str = FULL, method: str = ""
) -> tuple[str, dict[str, Any]]:
    """Name of the experiment and the settings that `stage` uses (see `USES`), of a variant or a method.

    `source` is a YAML file, validated as a whole, or a `Handed` file with just those settings, which is how
    the workflow hands over exactly what a rule depends on.
    """
    name, mapping = read_mapping(source)
    if "stage" not in mapping:
        experiment = load_experiment(source)
        return experiment.experiment, used_by(experiment, stage, variant, method)
    _check_handed(Path(source), mapping["stage"], stage)
    keys = ("experiment", *USES[stage])
    if missing := [key for key in keys if key not in mapping]:
        raise UserError(f"{name}: the key {missing[0]!r} is missing; {stage} uses it")
    types: dict[str, Any] = {k: Annotated[f.annotation, f] for k, f in Experiment.model_fields.items()}
    types |= {"variant": str, "stored": Stored, "timed_steps": list[int], "method": Configured}
    used = {key: validated(types[key], mapping[key], name, (key,)) for key in keys}
    return used.pop("experiment"), used


@dataclass(frozen=True)
class Handed:
    """The settings that a stage uses, in a file that is named by their SHA-256: other settings, another name.

    Attributes:
        path: where `stage_settings` expects them, below the experiment's folder.
        text: one line of JSON.
    """

    path: Path
    text: str

    def write(self) -> None:
        """Write the file, unless it is there already."""
        if not self.path.is_file() or self.path.read_text(encoding="utf-8") != self.text:
            with atomic(self.path) as part:
                part.write_text(self.text, encoding="utf-8")


def handed(experiment: Experiment, stage: str, variant: str = FULL, method: str = "") -> Handed:
    """The settings of `experiment` that `stage` uses, as the workflow hands them over."""
    return _handed(experiment, stage, used_by(experiment, stage, variant, method))


def _handed(experiment: Experiment, stage: str, own: dict[str, Any]) -> Handed:
    used = {"stage": stage, "experiment": experiment.experiment} | own
    text = json.dumps(used, separators=(",", ":"), default=_plain)
    return Handed(Layout(experiment.experiment).handed(stage, _digest(text)), text)


def all_handed(experiment: Experiment) -> Iterator[Handed]:
    """`handed` for every stage, variant and method of `experiment`."""
    every = _variants(experiment)
    for stage, keys in USES.items():
        for variant in every if "stored" in keys else [FULL]:
            for method in experiment.methods if "method" in keys else [""]:
                yield _handed(experiment, stage, _used(experiment, stage, every, variant, method))


def _check_handed(path: Path, holds: str, wanted: str) -> None:
    if _digest(path.read_text(encoding="utf-8")) != path.stem.rpartition("-")[2]:
        raise UserError(f"{path}: is damaged or was changed; remove it and start the workflow again")
    if holds != wanted:
        raise UserError(f"{path}: holds the settings of {holds}; name those of {wanted}, or a YAML file")


def used_by(experiment: Experiment, stage: str, name: str = FULL, method: str = "") -> dict[str, Any]:
    """The settings of `experiment` that `stage` uses, of a variant or a method; UserError if unknown."""
    return _used(experiment, stage, _variants(experiment), name, method)


def _variants(experiment: Experiment) -> dict[str, Variant]:
    return variants(experiment.sampling, experiment.fusion, experiment.evaluation)


def _used(
    experiment: Experiment, stage: str, every: dict[str, Variant], name: str, method: str
) -> dict[str, Any]:
    if name not in every:
        raise UserError(f"variant {name!r} is not part of {experiment.experiment}; known: {', '.join(every)}")
    variant = every[name]
    values = {key: getattr(experiment, key) for key in Experiment.model_fields} | {
        "sampling": variant.sampling,
        "fusion": variant.fusion,
        "variant": variant.name,
        "stored": stored(every, variant.predictions),
        "timed_steps": experiment.evaluation.costs,
    }
    if "method" in USES[stage]:
        values["method"] = _configured(experiment, method)
    return {key: values[key] for key in USES[stage]}


def _configured(experiment: Experiment, name: str) -> Configured:
    if name not in experiment.methods:
        known = ", ".join(experiment.methods) or "none; add it below `methods` in the configuration"
        raise UserError(f"method {name!r} is not part of {experiment.experiment}; known: {known}")
    own = dict(experiment.methods[name])
    return Configured(name=name, method=own.pop("method"), settings=own)


def _plain(section: Any) -> Any:
    return section.model_dump(mode="json")


def config_hash(settings: dict[str, Any]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the settings: the same settings, the same hash."""
    return _digest(json.dumps(settings, sort_keys=True, default=_plain))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
