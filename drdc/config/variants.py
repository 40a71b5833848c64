"""The cells of Table 5 and Figure 2: what each changes, and which of them share predictions and models.

A variant is the experiment with some settings of its sampling and its fusion changed. Two variants with the
same model and the same sampling share their predictions; a variant of the fusion alone is scored from the
predictions of the experiment itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from drdc.config.evaluation import Evaluation
from drdc.config.fusion import BASE_SCALES, Fusion
from drdc.config.sampling import Sampling, single_grid_size
from drdc.config.section import Section

FULL = "full"
#: DRDC in the raw reading of Eq. 17: the sum of both maps as they are, with the paper's weight.
RAW = "raw"
#: The name of DRDC in the scores; and the name under which the controls are scored.
DRDC, CONTROLS = "drdc", "controls"
#: The methods that every experiment has and that are always compared: the base model, and its refinement.
COMPARED = ("base", DRDC)
#: What the experiment's own pre-trained network is called among those of the methods.
BACKBONE = "backbone"
#: The controls: a random heatmap, and for each reduction the ground truth at that resolution.
RANDOM = "random_map"
ORACLES = {1: "oracle_mask@1"} | {s: f"oracle_mask@1/{s}" for s in (2, 4, 8, 16)}

#: Table 5, in the paper's order of columns: name -> (model conditioning, test-time conditioning,
#: spatio-temporal fusion, multi-scale base heatmap). The seventh column is DRDC itself.
ABLATION = {
    "TTC": (False, True, False, False),
    "MC": (True, False, False, False),
    "TTC+STF": (False, True, True, False),
    "MC+TTC": (True, True, False, False),
    "MC+STF": (True, False, True, False),
    "MC+TTC+STF+base": (True, True, True, True),
    FULL: (True, True, True, False),
}

PAPER_WEIGHT = Fusion().weight
_CENTRED: dict[str, Any] = {"centred": True}
#: The weight is the best on synthetic defects in held-out normal images (results/published/README.md).
_MEMORY: dict[str, Any] = {"base": "memory", "weight": 0.3}
#: Variants of the fusion that are not the paper's: name -> what they change.
BEYOND = {"centred": _CENTRED, "memory": _MEMORY, "memory+centred": _MEMORY | _CENTRED}


@dataclass(frozen=True)
class Variant:
    """One cell of an evaluation.

    Attributes:
        name: `full`, a name of `ABLATION`, these in the raw reading (`raw_name`), one of `BEYOND`, or
            `<setting>=<value>`.
        model: `diffusion`, or `unconditional` for the 3-channel model (Table 5).
        predictions: name of the predictions that it is scored from: of the first variant that needs them.
        sampling, fusion: its settings; all others are the experiment's.
    """

    name: str
    model: str
    predictions: str
    sampling: Sampling
    fusion: Fusion

    @property
    def calls(self) -> int:
        """U-Net calls for one image if this variant ran by itself."""
        return calls(self.sampling, self.fusion.grid_sizes or self.sampling.grid_sizes)


class Stored(Section):
    """What predict writes under one name.

    Attributes:
        name: folder below `predictions/`.
        model: whose predictions; `diffusion` or `unconditional`.
        detailed: keep the grid sizes apart, and the last timestep and the reconstruction as well.
    """

    name: str
    model: str
    detailed: bool


@dataclass(frozen=True)
class Sweep:
    """One panel of Figure 2: values of a setting as texts, the own one (`default`) of `of` among them."""

    setting: str
    values: tuple[str, ...]
    default: str
    of: str = FULL

    def variant(self, value: str) -> str:
        """The name of the variant with that value."""
        return self.of if value == self.default else f"{self.setting}={value}"


def variants(sampling: Sampling, fusion: Fusion, evaluation: Evaluation) -> dict[str, Variant]:
    """All variants of an experiment with these settings, by name, `full` first."""
    settings = {FULL: ("diffusion", sampling, fusion)}
    if evaluation.ablation:
        settings |= {
            name: _ablated(sampling, fusion, *flags) for name, flags in ABLATION.items() if name != FULL
        }
    if evaluation.sweeps.raw_weight:
        settings |= {
            raw_name(name): (model, its_sampling, _raw(its_fusion, PAPER_WEIGHT))
            for name, (model, its_sampling, its_fusion) in settings.items()
        }
    if evaluation.beyond:
        settings |= {
            name: ("diffusion", sampling, fusion.model_copy(update=changes))
            for name, changes in BEYOND.items()
        }
    for setting, values in evaluation.sweeps:
        own = _text(_own(sampling, fusion, setting))
        for value in values:
            if _text(value) != own:
                changed = _swept(sampling, fusion, setting, value)
                settings[f"{setting}={_text(value)}"] = ("diffusion", *changed)
    found: dict[str, Variant] = {}
    for name, (model, its_sampling, its_fusion) in settings.items():
        same = (v.predictions for v in found.values() if (v.model, v.sampling) == (model, its_sampling))
        found[name] = Variant(name, model, next(same, name), its_sampling, its_fusion)
    return found


def raw_name(name: str) -> str:
    """The name of DRDC or of a cell of Table 5 in the raw reading of Eq. 17."""
    return RAW if name == FULL else f"{RAW}_{name}"


def runs(
    every: dict[str, Variant], seeds: list[int], evaluation: Evaluation, names: Iterable[str] | None = None
) -> list[tuple[Variant, int]]:
    """(variant, seed) of every run: `full` with all seeds, the others with those of the evaluation.

    `names`: the wanted variants other than `full`; None for all.
    """
    chosen = list(every) if names is None else [name for name in names if name in every]
    others = [every[name] for name in chosen if name != FULL]
    own = seeds if evaluation.seeds is None else evaluation.seeds
    return [(every[FULL], seed) for seed in seeds] + [(v, seed) for v in others for seed in own]


def swept(every: Iterable[str], setting: str = "") -> list[str]:
    """Those of the variants' names that are a value of Figure 2: of one setting, or of any."""
    raw = setting in ("", "raw_weight")  # the paper's weight of raw maps stands in that panel, too
    return [name for name in every if re.match(f"{setting or '.*'}=", name) or (raw and name == RAW)]


