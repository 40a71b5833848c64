"""Compared methods in the workflow, run for real: one of ours, one of a package that a user installed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import forking
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from running import TINY, call, planned

from drdc.results.layout import SCORED

TOY = Path(__file__).parents[1] / "methods/toy"
RESULTS = Path("results/tiny")
METHODS = {
    "toy": {},
    "small": {"method": "simplenet", "width": 8, "epochs": 2, "batch_size": 4, "validations": 2},
}
#: What follows from the scores of any method.
TABLES = {"collect", "tables", "about", "html_report"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip has installed the toy, as a user installs a package with a method."""
    folder = tmp_path_factory.mktemp("toy")
    shutil.copytree(TOY, folder / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--target", str(folder / "site"), str(folder / "source")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "site"


def configured(folder: Path, methods: dict[str, dict[str, object]]) -> Path:
    config = yaml.safe_load(TINY.read_text()) | {"evaluation": {}, "methods": methods}
    (folder / "methods.yaml").write_text(yaml.safe_dump(config))
    return folder / "methods.yaml"


def run(folder: Path, installed: Path, methods: dict[str, dict[str, object]], *options: str) -> str:
    """Run the workflow with these methods; its output with the exit code in front."""
    arguments = call(folder, *options, "--cores", "2", "--configfile", configured(folder, methods))
    arguments["env"] |= {"PYTHONPATH": str(installed)}
    done = subprocess.run(**arguments, capture_output=True, check=False)
    return f"{done.returncode}\n{done.stdout}{done.stderr}"


def column(folder: Path, table: str, name: str) -> pd.DataFrame:
    frame = pd.read_csv(folder / RESULTS / f"tables/{table}.csv", keep_default_na=False)
    return frame[frame["column"] == name].set_index("row")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Path:
    """Scores and tables of the tiny experiment with both methods."""
    folder = tmp_path_factory.mktemp("run")
    wanted = ["table2", "summary", "metrics", "inference", "pareto", "heatmaps", "significance", "curves"]
    wanted += ["histograms", "defects", "separation", str(RESULTS / "detectors/small.safetensors")]
    wanted += [str(RESULTS / name) for name in ("scores.csv", "gallery.html")]
    output = run(folder, installed, METHODS, *wanted)
    assert output.startswith("0\n"), output
    return folder


def test_each_method_leaves_weights_curve_heatmaps_and_scores(folder: Path) -> None:
    for name in METHODS:
        for left in (f"{name}.safetensors", f"{name}.losses.csv", f"predictions/{name}/all.npy"):
            assert (folder / RESULTS / "seed0" / left).is_file()
        for kind in SCORED:
            assert (folder / RESULTS / f"seed0/scores/{name}/{kind}.csv").is_file()
    assert not list((folder / RESULTS / "state").rglob("*.pt")), "no state of a finished fitting"


def test_methods_stand_in_the_scores_as_methods_like_the_others(folder: Path) -> None:
    scores = pd.read_csv(folder / RESULTS / "scores.csv", keep_default_na=False)
    reference = scores[(scores.method == "drdc") & (scores.variant == "full")]
    for name in METHODS:
        own = scores[scores.method == name]
        places = [frame[["category", "metric"]].to_numpy().tolist() for frame in (own, reference)]
        assert places[0] == places[1]
        defined = own[own.note == ""]
        assert set(own.metric) - set(defined.metric) == {"pixel_segf1"}, "for want of held-out images"
        assert defined.value.astype(float).between(0, 1).all()
        assert (own.config_hash != "").all()
        assert (own.versions == reference.versions.iloc[0]).all()


def test_costs_and_gallery_show_each_method(folder: Path) -> None:
    seconds = column(folder, "inference", "seconds per image").value.astype(float)
    assert (seconds[list(METHODS)] > 0).all()
    page = (folder / RESULTS / "gallery.html").read_text(encoding="utf-8")
    (facts,) = re.findall(r'<script type="application/json" id="facts">(.*?)</script>', page)
    records = np.load(folder / RESULTS / "seed0/predictions/small/all.npy")
    paths = pd.read_csv(folder / RESULTS / "manifest.csv").path
    scores = dict(zip(paths[records["row"]], records["score"], strict=True))
    for image in json.loads(facts):
        assert image["scores"]["small"] == pytest.approx(scores[image["path"]])
        assert "toy" in image["scores"]


def test_a_picture_sets_the_heatmaps_of_all_methods_side_by_side(folder: Path) -> None:
    """Input, ground truth, base, DRDC and both methods: six panels, or four without them."""
    path = folder / RESULTS / "figures/heatmaps.png"
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    sixth = (1200 - 100) // 6
    for column in range(6):
        assert picture[30:100, 100 + column * sixth + 20 : 100 + column * sixth + 150].std() > 1
    assert "heatmaps needs methods to compare DRDC with" in _figure_without_methods(folder)


def _figure_without_methods(folder: Path) -> str:
    (folder / "none.yaml").write_text(yaml.safe_dump(yaml.safe_load(TINY.read_text()) | {"methods": {}}))
    command = [sys.executable, "-m", "drdc", "figures", "heatmaps", "--config", "none.yaml"]
    arguments = {"cwd": folder, "capture_output": True, "text": True, "check": False}
    done = subprocess.run(command, **arguments)
    assert done.returncode == 2
    return done.stderr


def test_the_tables_have_a_column_or_row_for_each_method(folder: Path) -> None:
    scores = pd.read_csv(folder / RESULTS / "scores.csv", keep_default_na=False)
    wood = scores[(scores.category == "wood") & (scores.metric == "image_auroc")].set_index("method").value
    for name in METHODS:
        assert float(column(folder, "table2", f"{name} (ours)").value["wood"]) == 100 * float(wood[name])
        assert name in column(folder, "summary", "Pixel AP").index
        assert f"wood: {name}" in column(folder, "metrics", "Pixel AP").index
    page = (folder / RESULTS / "tables/summary.html").read_text(encoding="utf-8")
    assert "small: Liu et al., SimpleNet" in page
    used, paper = "tf_efficientnet_lite0", "tf_efficientnet_b4"
    for name, published in {"small": "wide_resnet50_2", "base": paper, "DRDC": paper}.items():
        assert re.search(rf"{name}: .*backbone differs \({used} for {published}\)", page)


def test_a_changed_method_runs_again_alone(folder: Path, installed: Path) -> None:
    changed = METHODS | {"small": METHODS["small"] | {"width": 9}}
    output = run(folder, installed, changed, "--dry-run", "table2")
    jobs = planned(output)
    assert {rule: jobs.get(rule) for rule in ("train", "predict", "score")} == dict.fromkeys(
        ("train", "predict", "score"), 1
    )
    assert not {"prepare", "images", "features", "weights"} & set(jobs)


def test_without_methods_nothing_of_them_is_planned(folder: Path, installed: Path) -> None:
    assert not {"train", "predict"} & set(planned(run(folder, installed, {}, "--dry-run")))


def test_a_method_that_fails_is_failed_in_the_tables_and_the_rest_is_made(
    folder: Path, installed: Path, tmp_path: Path
) -> None:
    """A learning rate that no training survives: its loss is soon not finite."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    broken = METHODS | {"small": METHODS["small"] | {"learning_rate": 1e30}}
    assert run(copy, installed, broken, "table2", "summary").startswith("1\n")
    assert "change methods.small.learning_rate" in (copy / RESULTS / "logs/train.seed0.small.log").read_text(
        encoding="utf-8"
    )
    failed = column(copy, "table2", "small (ours)")
    assert (failed.note == "failed; see results/tiny/logs/train.seed0.small.log").all()
    assert (column(copy, "table2", "toy (ours)").value != "").all()


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ({"simplnet": {}}, "methods.simplnet: there is no method 'simplnet'; did you mean 'simplenet'?"),
        ({"a": {"method": "toy", "flor": 1}}, "methods.a.flor: unknown key; did you mean 'floor'?"),
        ({"drdc": {"method": "toy"}}, "'drdc' cannot be the name of a method"),
        ({"toy": {"floor": -1}}, "methods.toy.floor: invalid value -1; input should be greater than 0"),
    ],
)
def test_bad_methods_are_one_sentence(
    tmp_path: Path, installed: Path, methods: dict[str, dict[str, object]], words: str
) -> None:
    output = run(tmp_path, installed, methods, "--dry-run")
    assert output.startswith("1\n")
    assert words in output
    assert "Traceback" not in output


@pytest.mark.long
def test_the_commands_work_without_the_workflow(folder: Path, installed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    before = pd.read_csv(copy / RESULTS / "seed0/scores/toy/scores.csv")
    shutil.rmtree(copy / RESULTS / "seed0/scores/toy")
    shutil.rmtree(copy / RESULTS / "seed0/predictions/toy")
    (copy / RESULTS / "seed0/toy.safetensors").unlink()
    configured(copy, METHODS)
    environment = os.environ | {"PYTHONPATH": str(installed)}
    for command in ("train", "predict", "score"):
        line = [forking.folder() / "drdc", command, "toy", "--config", "methods.yaml", "--threads", "1"]
        subprocess.run(line, cwd=copy, env=environment, check=True, capture_output=True)
    again = pd.read_csv(copy / RESULTS / "seed0/scores/toy/scores.csv")
    assert again.value.equals(before.value)
