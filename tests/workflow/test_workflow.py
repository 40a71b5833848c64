"""The workflow, run for real at tiny size: its outputs, what it runs again and what it does not."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from running import ROOT, TINY, digests, planned, snakemake
from safetensors.numpy import load_file

from drdc.config.variants import ABLATION, BEYOND
from drdc.evaluation.metrics import METRICS, POOLED
from drdc.reporting.registry import FIGURES, TABLES
from drdc.results.layout import SCORED

HERE = Path(__file__).parent
RESULTS = Path("results/tiny")
#: What follows from the predictions.
SCORING = {"score", "collect", "tables", "figures", "fig3_and_categories", "gallery"}
SCORING |= {"about", "html_report", "self_check", "export"}


@pytest.fixture
def folder(finished: Path) -> Path:
    """A finished run of the tiny experiment, only to be read."""
    return finished


def test_everything_that_is_promised_is_there(folder: Path) -> None:
    promised = ["manifest.csv", "figures/fig3.png", "figures/overview.png", "figures/losses.png"]
    promised += [f"{kind}.csv" for kind in SCORED]
    promised += [f"seed0/scores/{run}/{kind}.csv" for run in ("full", "controls") for kind in SCORED]
    promised += [f"seed0/{name}.safetensors" for name in ("base", "diffusion", "unconditional")]
    promised += [
        f"tables/{t}.{kind}"
        for t in sorted({*TABLES} - {"readings", "reported", "study"})
        for kind in ("csv", "md", "tex", "html")
    ]
    drawn = {*FIGURES, "fig3-capsule", "fig3-wood"} - {"heatmaps", "study"}
    promised += [f"figures/{name}.{ending}" for name in drawn for ending in ("png", "pdf")]
    promised += [
        "report.html",
        "gallery.html",
        "detectors/drdc.safetensors",
        "about.html",
        "config.yaml",
        "costs.csv",
    ]
    missing = [name for name in promised if not (folder / RESULTS / name).is_file()]
    assert not missing
    assert not list((folder / RESULTS / "state").glob("*.pt")), "a finished training leaves no state behind"


def test_scores_are_tidy_and_complete(folder: Path) -> None:
    scores = pd.read_csv(folder / RESULTS / "scores.csv", keep_default_na=False)
    head = ["experiment", "method", "variant", "seed", "category", "metric", "value", "note"]
    assert list(scores)[: len(head)] == head
    assert {"code_version", "config_hash", "versions", "device"} < set(scores)
    methods = {"base", "diffusion", "drdc", "random_map"} | {
        f"oracle_mask@{s}" for s in ("1", "1/2", "1/4", "1/8", "1/16")
    }
    assert set(scores.method) == methods
    assert not scores.duplicated(["method", "variant", "seed", "category", "metric"]).any()
    pooled = scores[scores.category == "all"]
    assert len(pooled) == (2 + len(BEYOND)) * len(POOLED), "base, DRDC and its variants beyond the paper"
    assert len(scores) == (len(methods) + 6 + 3 + len(BEYOND)) * 2 * len(METRICS) + len(pooled)
    oracle = scores[(scores.method == "oracle_mask@1") & (scores.metric == "pixel_auroc")]
    assert (oracle.value.astype(float) == 1).all()


def test_the_manifest_separates_training_held_out_and_test_images(folder: Path) -> None:
    manifest = pd.read_csv(folder / RESULTS / "manifest.csv", keep_default_na=False)
    counts = manifest.groupby(["category", "split"]).size().to_dict()
    assert counts == {
        (c, s): n for c in ("capsule", "wood") for s, n in (("train", 7), ("val", 1), ("test", 6))
    }
    assert (manifest.label[manifest.split != "test"] == 0).all()
    assert manifest.sha256.is_unique


def test_a_second_run_does_nothing(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    again = snakemake(copy, "--configfile", TINY)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr + again.stdout
    assert f"Using workflow specific profile {ROOT / 'profiles/default'} " in again.stderr


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({"fusion": {"weight": 0.5}}, SCORING),
        ({"fusion": {"filter_size": 5}}, SCORING),
        ({"sampling": {"steps": 3}}, SCORING | {"predict", "costs"}),
        ({"base": {"epochs": 5}}, SCORING | {"train", "predict", "costs"}),
        ({"diffusion": {"images": 40}}, SCORING | {"train", "predict", "costs"}),
    ],
)
def test_a_changed_setting_runs_only_what_uses_it(
    folder: Path, tmp_path: Path, change: dict[str, dict[str, float]], rules: set[str]
) -> None:
    config = yaml.safe_load(TINY.read_text())
    for section, settings in change.items():
        config[section] |= settings
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(config))
    plan = snakemake(folder, "--configfile", tmp_path / "changed.yaml", "--dry-run")
    assert set(planned(plan.stdout + plan.stderr)) == rules


def test_a_new_weight_scores_again_and_trains_nothing(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before = digests(copy / RESULTS)
    done = snakemake(copy, "--configfile", TINY, "--config", "fusion={weight: 0.1}")
    assert done.returncode == 0, done.stderr
    after = digests(copy / RESULTS)
    changed = {name for name in before if before[name] != after[name]}
    assert {"seed0/scores/full/scores.csv", "scores.csv"} <= changed
    kept = {name for name in before if name.endswith((".safetensors", ".npy"))} - {
        "detectors/drdc.safetensors"
    }
    assert not kept & changed
    scores = [
        pd.read_csv(f / RESULTS / "seed0/scores/full/scores.csv")
        .set_index(["method", "category", "metric"])
        .value
        for f in (folder, copy)
    ]
    for method, same in (("base", True), ("diffusion", True), ("drdc", False)):
        assert scores[0][method].equals(scores[1][method]) == same


def test_the_raw_reading_is_scored_from_what_is_there(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    raw = "evaluation={sweeps: {raw_weight: [1.0]}}"
    done = snakemake(copy, "readings", "--configfile", TINY, "--config", raw)
    assert done.returncode == 0, done.stderr
    cells = len(ABLATION) + 1  # in the raw reading, and with λ = 1
    assert planned(done.stdout + done.stderr) == {"score": cells, "tables": 1, "readings": 1}
    scores = copy / RESULTS / "seed0/scores"
    of = ["category", "metric"]
    parts = pd.read_csv(scores / "full/scores.csv").set_index(["method", *of]).value
    alone = pd.read_csv(scores / "raw_weight=1/scores.csv").set_index(of).value
    pd.testing.assert_series_equal(alone, parts["diffusion"], check_names=False)
    scales = pd.read_csv(scores / "full/map_scales.csv").set_index("map")["mean"]
    table = (copy / RESULTS / "tables/readings.md").read_text()
    assert f"ratio {scales['base'] / scales['diffusion']:.3g}" in table
    assert "(a) best λ" in table


@pytest.mark.long
def test_predictions_do_not_depend_on_where_they_were_interrupted_or_cut(
    folder: Path, tmp_path: Path
) -> None:
    """Computed again with other batches, images keep their maps up to rounding; with the same, to the bit."""
    config = yaml.safe_load(TINY.read_text())
    reference = np.load(folder / RESULTS / "seed0/predictions/full/wood.npy")
    for batch_size, tolerance in ((5, 0.0), (2, 5e-3)):
        copy = tmp_path / f"batch{batch_size}"
        shutil.copytree(folder, copy)
        (copy / RESULTS / "seed0/predictions/full/wood.npy").unlink()
        config["sampling"]["batch_size"] = batch_size
        (copy / "config.yaml").write_text(yaml.safe_dump(config))
        command = [
            sys.executable,
            "-m",
            "drdc",
            "predict",
            "--config",
            "config.yaml",
            "--category",
            "wood",
            "--threads",
            "1",
        ]
        subprocess.run(command, cwd=copy, check=True, capture_output=True)
        again = np.load(copy / RESULTS / "seed0/predictions/full/wood.npy")
        for name in ("base1", "k4.scale1", "k8.scale8", "last"):
            assert np.abs(again[name].astype(float) - reference[name].astype(float)).max() <= tolerance


def test_bad_configuration_is_one_sentence(tmp_path: Path) -> None:
    config = yaml.safe_load(TINY.read_text())
    config["fusion"]["wieght"] = 0.5
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(config))
    failed = snakemake(tmp_path, "--configfile", tmp_path / "bad.yaml")
    text = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert "fusion.wieght: unknown key; did you mean 'weight'?" in text
    assert "Traceback" not in text


def test_a_section_that_is_written_twice_is_refused_in_each_file_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "over.yaml").write_text("fusion: {filter_size: 5}\nfusion: {weight: 0.5}\n")
    failed = snakemake(tmp_path, "--dry-run", "--configfile", TINY, tmp_path / "over.yaml")
    assert failed.returncode != 0
    last = (failed.stdout + failed.stderr).strip().splitlines()[-1]
    assert last.endswith("over.yaml: fusion: is written in line 1 and again in line 2; keep one of them")


def test_the_papers_experiment_is_planned_as_it_should_be(tmp_path: Path) -> None:
    plan = snakemake(
        tmp_path, "--configfile", ROOT / "config/mvtec.yaml", "--dry-run", "--resources", "gpu=4"
    )
    assert plan.returncode == 0, plan.stderr
    expected = {"download": 1, "weights": 1, "prepare": 1, "images": 1, "features": 1, "groups": 1}
    expected |= {"train": 5 + 5 + 1}
    expected |= {"costs": 1, "collect": 1, "self_check": 1, "export": 1}
    expected |= {"predict": 15 * 5 + 14, "score": 5 + 5 + 106}
    expected |= {
        "tables": 14,
        "figures": 8,
        "fig3_and_categories": 1,
        "gallery": 1,
        "about": 1,
        "html_report": 1,
    }
    assert planned(plan.stdout + plan.stderr) == expected


@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        ("table2", {"train": 2, "predict": 2, "score": 2, "tables": 1}),
        ("table5", {"train": 3, "predict": 4, "score": 7, "tables": 1}),
        ("fig2", {"train": 2, "predict": 3, "score": 4, "figures": 1}),
        ("fig3", {"train": 2, "predict": 2, "score": 1, "fig3_and_categories": 1}),
    ],
)
def test_a_named_target_runs_only_what_it_needs(tmp_path: Path, target: str, jobs: dict[str, int]) -> None:
    plan = snakemake(tmp_path, "--configfile", TINY, "--dry-run", target)
    found = planned(plan.stdout + plan.stderr)
    found.pop(target)
    assert found == {"prepare": 1, "weights": 1, "images": 2, "features": 1, "groups": 1} | jobs


@pytest.mark.parametrize(
    ("sweeps", "jobs"),
    [
        ({"weight": [0.5, 0.7]}, {"score": 1}),
        ({"scales": [[1], [1, 2]]}, {"score": 2}),
        ({"initial_index": [100]}, {"score": 1, "predict": 1}),
    ],
)
def test_a_new_value_of_a_sweep_computes_that_value(
    folder: Path, tmp_path: Path, sweeps: dict[str, list[Any]], jobs: dict[str, int]
) -> None:
    config = yaml.safe_load(TINY.read_text())
    config["evaluation"]["sweeps"] |= sweeps
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(config))
    plan = snakemake(folder, "--configfile", tmp_path / "changed.yaml", "--dry-run")
    found = planned(plan.stdout + plan.stderr)
    computed = {rule: n for rule, n in found.items() if rule not in SCORING - {"score"}}
    assert computed == jobs


def test_variants_are_what_they_say(folder: Path) -> None:
    scores = pd.read_csv(folder / RESULTS / "scores.csv", keep_default_na=False)
    assert set(scores.variant) == {*ABLATION, *BEYOND, "steps=1", "weight=0.5", "grid_sizes=4"}
    values = scores[scores.method == "drdc"].set_index(["variant", "category", "metric"]).value
    names = sorted(set(scores.variant))
    same = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :] if values[a].equals(values[b])]
    assert not same, "each variant changes something"
    table = pd.read_csv(folder / RESULTS / "tables/table5.csv", keep_default_na=False)
    ours = table[(table.row.str.contains("MC+STF", regex=False)) & (table.column == "Image AUROC")]
    expected = 100 * values["MC+STF"].unstack()["image_auroc"].astype(float).mean()
    assert float(ours.value.iloc[0]) == pytest.approx(expected)


def test_a_failed_variant_stands_as_failed_and_the_rest_is_made(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    damaged = copy / RESULTS / "seed0/unconditional.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    done = snakemake(copy, "--configfile", TINY)
    assert done.returncode == 1
    text = (copy / RESULTS / "tables/table5.md").read_text()
    assert "failed" in text
    assert "logs/predict.seed0.TTC.all.log" in text.replace("\\", "")
    rows = [line for line in text.splitlines() if line.startswith("| test-time")]
    assert rows
    assert all("failed" in row for row in rows)
    assert "failed" not in next(line for line in text.splitlines() if line.startswith("| full ("))
    for name in ("tables/table2.md", "tables/significance.html", "figures/fig2.png", "figures/fig3.png"):
        assert (copy / RESULTS / name).is_file(), name
    shutil.copy(folder / RESULTS / "seed0/unconditional.safetensors", damaged)
    assert snakemake(copy, "--configfile", TINY).returncode == 0
    assert "failed" not in (copy / RESULTS / "tables/table5.md").read_text()


def test_a_category_without_predictions_is_failed_alone(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for name in ("seed0/predictions/full/wood.npy", "seed0/scores/full/scores.csv", "tables/table2.md"):
        (copy / RESULTS / name).unlink()
    command = [sys.executable, "-m", "drdc", "partial-report", "score.seed0.full", "tables.table2"]
    command += ["--config", TINY, "--threads", "1"]
    subprocess.run(command, cwd=copy, check=True, capture_output=True)
    lines = (copy / RESULTS / "tables/table2.md").read_text().splitlines()
    assert "failed" in next(line for line in lines if line.startswith("| wood"))
    assert "failed" not in next(line for line in lines if line.startswith("| capsule"))
    assert any("predict.seed0.full.wood.log" in line.replace("\\", "") for line in lines)


def test_costs_follow_the_calls_and_the_networks(folder: Path) -> None:
    costs = pd.read_csv(folder / RESULTS / "costs.csv").set_index(["method", "variant"])
    base, one, full = costs.loc[("base", "full")], costs.loc[("drdc", "steps=1")], costs.loc[("drdc", "full")]
    assert (base.unet_calls, one.unet_calls, full.unet_calls) == (0, 4, 8)
    assert full.flops - base.flops == 2 * (one.flops - base.flops) > 0
    assert 0 < base.seconds_per_image < full.seconds_per_image
    unet = sum(weight.size for weight in load_file(folder / RESULTS / "seed0/diffusion.safetensors").values())
    assert full.parameters - base.parameters == one.parameters - base.parameters == unet


def test_variants_keep_only_the_means_that_they_are_scored_from(folder: Path) -> None:
    predictions = folder / RESULTS / "seed0/predictions"
    assert {p.name for p in predictions.iterdir()} == {"full", "MC", "TTC", "steps=1"}
    lean, detailed = (np.load(predictions / name) for name in ("steps=1/all.npy", "MC/all.npy"))
    assert sorted(lean["row"]) == sorted(detailed["row"])
    assert lean.dtype.itemsize < detailed.dtype.itemsize / 2
    assert "reconstruction" not in lean.dtype.names


def test_report_and_gallery_need_nothing_else(folder: Path) -> None:
    report = (folder / RESULTS / "report.html").read_text(encoding="utf-8")
    for words in (
        "Figure 2: sensitivity to the settings",
        "Table 5: what each part contributes",
        "Where the numbers come from",
        "1 At a glance",
        "Image AUROC: DRDC ",
    ):
        assert words in report
    gallery = (folder / RESULTS / "gallery.html").read_text(encoding="utf-8")
    assert gallery.count('"category": "wood"') + gallery.count('"category":"wood"') == 6
    settings = yaml.safe_load((folder / RESULTS / "config.yaml").read_text())
    given = yaml.safe_load(TINY.read_text())
    assert settings["sampling"].items() >= given["sampling"].items()
    about = (folder / RESULTS / "about.html").read_text(encoding="utf-8")
    for words in ("28 U-Net calls an image and seed\ninstead of 84", "train", "torch "):
        assert words in about
