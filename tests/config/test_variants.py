"""The cells of Table 5 and Figure 2: their settings, what they share, and what that saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from drdc.config.sampling import Sampling, single_grid_size
from drdc.config.variants import (
    ABLATION,
    FULL,
    RAW,
    Variant,
    beyond,
    of_readings,
    raw_name,
    runs,
    stored,
    sweeps,
    swept,
    unet_calls,
    variants,
)
from drdc.experiment.experiment import Experiment, load_experiment
from drdc.runtime.errors import UserError

CONFIG = Path(__file__).parents[2] / "config"


def experiment(**evaluation: Any) -> Experiment:
    return load_experiment({"dataset": {"root": "data"}, "evaluation": evaluation})


def every(e: Experiment) -> dict[str, Variant]:
    return variants(e.sampling, e.fusion, e.evaluation)


def test_without_an_evaluation_there_is_the_method_alone() -> None:
    e = experiment()
    assert every(e) == {FULL: Variant(FULL, "diffusion", FULL, e.sampling, e.fusion)}
    assert sweeps(e.sampling, e.fusion, e.evaluation) == []


def test_the_ablation_is_the_papers_seven_columns() -> None:
    e = experiment(ablation=True)
    found = every(e)
    assert set(found) == set(ABLATION)
    assert len(ABLATION) == 7
    for name, (model_conditioning, test_time, temporal, base) in ABLATION.items():
        variant = found[name]
        assert (variant.model == "diffusion") is model_conditioning
        assert variant.sampling.test_time_conditioning is test_time
        assert (variant.fusion.timesteps == "all") is temporal
        assert (len(variant.fusion.base_scales) > 1) is base
        assert variant.fusion.weight == e.fusion.weight
        if not temporal:
            assert (variant.fusion.scales, variant.fusion.filter_size) == ([1], 1)
            assert len(variant.fusion.grid_sizes or []) == 1


def test_values_that_differ_a_little_are_variants_of_their_own() -> None:
    weights = [0.999, 0.9999999, 1.0]
    found = every(experiment(sweeps={"raw_weight": weights}))
    assert [name for name in found if name.startswith("raw_weight")] == [
        "raw_weight=0.999",
        "raw_weight=0.9999999",
        "raw_weight=1",
    ]


def test_ticks_of_the_ablation_are_counted_as_in_the_paper() -> None:
    columns = list(ABLATION.values())
    assert [sum(flags[i] for flags in columns) for i in range(4)] == [5, 5, 4, 1]


def test_variants_share_predictions_where_model_and_sampling_are_the_same() -> None:
    found = every(
        experiment(ablation=True, sweeps={"weight": [0.5], "steps": [5], "grid_sizes": [[2], [32]]})
    )
    shared = {name: v.predictions for name, v in found.items()}
    assert {shared[n] for n in (FULL, "MC+TTC", "MC+TTC+STF+base", "weight=0.5", "grid_sizes=2")} == {FULL}
    assert shared["TTC"] == shared["TTC+STF"] != shared["MC"] == shared["MC+STF"]
    assert shared["steps=5"] == "steps=5"
    assert shared["grid_sizes=32"] == "grid_sizes=32", "it was not predicted for the method itself"


def test_predictions_keep_what_their_variants_need() -> None:
    found = every(experiment(ablation=True, sweeps={"steps": [5]}))
    assert stored(found, FULL).detailed
    assert stored(found, "TTC").detailed, "the last timestep of one grid size is scored from it"
    assert stored(found, "TTC").model == "unconditional"
    assert not stored(found, "steps=5").detailed


def test_the_experiments_own_value_is_not_run_twice_and_stands_in_its_panel() -> None:
    e = experiment(
        sweeps={"weight": [1.0, 0.5, 0.9], "scales": [[1], [1, 2, 4, 8]], "normalisation": ["none"]}
    )
    assert set(every(e)) == {FULL, "weight=0.5", "weight=1", "scales=1", "normalisation=none"}
    panels = {p.setting: p for p in sweeps(e.sampling, e.fusion, e.evaluation)}
    assert panels["weight"].values == ("0.5", "0.9", "1")
    assert panels["weight"].default == "0.9"
    assert panels["scales"].values == ("1", "1+2+4+8")
    assert panels["normalisation"].values == ("mean", "none")


def test_the_raw_reading_is_the_papers_sum_of_raw_maps_with_the_cells_of_table_5() -> None:
    e = experiment(ablation=True, sweeps={"raw_weight": [0.9, 0.99, 1.0], "weight": [0.5]})
    found = every(e)
    names = {raw_name(name) for name in ABLATION} | {"raw_weight=0.99", "raw_weight=1"}
    assert set(found) == {*ABLATION, "weight=0.5", *names}
    for name in ABLATION:
        own, raw = found[name], found[raw_name(name)]
        assert raw.fusion == own.fusion.model_copy(update={"normalisation": "none", "weight": 0.9})
        assert (raw.predictions, raw.model, raw.sampling) == (own.predictions, own.model, own.sampling)
    assert found["raw_weight=0.99"].fusion == found[RAW].fusion.model_copy(update={"weight": 0.99})
    panels = {p.setting: p for p in sweeps(e.sampling, e.fusion, e.evaluation)}
    assert panels["raw_weight"].values == ("0.9", "0.99", "1")
    assert [panels["raw_weight"].variant(value) for value in ("0.9", "1")] == [RAW, "raw_weight=1"]
    assert panels["weight"].variant("0.9") == FULL
    assert swept(found, "weight") == ["weight=0.5"], "and not those of raw maps"
    assert swept(found, "raw_weight") == [RAW, "raw_weight=0.99", "raw_weight=1"]
    assert set(swept(found)) == {"weight=0.5", RAW, "raw_weight=0.99", "raw_weight=1"}
    assert set(of_readings(found)) == set(found)


def test_without_table_5_the_raw_reading_is_one_variant() -> None:
    assert set(every(experiment(sweeps={"raw_weight": [1.0]}))) == {FULL, RAW, "raw_weight=1"}


def test_runs_are_all_seeds_for_the_method_and_the_chosen_ones_for_the_rest() -> None:
    e = experiment(seeds=[1, 3], sweeps={"weight": [0.5]})
    found = [(v.name, seed) for v, seed in runs(every(e), e.seeds, e.evaluation)]
    assert found == [*((FULL, seed) for seed in range(5)), ("weight=0.5", 1), ("weight=0.5", 3)]


def test_calls_are_counted_once_for_shared_predictions() -> None:
    assert unet_calls(every(experiment())) == (80, 80)
    assert unet_calls(every(experiment(sweeps={"weight": [0.5], "grid_sizes": [[2]]}))) == (80, 80 + 80 + 20)
    assert unet_calls(every(experiment(sweeps={"steps": [5]}))) == (120, 120)
    # conditional; without test-time conditioning; unconditional. By themselves: 4 with 80 calls, 3 with 20.
    assert unet_calls(every(experiment(ablation=True))) == (240, 4 * 80 + 3 * 20)


def test_the_papers_plan_takes_a_fifth_of_the_calls_of_its_cells_one_by_one() -> None:
    shared, alone = unet_calls(every(load_experiment(CONFIG / "mvtec.yaml")))
    assert (shared, alone) == (1530, 9450), "config/README.md names these numbers"
    assert alone >= 5 * shared


@pytest.mark.parametrize(
    ("evaluation", "named"),
    [
        ({"sweeps": {"filter_size": [4]}}, "filter_size=4"),
        ({"sweeps": {"initial_index": [1001]}}, "initial_index=1001"),
        ({"sweeps": {"grid_sizes": [[5]]}}, "grid_sizes=5"),
        ({"sweeps": {"normalisation": ["median"]}}, "normalisation=median"),
        ({"sweeps": {"weight": [1.5]}}, "weight=1.5"),
        ({"sweeps": {"raw_weight": [1.5]}}, "raw_weight=1.5"),
        ({"seeds": [7]}, "evaluation.seeds"),
        ({"sweeps": {"timesteps": [3]}}, "timesteps"),
    ],
)
def test_a_value_that_does_not_fit_is_named(evaluation: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        experiment(**evaluation)


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        ("diffusion", {"model_conditioning": False}),
        ("sampling", {"test_time_conditioning": False}),
        ("fusion", {"timesteps": "last", "scales": [1], "grid_sizes": [single_grid_size(Sampling())]}),
        ("fusion", {"base_scales": [1, 2]}),
    ],
)
def test_an_ablation_of_what_is_not_drdc_is_refused(section: str, settings: dict[str, Any]) -> None:
    """Else its last column would be DRDC, and no longer what the experiment's detector computes."""
    given = {"dataset": {"root": "data"}, section: settings}
    load_experiment(given)
    with pytest.raises(UserError, match=rf"evaluation\.ablation: .*set {section}\.{next(iter(settings))} to"):
        load_experiment(given | {"evaluation": {"ablation": True}})


