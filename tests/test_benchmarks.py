"""Every script of `benchmarks/` starts, and measures something at a tiny size."""

from __future__ import annotations

import csv
import importlib.util
import re
import sys
from contextlib import chdir
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[module.__name__] = module  # where its dataclasses look for their types
    spec.loader.exec_module(module)
    return module


def run(monkeypatch: pytest.MonkeyPatch, module: ModuleType, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    module.main()


@pytest.mark.parametrize("name", SCRIPTS)
def test_each_starts_and_says_how_it_is_called(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, loaded(name), "--help")
    assert ended.value.code == 0
    assert f"python benchmarks/{name}.py" in capsys.readouterr().out


def test_metrics(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run(monkeypatch, loaded("metrics"), "--maps", "2", "--size", "16", "--repeats", "1")
    assert "scikit_learn" in capsys.readouterr().out


@pytest.mark.parametrize("variant", ["full", "weight=0.5"])
def test_scoring(variant: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = loaded("scoring")
    for name, value in {"SIZE": 32, "TEST": 4, "HELD_OUT": 2, "DEFECT": slice(8, 16)}.items():
        monkeypatch.setattr(module, name, value)
    run(monkeypatch, module, "--categories", "2", "--variant", variant)
    assert "2 categories, 8 test images" in capsys.readouterr().out


def test_conditioning_compares_both_models(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--initial-index", "20", "--grid-sizes", "4", "8")
    with chdir(finished):
        run(monkeypatch, loaded("conditioning"), "results/tiny/config.yaml", *options)
        rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
        run(monkeypatch, loaded("synthetic_defects"), "results/tiny/config.yaml", "--kept", *options)
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
        run(monkeypatch, loaded("synthetic_defects"), "config.yaml", *options)
        run(
            monkeypatch,
            loaded("synthetic_defects"),
            *("config.yaml", "--weights", "0.5", "1", "--raw-weights", "1"),
        )
    chain, model, half, scaled, raw = capsys.readouterr().out.splitlines()
    assert half.startswith("normalisation mean, weight 0.5: image ")
    assert scaled.startswith("normalisation mean, weight 1: image ")
    assert raw.startswith("normalisation none, weight 1: image ")
    assert raw.partition(":")[2] == scaled.partition(":")[2], "the diffusion map alone, on whatever scale"
    assert chain.startswith("initial index 20, grid sizes [4]: ")
    assert model.startswith(f"{exported}/detectors/drdc.safetensors: ")
