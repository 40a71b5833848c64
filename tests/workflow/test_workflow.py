"""The workflow, run for real at tiny size: its outputs, what it runs again and what it does not."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = Path("results/tiny")


def snakemake(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(part) for part in [*command, "--cores", "2", *options]],
        capture_output=True, text=True, env=os.environ | {"PATH": path}, cwd=folder, check=False,
    )  # fmt: skip


def planned(output: str) -> dict[str, int]:
    """Jobs of a dry run, by rule."""
    stats = output.split("Job stats:")[1].split("total")[0] if "Job stats:" in output else ""
    return {rule: int(count) for rule, count in re.findall(r"^(\w+)\s+(\d+)$", stats, re.M) if rule != "all"}


def digests(folder: Path) -> dict[str, str]:
    files = [
        p for p in folder.rglob("*") if p.is_file() and "logs" not in p.parts and "benchmarks" not in p.parts
    ]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny experiment."""
    folder = tmp_path_factory.mktemp("run")
    done = snakemake(folder, "--configfile", HERE / "tiny.yaml")
    assert done.returncode == 0, done.stderr
    return folder


def test_everything_that_is_promised_is_there(folder: Path) -> None:
    promised = [
        "manifest.csv",
        "scores.csv",
        "figures/fig3.png",
        "figures/overview.png",
        "figures/losses.png",
    ]
    promised += [f"seed0/{name}" for name in ("base.safetensors", "diffusion.safetensors", "scores.csv")]
    promised += [
        f"tables/{t}.{kind}" for t in ("table1", "table2", "table3") for kind in ("csv", "md", "tex")
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
    assert not scores.duplicated(["method", "seed", "category", "metric"]).any()
    assert len(scores) == len(methods) * 2 * 7
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


def test_a_second_run_does_nothing(folder: Path) -> None:
    again = snakemake(folder, "--configfile", HERE / "tiny.yaml")
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr + again.stdout


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ({"fusion": {"weight": 0.5}}, {"score", "tables", "figures"}),
        ({"fusion": {"filter_size": 5}}, {"score", "tables", "figures"}),
        ({"sampling": {"steps": 3}}, {"predict", "score", "tables", "figures"}),
        ({"base": {"epochs": 5}}, {"train_base", "predict", "score", "tables", "figures"}),
        ({"diffusion": {"images": 40}}, {"train_diffusion", "predict", "score", "tables", "figures"}),
    ],
)
def test_a_changed_setting_runs_only_what_uses_it(
    folder: Path, tmp_path: Path, change: dict[str, dict[str, float]], rules: set[str]
) -> None:
    config = yaml.safe_load((HERE / "tiny.yaml").read_text())
    for section, settings in change.items():
        config[section] |= settings
    (tmp_path / "changed.yaml").write_text(yaml.safe_dump(config))
    plan = snakemake(folder, "--configfile", tmp_path / "changed.yaml", "--dry-run")
    assert set(planned(plan.stdout + plan.stderr)) == rules


def test_a_new_weight_scores_again_and_trains_nothing(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before = digests(copy / RESULTS)
    done = snakemake(copy, "--configfile", HERE / "tiny.yaml", "--config", "fusion={weight: 0.1}")
    assert done.returncode == 0, done.stderr
    after = digests(copy / RESULTS)
    changed = {name for name in before if before[name] != after[name]}
    assert {"seed0/scores.csv", "scores.csv"} <= changed
    assert not [name for name in changed if name.endswith((".safetensors", ".npy"))]
    scores = [
        pd.read_csv(f / RESULTS / "scores.csv").set_index(["method", "category", "metric"]).value
        for f in (folder, copy)
    ]
    for method, same in (("base", True), ("diffusion", True), ("drdc", False)):
        assert scores[0][method].equals(scores[1][method]) == same


def test_predictions_do_not_depend_on_where_they_were_interrupted_or_cut(
    folder: Path, tmp_path: Path
) -> None:
    """Computed again with other batches, images keep their maps up to rounding; with the same, to the bit."""
    config = yaml.safe_load((HERE / "tiny.yaml").read_text())
    reference = np.load(folder / RESULTS / "seed0/predictions/wood.npy")
    for batch_size, tolerance in ((5, 0.0), (2, 5e-3)):
        copy = tmp_path / f"batch{batch_size}"
        shutil.copytree(folder, copy)
        (copy / RESULTS / "seed0/predictions/wood.npy").unlink()
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
        again = np.load(copy / RESULTS / "seed0/predictions/wood.npy")
        for name in ("base", "scale1", "scale8"):
            assert np.abs(again[name].astype(float) - reference[name].astype(float)).max() <= tolerance


def test_bad_configuration_is_one_sentence(tmp_path: Path) -> None:
    config = yaml.safe_load((HERE / "tiny.yaml").read_text())
    config["fusion"]["wieght"] = 0.5
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(config))
    failed = snakemake(tmp_path, "--configfile", tmp_path / "bad.yaml")
    text = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert "unknown key 'fusion.wieght'; did you mean 'weight'?" in text
    assert "Traceback" not in text


def test_the_papers_experiment_is_planned_as_it_should_be(tmp_path: Path) -> None:
    plan = snakemake(
        tmp_path, "--configfile", ROOT / "config/mvtec.yaml", "--dry-run", "--resources", "gpu=4"
    )
    assert plan.returncode == 0, plan.stderr
    expected = {"prepare": 1, "features": 1, "train_base": 5, "train_diffusion": 5, "predict": 75, "score": 5}
    assert planned(plan.stdout + plan.stderr) == expected | {"tables": 1, "figures": 1}


def test_the_report_is_one_file_without_outside_links(folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    done = snakemake(folder, "--configfile", HERE / "tiny.yaml", "--report", report)
    assert done.returncode == 0, done.stderr
    assert "Figure 3" in report.read_text(encoding="utf-8")


def test_lint_and_format() -> None:
    assert "in a good condition" in "".join(vars(snakemake(ROOT, "--lint"))[k] for k in ("stdout", "stderr"))
    files = [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]
    formatted = subprocess.run(
        [Path(sys.executable).with_name("snakefmt"), "--check", *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert formatted.returncode == 0, formatted.stderr