@pytest.mark.parametrize("fusion", [{"base": "memory"}, {"centred": True}])
def test_variants_beyond_the_paper_are_compared_with_the_papers_fusion(fusion: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"evaluation\.beyond: compares with the paper's fusion"):
        load_experiment(
            {
                "dataset": {"root": "data"},
                "base": {"memory": 100},
                "fusion": fusion,
                "evaluation": {"beyond": True},
            }
        )


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ({"memory": 100, "memory_stages": [2, 4]}, "not among the backbone's stages; take some of"),
        ({"memory_stages": [2]}, "but there is none; set base.memory above 0"),
        ({"memory": 100, "memory_stages": []}, "at least 1"),
    ],
)
def test_a_memory_bank_has_stages_of_the_backbone(base: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=rf"base\.memory_stages: .*{said}"):
        load_experiment({"dataset": {"root": "data"}, "base": base})


def test_variants_beyond_the_paper_cost_no_call_of_the_unet() -> None:
    e = load_experiment(
        {
            "dataset": {"root": "data"},
            "base": {"memory": 100},
            "evaluation": {"ablation": True, "beyond": True},
        }
    )
    found = every(e)
    assert set(beyond(found)) == {"centred", "memory", "memory+centred"}
    for name in beyond(found):
        assert (found[name].predictions, found[name].model) == (FULL, "diffusion")
        assert found[name].sampling == e.sampling
    assert found["centred"].fusion == e.fusion.model_copy(update={"centred": True})
    assert found["memory"].fusion.base == "memory"
    assert not beyond(every(experiment(ablation=True)))
    with pytest.raises(UserError, match=r"base\.memory: 0 leaves no memory bank") as error:
        experiment(beyond=True)
    assert "\n" not in str(error.value)
