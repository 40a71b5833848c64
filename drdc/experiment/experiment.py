"""A whole experiment: its sections together, what must fit between them, and reading it from a file."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError, field_validator, model_validator

from drdc.config.sections import (
    DOWNLOADS,
    Backbone,
    Base,
    Dataset,
    Diffusion,
    Evaluation,
    Fusion,
    Sampling,
    Section,
    setting,
    single_grid_size,
)
from drdc.config.variants import variants
from drdc.runtime.arguments import LARGEST_SEED
from drdc.runtime.errors import UserError

#: Names that the scores hold already, so that no other method can have them.
OWN_METHODS = ("base", "diffusion", "drdc", "random_map")
#: What stands beside the methods' names in image_scores.csv and in the gallery.
_TAKEN = ("experiment", "seed", "row", "path", "category", "split", "defect_type", "label")
TAKEN = (*OWN_METHODS, *_TAKEN, "backbone", "image", "truth", "outline", "reconstruction")


class Experiment(Section):
    """A whole experiment; the name gives the folder `results/<experiment>`."""

    experiment: str = setting(
        "mvtec", "ours", "Name of the experiment.", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
    )
    seeds: list[int] = setting(
        [0, 1, 2, 3, 4], "paper", "One complete run each (the paper averages five).", min_length=1
    )
    dataset: Dataset = setting(Dataset(), "paper", "The images.")
    backbone: Backbone = setting(Backbone(), "paper", "The feature extractor.")
    base: Base = setting(Base(), "paper", "The base model.")
    diffusion: Diffusion = setting(Diffusion(), "paper", "The diffusion model.")
    sampling: Sampling = setting(Sampling(), "paper", "The reverse chain.")
    fusion: Fusion = setting(Fusion(), "paper", "The fusion of the heatmaps.")
    evaluation: Evaluation = setting(Evaluation(), "ours", "Ablation, sensitivity and costs.")
    methods: dict[str, dict[str, Any]] = setting(
        {},
        "ours",
        "Methods to run beside DRDC: for each its name, and below it the settings that differ from the "
        "defaults; with `method`, another name than that of the method can be given.",
    )

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: list[int]) -> list[int]:
        if len(set(value)) < len(value) or not 0 <= min(value) <= max(value) <= LARGEST_SEED:
            raise ValueError(f"must be different whole numbers, 0 or larger and at most {LARGEST_SEED}")
        return value

    @field_validator("methods")
    @classmethod
    def _names(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not re.fullmatch("[a-z0-9][a-z0-9_-]*", name) or name in TAKEN:
                raise ValueError(
                    f"{name!r} cannot be a name here; take small letters, digits, '-' and '_', "
                    f"and none of {', '.join(TAKEN)}"
                )
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        for key, fault in _inconsistencies(self):
            raise ValueError(f"{key}: {fault}")
        return self


def load_experiment(source: str | Path | dict[str, Any]) -> Experiment:
    """Read and validate a whole experiment from a YAML file or a mapping.

    Raises:
        UserError: a file that is missing or not YAML, an unknown key or an impossible value.
    """
    name, mapping = read_mapping(source)
    experiment: Experiment = validated(Experiment, mapping, name, ())
    try:
        _check_sweeps(experiment)
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    return experiment.model_copy(update={"methods": _with_defaults(experiment.methods, name)})


def _with_defaults(methods: dict[str, dict[str, Any]], source: str) -> dict[str, dict[str, Any]]:
    """The methods with all their settings; UserError where one is not known or has a wrong setting."""
    from drdc.methods.registry import method_class  # only where needed: methods import torch

    complete = {}
    for name, given in methods.items():
        method = str(given.get("method", name))
        try:
            settings = method_class(method).Settings
        except UserError as error:
            raise UserError(f"{source}: methods.{name}: {error}") from None
        own = {key: value for key, value in given.items() if key != "method"}
        checked = validated(settings, own, source, ("methods", name))
        complete[name] = {"method": method, **checked.model_dump(mode="json")}
    return complete


def _check_sweeps(experiment: Experiment) -> None:
    """Raise UserError for a value of a sweep that does not fit the other settings."""
    for name, variant in variants(experiment.sampling, experiment.fusion, experiment.evaluation).items():
        changed = {"sampling": variant.sampling.model_dump(), "fusion": variant.fusion.model_dump()}
        try:
            Experiment.model_validate(experiment.model_dump(exclude={"evaluation"}) | changed)
        except ValidationError as error:
            item = error.errors()[0]
            place = ".".join(map(str, item["loc"]))
            message = f"{place}: {item['msg']}" if place else item["msg"].removeprefix("Value error, ")
            raise UserError(f"evaluation.sweeps, {name}: {message}") from None


def _inconsistencies(e: Experiment) -> list[tuple[str, str]]:
    """(key, what is wrong and the mend) of every fault."""
    size, levels = e.dataset.image_size, len(e.diffusion.multipliers)
    faults = [
        (f"{name}.grid_sizes", f"{k} does not divide dataset.image_size {size}; take a divisor of it")
        for name, section in (("sampling", e.sampling), ("diffusion", e.diffusion))
        for k in section.grid_sizes
        if k < 1 or size % k
    ]
    faults += [
        (f"{name}.disjoint_sets", f"{section.disjoint_sets} sets cannot be made of the cells of {k} pixels")
        for name, section in (("sampling", e.sampling), ("diffusion", e.diffusion))
        for k in section.grid_sizes
        if k >= 1 and section.disjoint_sets > (size // k) ** 2
    ]
    checks = [
        (
            size % 2 ** (levels - 1) != 0,
            "diffusion.multipliers",
            f"{levels} levels need a dataset.image_size divisible by {2 ** (levels - 1)}, not {size}",
        ),
        (e.diffusion.width % 32 != 0, "diffusion.width", f"{e.diffusion.width} is not a multiple of 32"),
        (
            any(level not in range(levels) for level in e.diffusion.attention_levels),
            "diffusion.attention_levels",
            f"levels are counted 0 to {levels - 1}",
        ),
        (
            e.sampling.initial_index > e.diffusion.timesteps,
            "sampling.initial_index",
            f"{e.sampling.initial_index} lies beyond diffusion.timesteps, {e.diffusion.timesteps}",
        ),
        (
            e.sampling.initial_index > e.diffusion.max_timestep,
            "sampling.initial_index",
            f"{e.sampling.initial_index} is never seen in training; raise diffusion.max_timestep",
        ),
        (
            e.diffusion.max_timestep > e.diffusion.timesteps,
            "diffusion.max_timestep",
            f"must be at most diffusion.timesteps, {e.diffusion.timesteps}",
        ),
        (
            e.sampling.steps > e.sampling.initial_index,
            "sampling.steps",
            f"{e.sampling.steps} different steps do not fit below sampling.initial_index",
        ),
        (
            e.base.hidden % e.base.heads != 0 or e.base.hidden % 2 != 0,
            "base.hidden",
            f"{e.base.hidden} must be even and a multiple of base.heads, {e.base.heads}",
        ),
        (
            e.base.neighbour_window % 2 == 0 and e.base.neighbour_window > 0,
            "base.neighbour_window",
            "must be odd, or 0",
        ),
        (
            e.base.neighbour_window // 2 >= e.backbone.feature_size // 2 and e.base.neighbour_window > 0,
            "base.neighbour_window",
            f"{e.base.neighbour_window} leaves the middle token nothing to attend to at backbone.feature_size"
            f" {e.backbone.feature_size}; take at most {2 * (e.backbone.feature_size // 2) - 1}",
        ),
        (
            e.fusion.filter_size % 2 == 0 or e.fusion.filter_size > size,
            "fusion.filter_size",
            f"{e.fusion.filter_size} must be odd and at most dataset.image_size, {size}",
        ),
        (
            e.fusion.grid_sizes is not None
            and not (e.fusion.grid_sizes and set(e.fusion.grid_sizes) <= set(e.sampling.grid_sizes)),
            "fusion.grid_sizes",
            f"{e.fusion.grid_sizes} must be some of sampling.grid_sizes, {e.sampling.grid_sizes}",
        ),
        (
            e.fusion.timesteps == "last"
            and (e.fusion.scales != [1] or e.fusion.grid_sizes != [single_grid_size(e.sampling)]),
            "fusion.timesteps",
            f"the last one alone is stored at scale 1 of grid size {single_grid_size(e.sampling)};"
            " set fusion.scales and fusion.grid_sizes to these",
        ),
        (
            e.evaluation.seeds is not None
            and not (e.evaluation.seeds and set(e.evaluation.seeds) <= set(e.seeds)),
            "evaluation.seeds",
            f"{e.evaluation.seeds} must be some of the experiment's seeds, {e.seeds}",
        ),
        (
            e.evaluation.ablation and not e.diffusion.model_conditioning,
            "evaluation.ablation",
            "compares with a conditional model; set diffusion.model_conditioning to true",
        ),
        (e.fusion.pool_size > size, "fusion.pool_size", f"must be at most dataset.image_size, {size}"),
        (
            e.dataset.name in DOWNLOADS and e.dataset.root is None,
            "dataset.root",
            "is missing; name the folder that holds the categories",
        ),
        (
            e.dataset.download and e.dataset.name not in DOWNLOADS,
            "dataset.download",
            f"is for {', '.join(DOWNLOADS)} alone; set it to false",
        ),
    ]
    return faults + [(key, fault) for wrong, key, fault in checks if wrong]


def read_mapping(source: str | Path | dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(what messages call it, its content) of a YAML or JSON file or a mapping."""
    if isinstance(source, dict):
        return "configuration", source
    name = str(source)
    read = json.loads if name.endswith(".json") else yaml.safe_load  # YAML would take 1e-05 for a text
    try:
        loaded = read(Path(source).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: cannot be read ({error}); name an existing YAML file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # values too: a number of 5,000 digits
        kind = "JSON" if read is json.loads else "YAML"
        raise UserError(f"{name}: is not valid {kind} ({' '.join(str(error).split())})") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{name}: must hold keys and values, like config/config.yaml")
    return name, loaded


def as_in_a_file(config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`config` with the part that `--config` gave as a YAML file with the same words would give it.

    Snakemake hands over what stands within brackets or braces as text: `null`, `true` and every number. A
    text stays one where nothing else fits, like the category 01.
    """
    read = _merged(config, _from_text(given))
    try:
        Experiment.model_validate(read)
    except ValidationError as error:
        for item in error.errors():
            _restore(read, given, item["loc"])
    return read


def _merged(config: Any, changes: Any) -> Any:
    if not isinstance(config, dict) or not isinstance(changes, dict):
        return changes
    return config | {key: _merged(config.get(key), value) for key, value in changes.items()}


def _from_text(value: Any) -> Any:
    """All texts within a value as the number, truth value or nothing that they are in YAML, if they are."""
    if isinstance(value, dict):
        return {key: _from_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_text(item) for item in value]
    try:
        read = yaml.safe_load(value) if isinstance(value, str) else value
    except (yaml.YAMLError, ValueError):
        return value
    return read if read is None or isinstance(read, bool | int | float) else value


def _restore(read: Any, given: Any, place: tuple[int | str, ...]) -> None:
    """Put the text that was given at a place back there, if it was one."""
    *above, last = place or ("",)
    try:
        for key in above:
            read, given = read[key], given[key]
        if isinstance(given[last], str):
            read[last] = given[last]
    except (KeyError, IndexError, TypeError):  # a fault of the file, or of several keys together
        return


def validated(model: Any, mapping: Any, name: str, prefix: tuple[str, ...]) -> Any:
    """A value of a pydantic type; UserError with one sentence for each fault of `mapping`."""
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
