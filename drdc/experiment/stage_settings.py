"""Which settings of an experiment each stage uses, and how the workflow passes them on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from drdc.config.backbone import Backbone, other_backbone
from drdc.config.departures import departures
from drdc.config.described import Described
from drdc.config.entry import own_settings
from drdc.config.reported import Reported
from drdc.config.variants import BACKBONE, CONTROLS, DRDC, FULL, Stored, Variant, stored, variants
from drdc.data.datasets import READERS
from drdc.experiment.experiment import Experiment, load_experiment, read_mapping, validated
from drdc.methods.registry import Configured, method_class, pretrained_networks
from drdc.models.pretrained import Pretrained
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic
from drdc.runtime.identity import fingerprint_of, fingerprint_of_text

#: Hexadecimal digits of a hash of settings.
_DIGITS = 12
_EVERY = tuple(name for name in Experiment.model_fields if name != "experiment")
_OF_DRDC = ("dataset", "backbone", "base", "diffusion", "sampling", "fusion")
_OF_REPORTS = ("seeds", "image_size", "sampling", "fusion", "evaluation", "study", "described")
_OF_A_METHOD = ("dataset", "backbone", "method")
#: The settings that each stage uses: a rule is run again when one of them changes, and by no other.
USES: dict[str, tuple[str, ...]] = {
    "download": ("dataset",),
    "prepare": ("dataset",),
    "images": ("dataset",),
    "features": ("backbone",),
    "groups": (),
    "costs": ("seeds", "image_size", "backbone", "sampling", "base_map", "timed_steps", "trained"),
    "collect": ("seeds", "sampling", "fusion", "evaluation", "names"),
    "tables": (*_OF_REPORTS, "reported_numbers", "reader"),
    "figures": _OF_REPORTS,
    "gallery": ("seeds", "image_size", "fusion", "described"),
    "about": _EVERY,
    "partial_report": _EVERY,
    "recommend": _EVERY,
    "points": _EVERY,
    "gather": _EVERY,
}
#: The same of the stages that all methods go through: of DRDC's parts by name, of `ANY` other method, and of
#: one that is `IMPORTED`, where it needs more.
ANY, IMPORTED = "*", "imported"
USES_OF: dict[str, dict[str, tuple[str, ...]]] = {
    "weights": {BACKBONE: ("backbone",), ANY: ("method",)},
    "train": {
        "base": ("backbone", "base"),
        "diffusion": ("image_size", "diffusion"),
        "unconditional": ("image_size", "diffusion"),
        ANY: ("image_size", "method"),
    },
    "predict": {
        FULL: ("image_size", "sampling", "stored"),
        ANY: ("image_size", "method"),
        IMPORTED: ("image_size", "method", "imported"),
    },
    "score": {FULL: (*_OF_DRDC, "variant", "stored"), CONTROLS: ("dataset", "pool_size"), ANY: _OF_A_METHOD},
    "self_check": {DRDC: ("seeds", "defects", *_OF_DRDC), ANY: ("seeds", "defects", *_OF_A_METHOD)},
    "export": {DRDC: ("seeds", *_OF_DRDC), ANY: ("seeds", *_OF_A_METHOD)},
}
#: Those of them that an imported method cannot go through, and why.
NEED_A_NETWORK = ("train", "self_check", "export")
WITHOUT_NETWORK = (
    "its heatmaps were made elsewhere, and there is no network here to train, to try on synthetic defects or "
    "to write as a detector"
)


def stage_settings(stage: str, source: str | Path, of: str = "") -> tuple[str, dict[str, Any]]:
    """Name of the experiment and the settings that `stage` uses, see `used_by`.

    `source` is a YAML file, validated as a whole, or a `Handed` file with just those settings, which is how
    the workflow hands over exactly what a rule depends on.
    """
    name, mapping = read_mapping(source)
    if "stage" not in mapping:
        experiment = load_experiment(source)
        return experiment.experiment, used_by(experiment, stage, of)
    _check_handed(Path(source), mapping["stage"], stage)
    types: dict[str, Any] = {k: Annotated[f.annotation, f] for k, f in Experiment.model_fields.items()}
    types |= {"image_size": int, "pool_size": int, "variant": str, "stored": Stored, "timed_steps": list[int]}
    types |= {"base_map": str, "defects": int, "names": list[str], "trained": list[str], "imported": str}
    types |= {"reader": str}
    types |= {"method": Configured, "described": dict[str, Described], "reported_numbers": list[Reported]}
    possible = [USES[stage]] if stage in USES else USES_OF[stage].values()
    keys = next((k for k in possible if {"stage", "experiment", *k} == mapping.keys()), None)
    if keys is None:
        raise UserError(name, f"does not hold the settings that {stage} uses", "start the workflow again")
    used = {key: validated(types[key], mapping[key], name, (key,)) for key in ("experiment", *keys)}
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
        """Write the file; one that is there already gets a new time alone, by which the last run is known."""
        if self.path.is_file() and self.path.read_text(encoding="utf-8") == self.text:
            with suppress(OSError):  # where nothing can be written, nothing is run either
                self.path.touch()
            return
        with atomic(self.path) as part:
            part.write_text(self.text, encoding="utf-8")


def handed(experiment: Experiment, stage: str, of: str = "") -> Handed:
    """The settings of `experiment` that `stage` uses, see `used_by`, as the workflow hands them over."""
    return _handed(experiment, stage, used_by(experiment, stage, of))


def _handed(experiment: Experiment, stage: str, own: dict[str, Any]) -> Handed:
    used = {"stage": stage, "experiment": experiment.experiment} | own
    text = json.dumps(used, separators=(",", ":"), default=_plain)
    return Handed(Layout(experiment.experiment).handed(stage, fingerprint_of_text(text)[:_DIGITS]), text)


def all_handed(experiment: Experiment) -> Iterator[Handed]:
    """`handed` for every stage, and all that it may be of."""
    every = _variants(experiment)
    for stage in (*USES, *USES_OF):
        for of in _known(experiment, stage, every):
            yield _handed(experiment, stage, _used(experiment, stage, every, of))


def _check_handed(path: Path, holds: str, wanted: str) -> None:
    if fingerprint_of_text(path.read_text(encoding="utf-8"))[:_DIGITS] != path.stem.rpartition("-")[2]:
        raise UserError(path, "is damaged or was changed", "remove it and start the workflow again")
    if holds != wanted:
        raise UserError(path, f"holds the settings of {holds}", f"name those of {wanted}, or a YAML file")


def used_by(experiment: Experiment, stage: str, of: str = "") -> dict[str, Any]:
    """The settings of `experiment` that `stage` uses.

    Args:
        stage: a key of `USES` or `USES_OF`.
        of: for the latter, what goes through it: a trained model (train), a variant or a method (predict,
            score), a method (export); "" for DRDC.

    Raises:
        UserError: the experiment has none of that name.
    """
    return _used(experiment, stage, _variants(experiment), of)


def _variants(experiment: Experiment) -> dict[str, Variant]:
    return variants(experiment.sampling, experiment.fusion, experiment.evaluation)


def _known(experiment: Experiment, stage: str, every: Iterable[str]) -> list[str]:
    """The values of `of` that `stage` accepts."""
    if stage in USES:
        return [""]
    own = list(every) if FULL in USES_OF[stage] else []
    named = [name for name in USES_OF[stage] if name not in (FULL, ANY, IMPORTED)]
    others = trained_methods(experiment) if stage in NEED_A_NETWORK else experiment.methods
    return [*own, *named, *others]


def _used(experiment: Experiment, stage: str, every: dict[str, Variant], of: str) -> dict[str, Any]:
    values: dict[str, Any] = {key: getattr(experiment, key) for key in Experiment.model_fields}
    values |= {"image_size": experiment.dataset.image_size, "pool_size": experiment.fusion.pool_size}
    values |= {"timed_steps": experiment.evaluation.costs, "defects": experiment.evaluation.self_check}
    values |= {"base_map": experiment.fusion.base, "reader": experiment.dataset.name}
    values |= {"names": list(experiment.methods), "trained": trained_methods(experiment)}
    if stage in USES:
        own = {key: _DERIVED[key](experiment) for key in USES[stage] if key in _DERIVED}
        return {key: (values | own)[key] for key in USES[stage]}
    uses = USES_OF[stage]
    of = of or next(name for name in (FULL, DRDC, BACKBONE) if name in uses)
    if stage in NEED_A_NETWORK and of in imported_methods(experiment):
        raise UserError(f"methods.{of}", WITHOUT_NETWORK, "use it where they were made")
    if of not in (known := _known(experiment, stage, every)):
        raise UserError(stage, f"{of!r} is not part of {experiment.experiment}", f"known: {', '.join(known)}")
    if of in experiment.methods:
        values["method"] = _configured(experiment, of)
        if of not in imported_methods(experiment):
            return {key: values[key] for key in uses[ANY]}
        if "imported" in (keys := uses.get(IMPORTED, uses[ANY])):
            values["imported"] = _fingerprint(experiment, of)
        return {key: values[key] for key in keys}
    if of in every:
        variant = every[of]
        values |= {"sampling": variant.sampling, "fusion": variant.fusion, "variant": variant.name}
        values["stored"] = stored(every, variant.predictions)
        of = FULL
    return {key: values[key] for key in uses[of]}


def _configured(experiment: Experiment, name: str) -> Configured:
    """A method without what is only shown of it."""
    entry = experiment.methods[name]
    return Configured(name=name, method=entry["method"], settings=own_settings(entry))


def imported_methods(experiment: Experiment) -> list[str]:
    """The methods of the configuration whose heatmaps were made elsewhere."""
    return [name for name, own in experiment.methods.items() if method_class(own["method"]).imported]


def trained_methods(experiment: Experiment) -> list[str]:
    """Those that are fitted here."""
    imported = imported_methods(experiment)
    return [name for name in experiment.methods if name not in imported]


def _fingerprint(experiment: Experiment, name: str) -> str:
    """Of the files that an imported method is read from."""
    from drdc.methods.heatmaps import fingerprint

    try:
        return fingerprint(experiment.methods[name]["folder"], experiment.seeds)
    except UserError as error:
        raise error.within(f"methods.{name}.folder") from None


def _reported_numbers(experiment: Experiment) -> list[Reported]:
    from drdc.reporting.reported import read_reported  # which few stages need

    dataset = experiment.dataset
    known = READERS[dataset.name].counts if dataset.name in READERS else ()
    return read_reported(experiment.reported, list(dict.fromkeys((*dataset.categories, *known))))


def _described(experiment: Experiment) -> dict[str, Described]:
    """What reports say of base, DRDC and each method of the configuration."""
    held_out = experiment.dataset.holdout
    sizes = {"base": experiment.backbone.input_size, DRDC: experiment.dataset.image_size}
    found = {
        name: Described(input_size=size, held_out=held_out, citation=_departures(experiment, name))
        for name, size in sizes.items()
    }
    for name, settings in experiment.methods.items():
        kind, facts = method_class(settings["method"]), method_facts(experiment, name)
        size = experiment.backbone.input_size if facts.uses_features else facts.input_size
        found[name] = Described(
            label=settings.get("label", ""),
            paper_name=kind.name_in_paper(settings),
            citation=kind.cited(settings, experiment.backbone.title),
            normalisation=settings.get("normalisation", ""),
            input_size=None if kind.imported else size,
            held_out=0.0 if kind.imported else held_out,
            imported=kind.imported,
        )
    return found


def _departures(experiment: Experiment, name: str) -> str:
    """In what base or DRDC, with these settings, is not the paper's method; "" for nothing."""
    fusion = experiment.fusion
    own = ("base",) if name == "base" else ("diffusion", "sampling", "fusion")
    said = (
        departures(experiment.model_dump(), Experiment(), set(_EVERY) - set(own)),
        other_backbone(experiment.backbone.title, Backbone().name),
        "its base map, from a memory bank, is not the paper's" if fusion.base == "memory" else "",
        "its diffusion map, centred, is not the paper's" if fusion.centred and name == DRDC else "",
    )
    return "; ".join(filter(None, said))


#: Settings that are read from elsewhere or made of several others.
_DERIVED: dict[str, Callable[[Experiment], Any]] = {
    "described": _described,
    "reported_numbers": _reported_numbers,
}


def pretrained_networks_of(experiment: Experiment, name: str) -> list[Pretrained]:
    """What a method of the configuration loads; nothing for a model of DRDC."""
    return pretrained_networks(_configured(experiment, name)) if name in experiment.methods else []


class MethodFacts(NamedTuple):
    """What planning needs to know of a method of the configuration, see `drdc.methods.interface.Method`."""

    input_size: int
    uses_features: bool
    minutes: int


def method_facts(experiment: Experiment, name: str) -> MethodFacts:
    """Those of the method `name` in the configuration."""
    settings = experiment.methods[name]
    kind = method_class(settings["method"])
    size = kind.input_size(settings, experiment.dataset.image_size)
    return MethodFacts(size, kind.uses_features_with(settings), kind.minutes)


def _plain(section: Any) -> Any:
    return section.model_dump(mode="json")


def config_hash(settings: dict[str, Any]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the settings: the same settings, the same hash."""
    return fingerprint_of(settings, _plain)[:_DIGITS]
