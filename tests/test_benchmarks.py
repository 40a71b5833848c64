"""Every benchmark starts and measures something at a tiny size; and so do both studies of accuracy."""

from __future__ import annotations

import csv
import importlib
import re
import sys
from contextlib import chdir
from math import nan
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import cases
from benchmarks.__main__ import BENCHMARKS, PUBLISHED, main
from benchmarks.cases.metrics import ours, sample, scikit_learn, truth
from benchmarks.harness import Contestant, Race, Row, measured, peak_of, python
from benchmarks.report import COLUMNS, add, page, read
from benchmarks.uniad import UniAD

STUDIES = ("beyond", "conditioning", "synthetic_defects")
#: Those that start processes or import anomalib.
LONG = {"detect", "huge_pages", "jobs", "load", "metrics"}
EACH = [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in BENCHMARKS]


@pytest.mark.parametrize("name", EACH)
def test_each_measures(name: str, tmp_path: Path) -> None:
    main(["--only", name, "--tiny", "--images", "20", "--output", str(tmp_path)])
    (path,) = tmp_path.glob("*.csv")
    rows = read(path)
    assert rows
    assert {row["benchmark"] for row in rows} == {name}
    for row in rows:
        assert (row["note"] == "not installed") == (row["seconds"] == "")
        assert float(row["seconds"] or 1) > 0
        assert float(row["error"] or 0) < 0.05
    assert float(rows[0]["ratio"] or 1) == 1
    assert rows[0]["contestant"] in (tmp_path / "README.md").read_text()


def test_a_benchmark_for_each_module() -> None:
    assert set(BENCHMARKS) == {path.stem for path in Path(cases.__file__).parent.glob("[!_]*.py")}


def test_the_published_page_is_that_of_the_published_numbers() -> None:
    assert (PUBLISHED / "README.md").read_text(encoding="utf-8") == page(PUBLISHED, BENCHMARKS)
    assert list(PUBLISHED.glob("*.csv"))


def test_rows_of_other_benchmarks_are_kept(tmp_path: Path) -> None:
    about = {"processor": "one", "cores": "2"}
    for benchmark, seconds in (("plan", 1.0), ("gallery", 2.0), ("plan", 3.0)):
        row = Row("", "drdc", "", seconds, seconds, nan, nan, nan, nan, "", "")
        add(tmp_path, "machine", about, benchmark, [row], "abc")
    rows = read(tmp_path / "machine.csv")
    assert tuple(rows[0]) == COLUMNS
    assert [(row["benchmark"], row["seconds"], row["ratio"]) for row in rows] == [
        ("gallery", "2", ""),
        ("plan", "3", ""),
    ]
    text = page(tmp_path, BENCHMARKS)
    assert "## one\n" in text
    assert text.index("### gallery") < text.index("2 s") < text.index("### plan") < text.index("3 s")


def test_contestants_take_turns_after_a_warm_up() -> None:
    order: list[str] = []
    race = Race(
        "", "run", [Contestant(name, lambda name=name: order.append(name)) for name in "ab"], rounds=2
    )
    assert [row.contestant for row in measured(race)] == ["a", "b"]
    assert order == ["a", "b"] * 3


def test_a_single_round_has_no_warm_up() -> None:
    order: list[str] = []
    measured(Race("", "run", [Contestant("once", lambda: order.append("once"))], rounds=1))
    assert order == ["once"]


def test_what_is_not_installed_says_so() -> None:
    first, second = measured(Race("", "run", [Contestant("a", lambda: None), Contestant("b", None)]))
    assert (first.note, second.note) == ("", "not installed")
    assert np.isnan([second.seconds, second.ratio, second.memory]).all()


def test_memory_is_what_a_run_adds_at_most() -> None:
    size = 50_000_000
    kept = np.ones(size, np.uint8)
    race = Race(
        "", "run", [Contestant("", lambda: np.ones(size, np.uint8).sum()), Contestant("", lambda: kept.sum())]
    )
    adding, reading = measured(race)
    assert adding.memory == pytest.approx(size, rel=0.1)
    assert reading.memory < size / 10


def test_memory_of_a_process_is_its_own() -> None:
    kept = np.ones(500_000_000, np.uint8)  # of the process that starts it
    peak = peak_of(python("-c", "import time; values = bytearray(100_000_000); time.sleep(0.5)"))
    assert 100e6 < peak < 200e6 < kept.nbytes


