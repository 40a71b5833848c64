"""An experiment's settings, from a file to the stages: a sentence for each fault, and what a stage sees."""

from __future__ import annotations

import difflib
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from drdc.config import Experiment
from drdc.errors import UserError
from drdc.variants import FULL, Stored, check, stored, variants

#: The settings that each stage uses: a rule is run again when one of them changes, and by no other.
USES: dict[str, tuple[str, ...]] = {
    "prepare": ("dataset",),
    "features": ("dataset", "backbone"),
    "train_base": ("base",),
    "train_diffusion": ("diffusion",),
    "predict": ("sampling", "stored"),
    "score": ("dataset", "backbone", "base", "diffusion", "sampling", "fusion", "variant", "stored"),
    "collect": ("seeds", "sampling", "fusion", "evaluation"),
    "costs": ("seeds", "backbone", "sampling", "timed_steps"),
    "tables": ("seeds", "sampling", "fusion", "evaluation"),
    "figures": ("seeds", "sampling", "fusion", "evaluation"),
    "gallery": ("seeds", "fusion"),
    "about": tuple(name for name in Experiment.model_fields if name != "experiment"),
    "salvage": tuple(name for name in Experiment.model_fields if name != "experiment"),
}


def load_experiment(source: str | Path | dict[str, Any]) -> Experiment:
    """Read and validate a whole experiment from a YAML file or a mapping.

    Raises:
        UserError: a file that is missing or not YAML, an unknown key or an impossible value.
    """
    name, mapping = _mapping(source)
    experiment: Experiment = _validate(Experiment, mapping, name, ())
    try:
        check(experiment)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    return experiment


def stage_settings(stage: str, source: str | Path, variant: str = FULL) -> tuple[str, dict[str, Any]]:
    """Name of the experiment and the settings that `stage` uses (see `USES`), as a variant has them.

    `source` is a YAML file, validated as a whole, or an inline JSON object with just those settings, which
    is how the workflow hands over exactly what a rule depends on.
    """
    if not str(source).lstrip().startswith("{"):
        experiment = load_experiment(source)
        return experiment.experiment, _used(experiment, stage, variant)
    name, mapping = _mapping(source)
    keys = ("experiment", *USES[stage])
    if missing := [key for key in keys if key not in mapping]:
        raise UserError(f"{name}: the key {missing[0]!r} is missing; {stage} uses it")
    types: dict[str, Any] = {k: Annotated[f.annotation, f] for k, f in Experiment.model_fields.items()}
    types |= {"variant": str, "stored": Stored, "timed_steps": list[int]}
    used = {key: _validate(types[key], mapping[key], name, (key,)) for key in keys}
    return used.pop("experiment"), used


def inline(experiment: Experiment, stage: str, variant: str = FULL) -> str:
    """The settings that `stage` uses as one line of JSON, as `stage_settings` reads it."""
    used = {"experiment": experiment.experiment} | _used(experiment, stage, variant)
    return json.dumps(used, separators=(",", ":"), default=_plain)


def _used(experiment: Experiment, stage: str, name: str) -> dict[str, Any]:
    every = variants(experiment.sampling, experiment.fusion, experiment.evaluation)
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
    return {key: values[key] for key in USES[stage]}


def _plain(section: Any) -> Any:
    return section.model_dump(mode="json")


def config_hash(settings: dict[str, Any]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the settings: the same settings, the same hash."""
    text = json.dumps(settings, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _mapping(source: str | Path | dict[str, Any]) -> tuple[str, dict[str, Any]]:
    if isinstance(source, dict):
        return "configuration", source
    inline_text = str(source).lstrip().startswith("{")
    name = "--config" if inline_text else str(source)
    try:
        loaded = yaml.safe_load(str(source) if inline_text else Path(source).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: cannot be read ({error}); name an existing YAML file") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name}: is not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{name}: must hold keys and values, like config/config.yaml")
    return name, loaded


def _validate(model: Any, mapping: Any, name: str, prefix: tuple[str, ...]) -> Any:
    try:
        return TypeAdapter(model).validate_python(mapping)
    except ValidationError as error:
        lines = [f"{name}: {_sentence(model, item, prefix)}" for item in error.errors()]
        raise UserError("\n".join(lines)) from None


def _sentence(model: Any, item: Any, prefix: tuple[str, ...]) -> str:
    """One clear sentence for one fault that pydantic found."""
    key = ".".join(str(part) for part in (*prefix, *item["loc"]))
    if item["type"] == "extra_forbidden":
        section = model
        for part in item["loc"][:-1]:
            section = section.model_fields[part].annotation
        near = difflib.get_close_matches(str(item["loc"][-1]), section.model_fields, 1, 0.5)
        mend = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(section.model_fields)}"
        return f"unknown key {key!r}; {mend}"
    message = item["msg"].removeprefix("Value error, ")
    if not key:
        return message
    given = f" (given: {item['input']!r})" if item["type"] != "missing" else ""
    return f"{key}: {message[0].lower()}{message[1:]}{given}"
