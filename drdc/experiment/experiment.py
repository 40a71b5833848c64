"""A whole experiment: all sections, what must be consistent between them, and reading it from a file."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter, ValidationError, field_validator

from drdc.config.backbone import Backbone
from drdc.config.base import Base
from drdc.config.dataset import Dataset
from drdc.config.diffusion import Diffusion
from drdc.config.entry import Entry, own_settings
from drdc.config.evaluation import Evaluation
from drdc.config.fusion import Fusion
from drdc.config.sampling import Sampling, single_grid_size
from drdc.config.section import MOST_IMAGES, Section, setting
from drdc.config.study import Study
from drdc.config.variants import BEYOND, variants
from drdc.data.datasets import READERS, SOURCES
from drdc.runtime.arguments import LARGEST_SEED
from drdc.runtime.errors import UserError, UserErrors, first_line

#: Characters of a wrong value that a message shows.
LONGEST_VALUE = 200
#: Names of DRDC in scores and files, and of the gallery's pictures: no other method can have them.
TAKEN = (
    *("base", "diffusion", "drdc", "random_map"),
    *BEYOND,
    "unconditional",
    "full",
    "raw",
    "controls",
    "backbone",
    "image",
    "truth",
    "outline",
    "reconstruction",
)


@dataclass(frozen=True)
class Fault:
    """Something wrong with a configuration.

    Attributes:
        keys: the settings that it concerns, `section.name`; the first is the one to name.
        problem, fix: what is wrong, and what to do.
    """

    keys: tuple[str, ...]
    problem: str
    fix: str

    @property
    def section(self) -> str:
        """Where in a configuration it stands."""
        return self.keys[0].partition(".")[0]

    def error(self, place: str) -> UserError:
        """What to raise for a configuration that is called `place`."""
        return UserError(self.keys[0], self.problem, self.fix).within(place)

    def follows_from(self, others: Iterable[Fault]) -> bool:
        """Whether a setting that it concerns is itself wrong, so that this one may be gone with the other."""
        wrong = [other.keys[0] for other in others]
        return any(_within(key, own) or _within(own, key) for key in self.keys for own in wrong)


def _within(key: str, section: str) -> bool:
    return key == section or key.startswith(f"{section}.")


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
    study: Study = setting(Study(), "ours", "The same with other training data.")
    methods: dict[str, dict[str, Any]] = setting(
        {},
        "ours",
        "Methods to compare DRDC with: names, each with the settings that differ from the defaults; `method` "
        "names the method where the entry has another name, `label` and `citation` are shown.",
    )
    reported: list[str] = setting(
        [], "ours", "CSV files of numbers from other work, which tables show next to ours."
    )

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: list[int]) -> list[int]:
        if len(set(value)) < len(value) or not 0 <= min(value) <= max(value) <= LARGEST_SEED:
            raise ValueError(f"must be different non-negative integers, at most {LARGEST_SEED}")
        return value


def load_experiment(source: str | Path | dict[str, Any]) -> Experiment:
    """Read and validate a whole experiment from a YAML file or a mapping.

    Raises:
        UserError: a file that is missing or not YAML.
        UserErrors: unknown keys and impossible values, all of them, in the order of the file.
    """
    name, mapping = read_mapping(source)
    return checked(mapping, name)


def checked(mapping: dict[str, Any], place: str) -> Experiment:
    """The experiment of a mapping, each setting right by itself and together with the others.

    Args:
        place: what messages call it.

    Raises:
        UserErrors: with everything that is wrong, in the order of the mapping's sections.
    """
    experiment, faults = _read(mapping)
    together = inconsistencies(experiment)
    together += _sweep_faults(experiment, together)
    faults += [fault for fault in together if not fault.follows_from(faults)]
    methods, of_methods = _with_defaults(experiment.methods)
    if faults := faults + of_methods:
        order = list(dict.fromkeys(map(str, (*mapping, *Experiment.model_fields))))
        faults.sort(key=lambda fault: order.index(fault.section) if fault.section in order else len(order))
        raise UserErrors(*(fault.error(place) for fault in faults))
    return experiment.model_copy(update={"methods": methods})


def _read(mapping: dict[str, Any]) -> tuple[Experiment, list[Fault]]:
    """An experiment, with the default in place of each setting that is wrong by itself; and what is wrong."""
    try:
        return Experiment.model_validate(mapping), []
    except ValidationError as error:
        items = error.errors()
    sound = reduce(_without, (item["loc"] for item in items), mapping)
    return Experiment.model_validate(sound), [_fault(Experiment, item, ()) for item in items]


def _without(mapping: dict[Any, Any], place: tuple[int | str, ...]) -> dict[Any, Any]:
    """The mapping without the setting at a place, or without that which holds it."""
    key, *rest = place
    inner = mapping.get(key)
    if rest and isinstance(inner, dict) and rest[0] in inner:
        return mapping | {key: _without(inner, tuple(rest))}
    return {own: value for own, value in mapping.items() if own != key}


def _with_defaults(methods: dict[str, dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], list[Fault]]:
    """The methods with all their settings, and what is wrong with their names and settings."""
    from drdc.methods.registry import method_class  # not at the top, because methods import torch

    complete, faults = {}, []
    for name, given in methods.items():
        if not re.fullmatch("[a-z0-9][a-z0-9_-]*", name) or name in TAKEN:
            fix = f"use small letters, digits, '-' and '_', and none of {', '.join(TAKEN)}"
            faults.append(Fault((f"methods.{name}",), f"{name!r} cannot be the name of a method", fix))
        entry = {key: value for key, value in given.items() if key in Entry.model_fields}
        own = own_settings(given)
        method = str(entry.get("method") or name)
        model: type[Section] = Entry
        try:
            about = Entry.model_validate(entry | {"method": method})
            model = method_class(method).Settings
            settings = model.model_validate(own)
            complete[name] = {**about.model_dump(exclude_defaults=True), **settings.model_dump(mode="json")}
        except UserError as error:
            faults.append(Fault((f"methods.{name}",), error.problem, error.fix))
        except ValidationError as error:
            faults += [_fault(model, item, ("methods", name)) for item in error.errors()]
    return complete, [*faults, *_label_faults(complete)]


def _label_faults(methods: dict[str, dict[str, Any]]) -> Iterator[Fault]:
    """Labels that are also the name of another method, so that no reader could tell them apart."""
    used = {*methods, *TAKEN}
    for name, own in methods.items():
        label = own.get("label", name)
        alike = label.casefold().replace(" ", "_")
        if label != name and alike in used - {name}:
            key = f"methods.{name}.label"
            yield Fault((key,), f"{label!r} is the name of another method", "give each a name of its own")
        used.add(alike)


def _sweep_faults(experiment: Experiment, known: Collection[Fault]) -> Iterator[Fault]:
    """What is wrong with the values of a sweep, apart from what is `known` to be wrong without them."""
    for name, variant in variants(experiment.sampling, experiment.fusion, experiment.evaluation).items():
        changed = {"sampling": variant.sampling.model_dump(), "fusion": variant.fusion.model_dump()}
        varied, faults = _read(experiment.model_dump(exclude={"evaluation", "methods"}) | changed)
        for fault in faults or inconsistencies(varied):
            if fault not in known:
                yield replace(fault, keys=(f"evaluation.sweeps, {name}: {fault.keys[0]}", *fault.keys))


def inconsistencies(e: Experiment) -> list[Fault]:
    """What is wrong between the settings of an experiment that are right by themselves."""
    size, levels = e.dataset.image_size, len(e.diffusion.multipliers)
    grids = [
        (name, section.disjoint_sets, k)
        for name, section in (("sampling", e.sampling), ("diffusion", e.diffusion))
        for k in section.grid_sizes
    ]
    faults = [
        Fault(
            (f"{name}.grid_sizes", "dataset.image_size"),
            f"{k} does not divide dataset.image_size {size}",
            "take a divisor of it",
        )
        for name, _, k in grids
        if k < 1 or size % k
    ]
    faults += [
        Fault(
            (f"{name}.disjoint_sets", f"{name}.grid_sizes", "dataset.image_size"),
            f"{sets} sets do not fit into the cells of {k} pixels",
            f"take at most {(size // k) ** 2}, or smaller cells",
        )
        for name, sets, k in grids
        if 1 <= k <= size and sets > (size // k) ** 2
    ]
    faults += [Fault(*fault) for wrong, *fault in _checks(e, size, levels) if wrong]
    return [*faults, *_study_faults(e)]


def most_of_study(e: Experiment) -> int:
    """The value of a study over images or categories that leaves nothing out, as `all` does.

    A configuration does not say how many images a folder holds; of these it is a bound.
    """
    if e.study.over == "categories":
        return len(e.dataset.categories)
    return e.dataset.synthetic.train if e.dataset.name == "synthetic" else MOST_IMAGES


def _study_faults(e: Experiment) -> Iterator[Fault]:
    """Values of a study that are impossible, or the same."""
    over, most = e.study.over, most_of_study(e)
    least = 1 if over == "categories" else 2
    must = f"name integers from {least} to {most}, or all"
    if over == "defective":
        must = "name shares from 0 to below 1"
    keys = ("study.values", "study.over", "dataset.name", "dataset.categories", "dataset.synthetic.train")
    known: dict[float, float | str] = {}
    for value in e.study.values:
        if over == "defective":
            possible = not isinstance(value, str) and 0 <= value < 1
        else:
            possible = isinstance(value, str) or (isinstance(value, int) and least <= value <= most)
        number = most if isinstance(value, str) else value
        if not possible:
            yield Fault(keys, f"{value} is not possible over {over}", must)
        elif number in known:
            yield Fault(keys, f"{known[number]} and {value} are the same", "name one of them")
        else:
            known[number] = value


def _checks(e: Experiment, size: int, levels: int) -> list[tuple[Any, ...]]:
    """(whether it is wrong, the keys that it concerns, the problem, the fix) for each rule."""
    grid_size = single_grid_size(e.sampling)
    conditional, conditioned = e.diffusion.model_conditioning, e.sampling.test_time_conditioning
    widest = 2 * (e.backbone.feature_size // 2) - 1
    return [
        (
            size % 2 ** (levels - 1) != 0,
            ("diffusion.multipliers", "dataset.image_size"),
            f"{levels} levels halve dataset.image_size {size} to a fraction",
            f"take fewer levels, or an image size divisible by {2 ** (levels - 1)}",
        ),
        (
            e.diffusion.width % 32 != 0,
            ("diffusion.width",),
            f"{e.diffusion.width} is not a multiple of 32",
            "take one, as group normalisation needs it",
        ),
        (
            any(level not in range(levels) for level in e.diffusion.attention_levels),
            ("diffusion.attention_levels", "diffusion.multipliers"),
            f"{e.diffusion.attention_levels} names a level that diffusion.multipliers does not have",
            f"levels are counted 0 to {levels - 1}",
        ),
        (
            e.sampling.initial_index > e.diffusion.timesteps,
            ("sampling.initial_index", "diffusion.timesteps"),
            f"{e.sampling.initial_index} lies beyond diffusion.timesteps, {e.diffusion.timesteps}",
            "lower it",
        ),
        (
            e.diffusion.timesteps >= e.sampling.initial_index > e.diffusion.max_timestep,
            ("sampling.initial_index", "diffusion.timesteps", "diffusion.max_timestep"),
            f"{e.sampling.initial_index} is never seen in training",
            "raise diffusion.max_timestep",
        ),
        (
            e.diffusion.max_timestep > e.diffusion.timesteps,
            ("diffusion.max_timestep", "diffusion.timesteps"),
            f"{e.diffusion.max_timestep} lies beyond diffusion.timesteps, {e.diffusion.timesteps}",
            "lower it",
        ),
        (
            e.sampling.steps > e.sampling.initial_index,
            ("sampling.steps", "sampling.initial_index"),
            f"{e.sampling.steps} different steps do not fit below sampling.initial_index",
            f"take at most {e.sampling.initial_index}",
        ),
        (
            e.base.hidden % e.base.heads != 0 or e.base.hidden % 2 != 0,
            ("base.hidden", "base.heads"),
            f"{e.base.hidden} does not divide evenly among base.heads, {e.base.heads}",
            "it must be even and a multiple of base.heads",
        ),
        (
            e.base.neighbour_window % 2 == 0 and e.base.neighbour_window > 0,
            ("base.neighbour_window",),
            f"{e.base.neighbour_window} has no token in its middle",
            "it must be odd, or 0",
        ),
        (
            e.base.neighbour_window % 2 == 1 and e.base.neighbour_window > widest,
            ("base.neighbour_window", "backbone.feature_size"),
            f"{e.base.neighbour_window} leaves the middle token nothing to attend to at backbone.feature_size"
            f" {e.backbone.feature_size}",
            f"take at most {widest}",
        ),
        (
            e.fusion.filter_size % 2 == 0 or e.fusion.filter_size > size,
            ("fusion.filter_size", "dataset.image_size"),
            f"{e.fusion.filter_size} does not fit",
            f"it must be odd and at most dataset.image_size, {size}",
        ),
        (
            e.fusion.grid_sizes is not None
            and not (e.fusion.grid_sizes and set(e.fusion.grid_sizes) <= set(e.sampling.grid_sizes)),
            ("fusion.grid_sizes", "sampling.grid_sizes"),
            f"{e.fusion.grid_sizes} are not among those predicted",
            f"take some of sampling.grid_sizes, {e.sampling.grid_sizes}",
        ),
        (
            e.fusion.timesteps == "last" and (e.fusion.scales != [1] or e.fusion.grid_sizes != [grid_size]),
            ("fusion.timesteps", "fusion.scales", "fusion.grid_sizes", "sampling.grid_sizes"),
            f"the last one alone is stored at scale 1 of grid size {grid_size}",
            "set fusion.scales and fusion.grid_sizes to these",
        ),
        (
            e.fusion.pool_size > size,
            ("fusion.pool_size", "dataset.image_size"),
            f"{e.fusion.pool_size} is larger than dataset.image_size",
            f"take at most {size}",
        ),
        (
            e.evaluation.seeds is not None
            and not (e.evaluation.seeds and set(e.evaluation.seeds) <= set(e.seeds)),
            ("evaluation.seeds", "seeds"),
            f"{e.evaluation.seeds} are not among the experiment's seeds",
            f"take some of {e.seeds}",
        ),
        (
            bool(e.evaluation.sweeps.raw_weight) and e.fusion.normalisation == "none",
            ("evaluation.sweeps.raw_weight", "fusion.normalisation"),
            "repeats the experiment's own fusion, which is that of raw maps",
            "list the values in evaluation.sweeps.weight",
        ),
        (
            (e.evaluation.beyond or e.fusion.base == "memory") and not e.base.memory,
            ("base.memory", "fusion.base", "evaluation.beyond"),
            "0 leaves no memory bank, which fusion.base or evaluation.beyond asks for",
            "set it above 0, for example to 40000",
        ),
        (
            e.base.memory_stages is not None and not e.base.memory,
            ("base.memory_stages", "base.memory"),
            "chooses from a memory bank, but there is none",
            "set base.memory above 0",
        ),
        (
            not {*(e.base.memory_stages or [])}
            <= {stage for own in e.backbone.networks for stage in own.stages},
            ("base.memory_stages", "backbone.stages"),
            f"{e.base.memory_stages} are not among the backbone's stages",
            "take some of backbone.stages",
        ),
        (
            e.evaluation.beyond and (e.fusion.base != "transformer" or e.fusion.centred),
            ("evaluation.beyond", "fusion.base", "fusion.centred"),
            "compares with the paper's fusion",
            "set fusion.base to transformer and fusion.centred to false, or evaluation.beyond to false",
        ),
        *(
            (
                e.evaluation.ablation and not whole,
                ("evaluation.ablation", key),
                f"compares the parts of DRDC, which {what}",
                f"set {key} to {value}, or evaluation.ablation to false",
            )
            for key, value, whole, what in (
                ("diffusion.model_conditioning", "true", conditional, "has a conditional model"),
                ("sampling.test_time_conditioning", "true", conditioned, "uses test-time conditioning"),
                ("fusion.timesteps", "all", e.fusion.timesteps == "all", "fuses all timesteps"),
                ("fusion.base_scales", "[1]", e.fusion.base_scales == [1], "has one base heatmap"),
            )
        ),
        (
            e.dataset.name not in READERS,
            ("dataset.name",),
            f"{e.dataset.name!r} is unknown",
            f"choose one of {', '.join(READERS)}",
        ),
        (
            e.dataset.name in SOURCES and e.dataset.root is None,
            ("dataset.root", "dataset.name"),
            "is missing",
            "name the folder that holds the categories",
        ),
        (
            e.dataset.download and e.dataset.name not in SOURCES,
            ("dataset.download", "dataset.name"),
            f"is for {', '.join(SOURCES)} alone",
            "set it to false",
        ),
    ]


def read_mapping(source: str | Path | dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """(what messages call it, its content) of a YAML or JSON file or a mapping."""
    if isinstance(source, dict):
        return "configuration", source
    name = str(source)
    read = json.loads if name.endswith(".json") else _read_yaml  # YAML would read 1e-05 as text
    try:
        loaded = read(Path(source).read_text("utf-8"))
    except UserError as error:
        raise error.within(name) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(name, f"cannot be read ({first_line(error)})", "name an existing YAML file") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # values too: a number of 5,000 digits
        kind = "JSON" if read is json.loads else "YAML"
        raise UserError(name, f"is not valid {kind} ({' '.join(str(error).split())})", "correct it") from None
    if not isinstance(loaded, dict):
        raise UserError(name, "does not hold keys and values", "write it like config/config.yaml")
    return name, loaded


class _Loader(yaml.SafeLoader):
    """Refuses a key that is written twice, of which YAML would silently take the second."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag.endswith(":merge"):  # of `<<` none is lost
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                fault = f"is written in line {lines[name]} and again in line {line}"
                raise UserError(key.value, fault, "keep one of them")
            lines[name] = line
        return node


