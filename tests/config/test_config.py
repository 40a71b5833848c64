"""The configuration: its files, its faults in one sentence, what stages see, what is generated from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from snakemake.cli import parse_config  # type: ignore[import-untyped]
from snakemake.utils import update_config  # type: ignore[import-untyped]

from drdc.config.dataset import Dataset
from drdc.config.section import Section
from drdc.experiment import manual
from drdc.experiment.experiment import Experiment, as_in_a_file, load_experiment, read_mapping
from drdc.experiment.stage_settings import (
    ANY,
    IMPORTED,
    USES,
    USES_OF,
    all_handed,
    config_hash,
    handed,
    stage_settings,
)
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError, UserErrors
from drdc.stages.prepare import prepare

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "config").glob("*.yaml"))
PAPER = ROOT / "config" / "mvtec.yaml"
SMALLEST: dict[str, Any] = {"dataset": {"root": "data"}}


def experiment(**sections: Any) -> Experiment:
    return load_experiment(SMALLEST | sections)


def settings_of(section: type[Section], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, field) of every setting, sections left out."""
    for key, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from settings_of(field.annotation, f"{prefix}{key}.")
        else:
            yield prefix + key, field


def value_of(settings: Any, key: str) -> Any:
    for part in key.split("."):
        settings = getattr(settings, part)
    return settings


# --- files -----------------------------------------------------------------------------------------------


def test_there_are_files() -> None:
    assert ROOT / "config" / "config.yaml" in FILES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_loads(file: Path) -> None:
    loaded = load_experiment(file)
    assert loaded == load_experiment(yaml.safe_load(file.read_text(encoding="utf-8")))
    assert loaded == load_experiment(loaded.model_dump(mode="json"))


def test_experiments_have_different_names() -> None:
    names = [load_experiment(file).experiment for file in FILES]
    assert len(set(names)) == len(names)


@pytest.mark.skipif(not PAPER.exists(), reason="there is no config/mvtec.yaml")
def test_the_papers_experiment_has_the_papers_settings() -> None:
    loaded = load_experiment(PAPER)
    for key, field in settings_of(Experiment):
        if field.json_schema_extra["source"] == "paper":
            assert value_of(loaded, key) == field.default, key


def test_the_papers_settings() -> None:
    """Literal values of the paper, which no edit of a default may change."""
    e = experiment()
    assert e.seeds == [0, 1, 2, 3, 4]
    assert (e.dataset.name, len(e.dataset.categories), e.dataset.image_size) == ("mvtec", 15, 224)
    assert (e.backbone.input_size, e.backbone.feature_size, e.backbone.stages) == (224, 14, [0, 1, 2, 3])
    assert e.backbone.name.startswith("tf_efficientnet_b4")
    assert (e.diffusion.timesteps, e.diffusion.disjoint_sets, e.diffusion.model_conditioning) == (
        1000,
        2,
        True,
    )
    assert (e.sampling.steps, e.sampling.initial_index, e.sampling.disjoint_sets) == (10, 250, 2)
    assert e.sampling.test_time_conditioning
    assert e.fusion.weight == 0.9


# --- faults ----------------------------------------------------------------------------------------------