def test_a_command_that_fails_tells_what_it_printed() -> None:
    with pytest.raises(RuntimeError, match="no such thing"):
        peak_of(python("-c", "raise SystemExit('no such thing')"))


def test_the_truth_is_scikit_learns_and_ours() -> None:
    scores, masks = sample(4, 32)
    scores = np.round(scores, 1)  # with ties
    true = truth(scores, masks)
    assert scikit_learn(scores, masks) == pytest.approx(
        {name: true[name] for name in ("pixel_auroc", "pixel_ap")}
    )
    assert {name: ours(scores, masks)[name] for name in true} == pytest.approx(true, abs=1e-6)


def test_uniad_has_the_size_of_the_published_one() -> None:
    network = UniAD()
    assert sum(parameter.numel() for parameter in network.parameters()) == 7_717_392
    features = torch.randn(2, 272, 14, 14)
    assert network.eval()(features).shape == features.shape


def study(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["study", *arguments])
    importlib.import_module(f"benchmarks.{name}").main()


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_says_how_it_is_called(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        study(monkeypatch, name, "--help")
    assert ended.value.code == 0
    assert f"python benchmarks/{name}.py" in capsys.readouterr().out


def test_conditioning_compares_both_models(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--initial-index", "20", "--grid-sizes", "4", "8")
    with chdir(finished):
        study(monkeypatch, "conditioning", "results/tiny/config.yaml", *options)
        rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
        study(monkeypatch, "synthetic_defects", "results/tiny/config.yaml", "--kept", *options)
        kept = capsys.readouterr().out.splitlines()
    both = [(model, k) for model in ("diffusion", "unconditional") for k in ("4", "8")]
    assert [(row["model"], row["grid_size"]) for row in rows] == both
    assert all(0 <= float(row["image_auroc"]) <= 100 for row in rows)
    assert all(float(row["error_elsewhere"]) == pytest.approx(1, abs=0.3) for row in rows)
    assert [line.partition(":")[0] for line in kept] == [
        f"{model}, initial index 20, grid size {k}" for model, k in both
    ]
    shares = [int(share) for line in kept for share in re.findall(r"(-?\d+) % of a", line)]
    assert len(shares) == 8
    assert all(-20 <= share <= 120 for share in shares)


def test_variants_beyond_the_paper_are_tried_on_synthetic_defects(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with chdir(exported.parents[1]):
        options = ("--weights", "0.3", "1", "--defects", "1", "--stages", "2,3", "0,1,2,3")
        study(monkeypatch, "beyond", "config.yaml", *options)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert sum(line[-1] == "*" for line in lines) == 8, "the best weight of each base heatmap, centred or not"
    found = {tuple(line[:3]): line[3:] for line in map(_in_parts, lines)}
    assert len(found) == 16
    assert all(0 <= float(value) <= 100 for numbers in found.values() for value in numbers)
    for shown in ("as", "centred"):
        assert found["memory", shown, "1"] == found["transformer", shown, "1"], "the diffusion map alone"
        assert found["memory", shown, "0.3"] != found["transformer", shown, "0.3"]
        assert found["2,3", shown, "0.3"] == found["memory", shown, "0.3"], "the experiment's own"
        assert found["0,1,2,3", shown, "0.3"] != found["memory", shown, "0.3"]


def _in_parts(line: list[str]) -> list[str]:
    """A printed line without the last words of "as it is" and the mark."""
    return [word for word in line if word not in ("it", "is", "*")]


def test_synthetic_defects(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with chdir(exported.parents[1]):
        options = (
            "--initial-index",
            "20",
            "--grid-sizes",
            "4",
            "--model",
            str(exported / "detectors/drdc.safetensors"),
        )
        study(monkeypatch, "synthetic_defects", "config.yaml", *options)
        study(
            monkeypatch,
            "synthetic_defects",
            *("config.yaml", "--weights", "0.5", "1", "--raw-weights", "1"),
        )
    chain, model, half, scaled, raw = capsys.readouterr().out.splitlines()
    assert half.startswith("normalisation mean, weight 0.5: image ")
    assert scaled.startswith("normalisation mean, weight 1: image ")
    assert raw.startswith("normalisation none, weight 1: image ")
    assert raw.partition(":")[2] == scaled.partition(":")[2], "the diffusion map alone, on whatever scale"
    assert chain.startswith("initial index 20, grid sizes [4]: ")
    assert model.startswith(f"{exported}/detectors/drdc.safetensors: ")