def _read_yaml(text: str) -> Any:
    return yaml.load(text, _Loader)


def as_in_a_file(config: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """`config` with the part that `--config` gave as a YAML file with the same words would give it.

    Snakemake passes everything within brackets or braces as text: `null`, `true` and every number. It stays
    a text where nothing else fits, like the category 01.
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
    *above, last = place
    try:
        for key in above:
            read, given = read[key], given[key]
        if isinstance(given[last], str):
            read[last] = given[last]
    except (KeyError, IndexError, TypeError):  # a fault of the file
        return


def validated(model: Any, mapping: Any, name: str, prefix: tuple[str, ...]) -> Any:
    """A value of a pydantic type; UserErrors with one sentence for each fault of `mapping`."""
    try:
        return TypeAdapter(model).validate_python(mapping)
    except ValidationError as error:
        faults = [_fault(model, item, prefix) for item in error.errors()]
        raise UserErrors(*(fault.error(name) for fault in faults)) from None


def _fault(model: Any, item: Any, prefix: tuple[str, ...]) -> Fault:
    """One fault that pydantic found."""
    keys = (".".join(str(part) for part in (*prefix, *item["loc"])),)
    if item["type"] == "extra_forbidden":
        section = model
        for part in item["loc"][:-1]:
            listed = isinstance(part, int)
            section = get_args(section)[0] if listed else section.model_fields[part].annotation
            if isinstance(section, UnionType):  # of a section that may be left out
                section = get_args(section)[0]
        near = difflib.get_close_matches(str(item["loc"][-1]), section.model_fields, 1, 0.5)
        known = f"known: {', '.join(section.model_fields)}"
        return Fault(keys, "unknown key", f"did you mean {near[0]!r}?" if near else known)
    if item["type"] == "missing":
        return Fault(keys, "is missing", "add it")
    own = item.get("ctx", {}).get("error")  # of a validator of ours
    must = str(own) if own else f"{item['msg'][0].lower()}{item['msg'][1:]}"
    return Fault(keys, f"invalid value {_shortened(item['input'])}", must)


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}..."