def fault(**sections: Any) -> str:
    """The one sentence about an impossible configuration."""
    with pytest.raises(UserError) as caught:
        experiment(**sections)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("sections", "key", "nearest"),
    [
        ({"fusoin": {}}, "fusoin", "'fusion'"),
        ({"fusion": {"wieght": 0.5}}, "fusion.wieght", "'weight'"),
        ({"diffusion": {"grid_size": [2]}}, "diffusion.grid_size", "'grid_sizes'"),
        ({"dataset": {"root": "d", "synthetic": {"trian": 3}}}, "dataset.synthetic.trian", "'train'"),
        ({"base": {"learning-rate": 1}}, "base.learning-rate", "'learning_rate'"),
        ({"fusion": {"zzz": 1}}, "fusion.zzz", "filter_size"),
        (
            {"methods": {"simplenet": {"backbone": {"naem": "a"}}}},
            "methods.simplenet.backbone.naem",
            "'name'",
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(sections: dict[str, Any], key: str, nearest: str) -> None:
    message = fault(**sections)
    assert f"{key}: unknown key; " in message
    assert nearest in message


@pytest.mark.parametrize("value", [2**63, 2**64, 10**30])
def test_a_seed_has_63_bits(value: int) -> None:
    assert "at most 9223372036854775807" in fault(seeds=[value])
    assert "dataset.synthetic.seed" in fault(dataset={"root": "d", "synthetic": {"seed": value}})
    assert experiment(seeds=[2**63 - 1]).seeds == [2**63 - 1]


NUMBERS = [
    *(f"dataset.synthetic.{name}" for name in ("train", "test_good", "test_bad", "size")),
    *("dataset.image_size", "dataset.holdout", "backbone.input_size", "backbone.feature_size"),
    *(f"base.{name}" for name in ("hidden", "heads", "feedforward", "encoder_layers", "decoder_layers")),
    *(f"base.{name}" for name in ("epochs", "batch_size", "validations", "dropout", "warmup")),
    *(f"diffusion.{name}" for name in ("width", "layers_per_block", "timesteps", "max_timestep", "images")),
    *(
        f"diffusion.{name}"
        for name in ("disjoint_sets", "batch_size", "validations", "beta_end", "ema_decay")
    ),
    *(f"sampling.{name}" for name in ("steps", "initial_index", "disjoint_sets", "batch_size")),
    *(f"fusion.{name}" for name in ("filter_size", "pool_size", "weight")),
]


@pytest.mark.parametrize("value", [10**15, 1e30, float("inf"), float("nan"), float("-inf"), -1, "x", None])
@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_that_no_computer_could_use_is_one_sentence(key: str, value: Any) -> None:
    *path, name = key.split(".")
    settings: dict[str, Any] = {name: value}
    for section in reversed(path):
        settings = {section: settings}
    settings.setdefault("dataset", {}).setdefault("root", "d")
    assert key in fault(**settings)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "clip_norm", "save_minutes"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_no_number_is_infinite_or_missing(name: str, value: float) -> None:
    assert f"base.{name}" in fault(base={name: value})
    assert f"methods.simplenet.{name}" in fault(methods={"simplenet": {name: value}})


@pytest.mark.parametrize("text", ["seeds: [" + "9" * 5000 + "]", "a: 2026-13-45", "[" * 1200, "a: !!int x"])
def test_yaml_that_holds_no_value_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(UserError, match=r"odd\.yaml: is not valid YAML") as caught:
        load_experiment(tmp_path / "odd.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sections", "key", "hint"),
    [
        ({"sampling": {"grid_sizes": [4, 5]}}, "sampling.grid_sizes", "5 does not divide"),
        ({"sampling": {"grid_sizes": [0]}}, "sampling.grid_sizes", "0"),
        ({"diffusion": {"grid_sizes": [3]}}, "diffusion.grid_sizes", "3 does not divide"),
        ({"diffusion": {"grid_sizes": []}}, "diffusion.grid_sizes", "at least 1"),
        ({"sampling": {"initial_index": 1001}}, "sampling.initial_index", "1000"),
        ({"sampling": {"initial_index": 0}}, "sampling.initial_index", "greater than or equal to 1"),
        ({"diffusion": {"max_timestep": 200}}, "sampling.initial_index", "never seen in training"),
        ({"diffusion": {"max_timestep": 1001}}, "diffusion.max_timestep", "1000"),
        ({"sampling": {"steps": 251}}, "sampling.steps", "251"),
        ({"sampling": {"disjoint_sets": 5, "grid_sizes": [112]}}, "sampling.disjoint_sets", "5 sets"),
        ({"fusion": {"filter_size": 20}}, "fusion.filter_size", "odd"),
        ({"fusion": {"filter_size": 225}}, "fusion.filter_size", "224"),
        ({"fusion": {"scales": [1, 3]}}, "fusion.scales", "3"),
        ({"fusion": {"scales": [2, 1, 2]}}, "fusion.scales", "names 2 twice"),
        ({"fusion": {"base_scales": []}}, "fusion.base_scales", "at least 1"),
        ({"fusion": {"base_scales": [1, 1]}}, "fusion.base_scales", "names 1 twice"),
        ({"fusion": {"grid_sizes": [4, 4]}}, "fusion.grid_sizes", "names 4 twice"),
        ({"sampling": {"grid_sizes": [4, 4, 8]}}, "sampling.grid_sizes", "names 4 twice"),
        ({"diffusion": {"grid_sizes": [8, 8]}}, "diffusion.grid_sizes", "names 8 twice"),
        ({"methods": {"uniad": {"images": 500}}}, "methods.uniad.images", "section `base` alone"),
        ({"methods": {"uniad_vae": {"base": {"compile": True}}}}, "uniad_vae.base.compile", "alone"),
        ({"fusion": {"weight": 1.1}}, "fusion.weight", "less than or equal to 1"),
        ({"fusion": {"pool_size": 300}}, "fusion.pool_size", "224"),
        ({"seeds": [0, -1]}, "seeds", "non-negative integers"),
        ({"seeds": [1, 1]}, "seeds", "different"),
        ({"seeds": []}, "seeds", "at least 1"),
        ({"dataset": {"root": "d", "categories": ["tile", "wood", "tile"]}}, "dataset.categories", "twice"),
        ({"dataset": {"root": "d", "categories": ["../tile"]}}, "dataset.categories", "'../tile'"),
        (
            {
                "dataset": {"root": "d", "image_size": 72},
                "diffusion": {"multipliers": [1, 2], "attention_levels": [1], "grid_sizes": [4]},
                "sampling": {"grid_sizes": [4]},
            },
            "dataset.image_size",
            "72",
        ),
        ({"dataset": {"root": "d", "holdout": 0}}, "dataset.holdout", "greater than 0"),
        ({"dataset": {}}, "dataset.root", "missing"),
        ({"dataset": {"root": "d", "name": "mvtek"}}, "dataset.name", "'mvtek'"),
        ({"diffusion": {"multipliers": [1] * 7, "attention_levels": []}}, "diffusion.multipliers", "64"),
        ({"diffusion": {"width": 48}}, "diffusion.width", "multiple of 32"),
        ({"diffusion": {"attention_levels": [6]}}, "diffusion.attention_levels", "0 to 5"),
        ({"base": {"hidden": 100}}, "base.hidden", "multiple of base.heads"),
        ({"base": {"neighbour_window": 6}}, "base.neighbour_window", "odd"),
        ({"backbone": {"stages": [3, 1]}}, "backbone.stages", "write [1, 3]"),
        ({"backbone": {"stages": [2, 2]}}, "backbone.stages", "write [2]"),
        ({"methods": {"fcdd": {"backbone": {"stages": [1, 0]}}}}, "methods.fcdd.backbone.stages", "[0, 1]"),
        ({"base": {"neighbour_window": 15}}, "base.neighbour_window", "13"),
        ({"base": {"dropout": "much"}}, "base.dropout", "'much'"),
        ({"base": None}, "base", "None"),
        ({"experiment": "a/b"}, "experiment", "'a/b'"),
    ],
)
def test_an_impossible_value_is_named(sections: dict[str, Any], key: str, hint: str) -> None:
    message = fault(**sections)
    assert key in message
    assert hint in message


def test_the_largest_window_that_leaves_every_token_something_to_see() -> None:
    assert experiment(base={"neighbour_window": 13}).base.neighbour_window == 13
    assert "base.neighbour_window" in fault(base={"neighbour_window": 7}, backbone={"feature_size": 7})
    assert experiment(base={"neighbour_window": 5}, backbone={"feature_size": 7})
    assert experiment(base={"neighbour_window": 0}, backbone={"feature_size": 2})


def faults(config: dict[str, Any]) -> list[str]:
    """The lines about an impossible configuration."""
    with pytest.raises(UserErrors) as caught:
        load_experiment(config)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("name", ["memory", "centred", "full", "raw", "controls", "unconditional"])
def test_no_method_has_the_name_of_a_variant_of_drdc(name: str) -> None:
    """Their scores would stand in one place."""
    found = faults({"methods": {name: {"method": "simplenet"}}})
    assert any(f"methods.{name}: {name!r} cannot be the name of a method" in fault for fault in found)


def test_all_faults_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Unknown keys, values out of range, settings that do not fit together, sweeps, methods."""
    file = tmp_path / "faulty.yaml"
    file.write_text(
        """
        methods: {simplenet: {widht: 8}, Patch: {method: simplenet}, uniad: {epochs: -1}, patchcor: {}}
        fusion: {wieght: 0.5, filter_size: 20}
        dataset: {root: data}
        sampling: {steps: 300, grid_sizes: [5]}
        evaluation: {sweeps: {weight: [0.5, 2], initial_index: [2000]}, seeds: [9]}
        base: {heads: 0}
        """
    )
    with pytest.raises(UserErrors) as caught:
        load_experiment(file)
    assert all(error.problem and error.fix for error in caught.value.errors)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    assert [line.removeprefix(f"{file}: ").partition("; ")[0] for line in lines] == [
        "methods.simplenet.widht: unknown key",
        "methods.Patch: 'Patch' cannot be the name of a method",
        "methods.uniad.epochs: invalid value -1",
        "methods.patchcor: there is no method 'patchcor'",
        "fusion.wieght: unknown key",
        "fusion.filter_size: 20 does not fit",
        "sampling.grid_sizes: 5 does not divide dataset.image_size 224",
        "sampling.steps: 300 different steps do not fit below sampling.initial_index",
        "evaluation.seeds: [9] are not among the experiment's seeds",
        "evaluation.sweeps, initial_index=2000: "
        "sampling.initial_index: 2000 lies beyond diffusion.timesteps, 1000",
        "evaluation.sweeps, weight=2: fusion.weight: invalid value 2.0",
        "base.heads: invalid value 0",
    ]


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        ({"dataset": 3, "diffusion": {"width": 48}}, ["dataset", "diffusion.width"]),
        ({"dataset": {"root": 3}, "base": {"heads": "x", "hidden": 9}}, ["dataset.root", "base.heads"]),
        ({"dataset": {"root": "d"}, "seeds": [0, "x"], "evaluation": {"seeds": [3]}}, ["seeds.1"]),
        ({1: 2, "dataset": {"root": "d"}, "methods": {3: {}}}, ["1", "methods.3.[key]"]),
    ],
)
def test_nothing_is_said_of_what_may_follow_from_another_fault(
    config: dict[str, Any], keys: list[str]
) -> None:
    assert [line.split(": ")[1] for line in faults(config)] == keys


def test_a_category_that_is_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few = {"train": 2, "test_good": 1, "test_bad": 1, "size": 32}
    dataset = Dataset.model_validate(
        {"name": "synthetic", "categories": ["wood", "bottle"], "synthetic": few}
    )
    with pytest.raises(UserError, match="'bottle'") as caught:
        prepare(Layout("demo"), dataset=dataset)
    assert all(name in str(caught.value) for name in ("capsule", "fabric", "gear", "wood"))
    assert not [path for path in Path("results/demo").iterdir() if path.name != "dataset"]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("a: [1", "not valid YAML"),
        ("- 1\n- 2\n", "keys and values"),
        ("", "keys and values"),
        (b"\xff\xfe\x00", "read"),
    ],
)
def test_a_file_that_holds_no_configuration(tmp_path: Path, text: str | bytes, hint: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=hint) as caught:
        load_experiment(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "seeds: [0]\nfusion: {filter_size: 5}\n\nfusion: {weight: 0.5}",
            "fusion: is written in line 2 and again in line 4",
        ),
        ("fusion: {weight: 1, weight: 0.5}", "weight: is written in line 1 and again in line 1"),
    ],
)
def test_a_key_that_is_written_twice_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_experiment(tmp_path / "own.yaml")
    assert str(caught.value) == f"{tmp_path / 'own.yaml'}: {said}; keep one of them"


def test_a_key_of_an_anchor_may_be_written_again_where_it_is_merged(tmp_path: Path) -> None:
    """Also where the anchor itself has merged, lies deeper, or is merged with another."""
    text = """
      a: {b: &b {x: &x {k: 1, l: 1}, k: 2}, c: &c {<<: *x, l: 3}}
      d: {<<: *c, k: 4}
      e: {<<: *b, <<: *c, k: 5}
      f: *c
    """
    (tmp_path / "own.yaml").write_text(text)
    found = read_mapping(tmp_path / "own.yaml")[1]
    assert found == yaml.safe_load(text)
    assert (found["d"], found["f"]) == ({"k": 4, "l": 3}, {"k": 1, "l": 3})


# --- the command line ------------------------------------------------------------------------------------


def by_command_line(*words: str) -> Experiment:
    """The experiment of `snakemake --config WORD...`."""
    config: dict[str, Any] = {"dataset": {"root": "data"}, "base": {"epochs": 7}}
    given = parse_config(words)
    update_config(config, given)
    return load_experiment(as_in_a_file(config, given))


NET = "methods={{net: {{method: anomalib, model: {}, arguments: {{{}}}}}}}".format


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        ("base={clip_norm: null}", "base.clip_norm", None),
        ("base={clip_norm: ~, epochs: 2}", "base.epochs", 2.0),
        ("base={balanced: true}", "base.balanced", True),
        ("base={balanced: false}", "base.balanced", False),
        ("base={learning_rate: 1e-3}", "base.learning_rate", 1e-3),
        ("fusion={weight: 0.8}", "fusion.weight", 0.8),
        ("fusion={scales: [1, 4]}", "fusion.scales", [1, 4]),
        ("fusion={grid_sizes: null}", "fusion.grid_sizes", None),
        ("evaluation={seeds: null}", "evaluation.seeds", None),
        ("evaluation={sweeps: {grid_sizes: [[2], [2, 4]]}}", "evaluation.sweeps.grid_sizes", [[2], [2, 4]]),
        ("evaluation={sweeps: {normalisation: [none]}}", "evaluation.sweeps.normalisation", ["none"]),
        ("seeds=[0, 3]", "seeds", [0, 3]),
        (
            "dataset={categories: ['01', 2, on, null, 1e3]}",
            "dataset.categories",
            ["01", "2", "on", "null", "1e3"],
        ),
        ("dataset={root: 2024}", "dataset.root", "2024"),
        ("dataset={name: elpv, root: null, categories: [mono]}", "dataset.root", None),
        (NET("patchcore", "num_neighbors: 3"), "methods.net.arguments.num_neighbors", 3),
        (NET("patchcore", "layers: [1, 2]"), "methods.net.arguments.layers", [1, 2]),
        (NET("padim", "n_features: null"), "methods.net.arguments.n_features", None),
    ],
)
def test_the_command_line_means_what_a_file_means(words: str, key: str, value: object) -> None:
    found: Any = by_command_line(words).model_dump()
    for name in key.split("."):
        found = found[name]
    assert found == value
    assert type(found) is type(value)


def test_the_rest_of_a_section_stays() -> None:
    assert by_command_line("base={clip_norm: null}").base.epochs == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("base={epochs: null}", r"base\.epochs: invalid value 'null'; "),
        ("base={epochs: many}", r"base\.epochs: invalid value 'many'; "),
        ("base=null", r"base: "),
        (
            "dataset={categories: [a, a]}",
            r"dataset\.categories: invalid value \['a', 'a'\]; names a category twice",
        ),
        ("seeds=[0, -1]", r"seeds: "),
    ],
)
def test_a_wrong_value_on_the_command_line_is_one_sentence(words: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        by_command_line(words)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read"):
        load_experiment(tmp_path / "none.yaml")


# --- stages ----------------------------------------------------------------------------------------------


METHOD = {"methods": {"net": {"method": "simplenet"}}}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


#: Every stage, and what may go through those that all methods share.
STAGES = [(stage, "") for stage in USES]
STAGES += [
    (stage, "net" if of == ANY else of) for stage, uses in USES_OF.items() for of in uses if of != IMPORTED
]


@pytest.mark.parametrize(("stage", "of"), STAGES)
def test_a_stage_sees_the_same_from_a_file_and_as_handed_over(stage: str, of: str, here: Path) -> None:
    demo = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    Path("config.yaml").write_text(yaml.safe_dump(demo | METHOD))
    name, sections = stage_settings(stage, "config.yaml", of)
    given = handed(load_experiment("config.yaml"), stage, of)
    given.write()
    again, read = stage_settings(stage, given.path)
    assert (name, sections) == (again, read)
    assert tuple(sections) == uses(stage, of)
    assert {key: type(value) for key, value in sections.items()} == {k: type(v) for k, v in read.items()}


def uses(stage: str, of: str) -> tuple[str, ...]:
    return USES[stage] if stage in USES else USES_OF[stage][ANY if of == "net" else of]


CHANGES = {
    "dataset": {"root": "data", "holdout": 0.2},
    "backbone": {"input_size": 256},
    "base": {"epochs": 3},
    "diffusion": {"images": 5},
    "sampling": {"steps": 5},
    "fusion": {"weight": 0.8},
    "seeds": [7],
    "methods": {"net": {"method": "simplenet", "width": 8}},
}


#: What stages are handed of other sections.
PARTS = {"dataset": {"image_size"}, "fusion": {"pool_size", "described"}, "methods": {"method", "described"}}
PARTS |= {"evaluation": {"timed_steps"}}
PARTS |= {section: {"described"} for section in ("backbone", "base", "diffusion", "sampling")}


@pytest.mark.parametrize("section", CHANGES)
def test_a_change_reaches_the_stages_that_use_it_and_no_other(section: str) -> None:
    before, after = experiment(**METHOD), experiment(**METHOD | {section: CHANGES[section]})
    changed = {one for one in STAGES if handed(before, *one) != handed(after, *one)}
    whole = {one for one in STAGES if section in uses(*one)}
    part = {one for one in STAGES if PARTS.get(section, set()) & set(uses(*one))}
    assert whole <= changed <= whole | part


def test_tables_are_told_in_what_base_and_drdc_are_not_the_papers() -> None:
    def told(**changes: Any) -> list[str]:
        described = json.loads(handed(experiment(**changes), "tables").text)["described"]
        return [described[name].get("citation", "") for name in ("base", "drdc")]

    bank = "its base map, from a memory bank, is not the paper's"
    other = "backbone differs (resnet18 for tf_efficientnet_b4)"
    beyond = {"base": {"memory": 100}, "fusion": {"base": "memory", "centred": True}}
    assert told() == ["", ""]
    assert told(backbone={"name": "resnet18"}) == [other, other]
    assert told(**beyond) == [bank, f"{bank}; its diffusion map, centred, is not the paper's"]
    assert told(base={"epochs": 25}) == ["with base.epochs 25 for 1000", ""]
    assert told(sampling={"steps": 2}, fusion={"filter_size": 5, "weight": 0.5}) == [
        "",
        "with sampling.steps 2 for 10, fusion.filter_size 5 for 21, fusion.weight 0.5 for 0.9",
    ]


def test_fusion_retrains_and_predicts_nothing() -> None:
    stages = {stage for stage, of in STAGES if "fusion" in uses(stage, of)}
    assert "score" in stages
    assert not stages & {"prepare", "images", "features", "weights", "train", "predict", "costs"}


def test_what_is_handed_over_is_complete() -> None:
    loaded = json.loads(handed(experiment(), "train", "diffusion").text)
    assert set(loaded) == {"stage", "experiment", "image_size", "diffusion"}
    assert set(loaded["diffusion"]) == set(Experiment.model_fields["diffusion"].annotation.model_fields)  # type: ignore[union-attr]


@pytest.mark.parametrize("of", ["unknown", "net"])
def test_what_an_experiment_does_not_have_is_refused(of: str) -> None:
    with pytest.raises(UserError, match=f"train: '{of}' is not part of .*; known: base, diffusion"):
        handed(experiment(), "train", of)


def test_the_name_of_what_is_handed_over_follows_its_content() -> None:
    paths = [one.path for one in all_handed(experiment(**METHOD))]
    paths += [one.path for one in all_handed(experiment(**METHOD, fusion={"weight": 0.8}))]
    assert len(set(paths)) < len(paths), "what did not change has the same file"
    assert handed(experiment(), "score").path != handed(experiment(fusion={"weight": 0.8}), "score").path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace('"steps":5', '"steps":4'), "is damaged or was changed"),
        (lambda text: text[:-5], "is not valid JSON"),
    ],
)
def test_changed_settings_that_were_handed_over_are_refused(
    change: Callable[[str], str], said: str, here: Path
) -> None:
    given = handed(experiment(sampling={"steps": 5}), "predict")
    given.write()
    given.path.write_text(change(given.text))
    with pytest.raises(UserError, match=f"{given.path.name}: {said}"):
        stage_settings("predict", given.path)
    given.write()
    assert stage_settings("predict", given.path)[1]["sampling"].steps == 5


def test_settings_of_another_stage_are_refused(here: Path) -> None:
    given = handed(experiment(), "predict")
    given.write()
    with pytest.raises(UserError, match="holds the settings of predict; name those of score"):
        stage_settings("score", given.path)


def test_settings_cannot_be_changed_after_loading() -> None:
    with pytest.raises(ValueError, match="frozen"):
        experiment().fusion.weight = 0.5


def test_a_hash_follows_the_values_and_not_their_order() -> None:
    e, other = experiment(), experiment(fusion={"weight": 0.8})
    assert config_hash({"fusion": e.fusion, "base": e.base}) == config_hash(
        {"base": e.base, "fusion": e.fusion}
    )
    assert config_hash({"fusion": e.fusion}) != config_hash({"fusion": other.fusion})
    assert len(config_hash({})) == 12


# --- what is generated -----------------------------------------------------------------------------------


def test_every_setting_says_what_it_is_and_where_its_default_comes_from() -> None:
    settings = dict(settings_of(Experiment))
    assert len(settings) > 60
    for key, field in settings.items():
        assert field.description, key
        assert field.description[-1] in ".)", key
        assert field.json_schema_extra["source"] in ("paper", "inferred", "ours"), key


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (manual.SCHEMA, manual.schema),
        (manual.MANUAL, manual.manual),
        (manual.DATASETS, manual.datasets),
    ],
)
def test_generated_files_are_up_to_date(file: Path, text: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert (ROOT / file).read_text(encoding="utf-8") == text(), "run `python -m drdc.experiment.manual`"


def test_the_manual_names_every_setting() -> None:
    """In the chapter of its section, or in one that this chapter refers to."""
    chapters = {part.partition("\n")[0]: part for part in manual.manual().split("\n## ")[1:]}
    for key, field in settings_of(Experiment):
        section, _, name = key.rpartition(".")
        chapter = chapters[f"`{section}`" if section else "Top level"]
        shared = [text for title, text in chapters.items() if f"[{title}](#" in chapter]
        row = f"| `{name}` | `{json.dumps(field.default)}` |"
        assert any(row in text for text in (chapter, *shared)), key


def test_the_manual_names_a_shared_setting_once() -> None:
    assert manual.manual().count("| `save_minutes` |") == 1


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(manual.schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_schema_accepts_every_file(validator: jsonschema.Draft202012Validator, file: Path) -> None:
    validator.validate(yaml.safe_load(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "wrong",
    [
        {"fusoin": {}},
        {"fusion": {"wieght": 1}},
        {"dataset": {"synthetic": {"trian": 1}}},
        {"dataset": {"root": "d", "name": "mvtek"}},
        {"fusion": {"weight": 2}},
        {"base": {"schedule": "linear"}},
        {"seeds": "all"},
    ],
)
def test_the_schema_rejects_what_loading_rejects(
    validator: jsonschema.Draft202012Validator, wrong: dict[str, Any]
) -> None:
    assert not validator.is_valid(wrong)
    with pytest.raises(UserError):
        load_experiment(SMALLEST | wrong)


def test_what_is_only_shown_of_a_method_reaches_no_stage_that_computes() -> None:
    """Another label: tables, figures and pages; the files that hold the whole experiment write it again."""
    shown = {"tables", "figures", "gallery"} | {stage for stage, keys in USES.items() if "methods" in keys}
    for change in ({"label": "Mine"}, {"citation": "Roe, 2026"}):
        before, after = experiment(**METHOD), experiment(methods={"net": METHOD["methods"]["net"] | change})
        changed = {stage for stage, of in STAGES if handed(before, stage, of) != handed(after, stage, of)}
        assert changed == shown
    assert not shown & {"train", "predict", "score", "collect", "costs", "self_check", "export", "prepare"}


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (
            {"a": {"label": "b"}, "b": {}},
            "methods.a.label: 'b' is the name of another method; give each a name",
        ),
        ({"a": {"label": "X"}, "b": {"label": "x"}}, "methods.b.label: 'x' is the name of another method"),
        ({"a": {"label": "drdc"}}, "methods.a.label: 'drdc' is the name of another method"),
        ({"a": {"label": "random map"}}, "methods.a.label: 'random map' is the name of another method"),
        ({"a": {"label": "_x"}}, "methods.a.label: invalid value '_x'; must not begin with an underscore"),
        ({"a": {"label": "x\ny"}}, "methods.a.label: invalid value 'x\\ny'; has a line break"),
        ({"a": {"label": "x" * 41}}, "string should have at most 40 characters"),
        (
            {"a": {"citation": ["Doe"]}},
            "methods.a.citation: invalid value ['Doe']; input should be a valid str",
        ),
    ],
)
def test_a_label_is_one_line_and_no_other_methods_name(methods: dict[str, Any], said: str) -> None:
    named = {name: {"method": "simplenet"} | own for name, own in methods.items()}
    assert said in fault(methods=named)


def test_a_label_that_is_a_number_is_text() -> None:
    assert (
        experiment(methods={"net": {"method": "simplenet", "label": 2024}}).methods["net"]["label"] == "2024"
    )