def of_readings(every: Iterable[str]) -> list[str]:
    """Those of the variants' names that tell both readings of Eq. 17 apart: Table 5 and the weights."""
    names = list(every)
    both = {read(name) for name in ABLATION for read in (str, raw_name)}
    weights = [*swept(names, "weight"), *swept(names, "raw_weight")]
    return list(dict.fromkeys([*(name for name in names if name in both), *weights]))


def beyond(every: Iterable[str]) -> list[str]:
    """Those of the variants' names that go beyond the paper."""
    return [name for name in every if name in BEYOND]


def sweeps(sampling: Sampling, fusion: Fusion, evaluation: Evaluation) -> list[Sweep]:
    """The panels of Figure 2 that have values."""
    panels = []
    for setting, values in evaluation.sweeps:
        own = _own(sampling, fusion, setting)
        every = [own, *values] if isinstance(own, str) else sorted([*values, own], key=_rank)
        if values:
            of = RAW if setting == "raw_weight" else FULL
            panels.append(Sweep(setting, tuple(dict.fromkeys(map(_text, every))), _text(own), of))
    return panels


def stored(every: dict[str, Variant], predictions: str) -> Stored:
    """What is stored under the name `predictions`, so that all its variants can be scored from it."""
    users = [v for v in every.values() if v.predictions == predictions]
    parts = any(v.fusion.timesteps == "last" or v.fusion.grid_sizes is not None for v in users)
    return Stored(name=predictions, model=users[0].model, detailed=parts or predictions == FULL)


def predicted_parts(predictions: str, categories: list[str]) -> list[str]:
    """The jobs of some predictions: one for each category, and a single one where it is only a variant."""
    return categories if predictions == FULL else ["all"]


def unet_calls(every: dict[str, Variant]) -> tuple[int, int]:
    """U-Net calls for one image and seed: with shared predictions, and if each variant ran by itself."""
    distinct = {v.predictions: v.sampling for v in reversed(every.values())}.values()
    return sum(calls(s, s.grid_sizes) for s in distinct), sum(v.calls for v in every.values())


def calls(sampling: Sampling, grid_sizes: list[int]) -> int:
    """U-Net calls for one image: n · |K| · |T|."""
    return sampling.disjoint_sets * len(grid_sizes) * sampling.steps


def _ablated(
    sampling: Sampling, fusion: Fusion, model_conditioning: bool, test_time: bool, temporal: bool, base: bool
) -> tuple[str, Sampling, Fusion]:
    """Settings of one column of Table 5.

    Without spatio-temporal fusion: last timestep, one grid size, full scale, no filter; λ stays (inferred).
    """
    changes: dict[str, Any] = {}
    if not temporal:
        one = [single_grid_size(sampling)]
        changes = {"timesteps": "last", "grid_sizes": one, "scales": [1], "filter_size": 1}
    if base:
        changes["base_scales"] = list(BASE_SCALES)
    return (
        "diffusion" if model_conditioning else "unconditional",
        sampling.model_copy(update={"test_time_conditioning": test_time}),
        fusion.model_copy(update=changes),
    )


def _swept(sampling: Sampling, fusion: Fusion, setting: str, value: Any) -> tuple[Sampling, Fusion]:
    if setting == "grid_sizes" and not set(value) <= set(sampling.grid_sizes):
        return sampling.model_copy(update={setting: value}), fusion.model_copy(update={setting: None})
    if setting == "raw_weight":
        return sampling, _raw(fusion, value)
    if setting in Fusion.model_fields:
        return sampling, fusion.model_copy(update={setting: value})
    return sampling.model_copy(update={setting: value}), fusion


def _raw(fusion: Fusion, weight: float) -> Fusion:
    """Eq. 17 to the letter: both maps on the scales on which they were computed."""
    return fusion.model_copy(update={"normalisation": "none", "weight": weight})


def _own(sampling: Sampling, fusion: Fusion, setting: str) -> Any:
    """The experiment's own value of a swept setting."""
    if setting == "grid_sizes":
        return fusion.grid_sizes or sampling.grid_sizes
    if setting == "raw_weight":
        return PAPER_WEIGHT
    return getattr(fusion if setting in Fusion.model_fields else sampling, setting)


def _rank(value: Any) -> tuple[int, Any]:
    """Numbers in their order; sets by size, then by their numbers."""
    return (len(value), sorted(value)) if isinstance(value, list) else (0, value)


def _text(value: Any) -> str:
    """A value as it is written in a variant's name: 5, 0.85, 4+8; no two have the same text."""
    if isinstance(value, list):
        return "+".join(str(item) for item in sorted(value))
    return str(value).removesuffix(".0")
