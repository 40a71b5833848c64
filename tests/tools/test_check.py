"""The command `drdc check`: its table and its exit codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from drdc.cli import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in [f"train/good/{i:02d}" for i in range(20)] + ["test/good/0", "test/torn off/0"]:
        path = tmp_path / "data" / "Größe 2" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return tmp_path / "data"


def test_warnings_alone_end_with_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(folder)]) == 0
    out = capsys.readouterr().out
    head, rule, row, empty, end = out.splitlines()
    assert head.split() == ["severity", "kind", "category", "file", "problem", "what", "to", "do"]
    assert row == "warning   no-masks  Größe 2   -     has no masks  only image metrics are computed"
    assert set(rule) == {"-"}
    assert empty == ""
    assert end == f"{folder}: 22 images in 1 categories; 0 errors, 1 warnings"


def test_errors_stand_first_and_end_with_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "Größe 2/train/good/05.png").write_bytes(b"")
    (folder / "Größe 2/train/good/line\nbreak.png").write_bytes(b"x")
    assert main(["check", str(folder), "--threads", "2"]) == 1
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[2:-2]] == ["error"] * 3 + ["warning"]
    assert "line\\nbreak.png" in out
    assert "3 errors, 1 warnings" in out


def test_the_dataset_of_a_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = folder.parent / "own.yaml"
    dataset = {"name": "mvtec", "root": str(folder), "categories": ["Größe 2"]}
    config.write_text(yaml.safe_dump({"experiment": "own", "dataset": dataset}, allow_unicode=True))
    assert main(["check", "--config", str(config)]) == 0
    assert "has no masks" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["folder", "--config", "file.yaml"], ["nowhere"]])
def test_what_to_check_must_be_clear(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *arguments]) == 2
    assert "Traceback" not in capsys.readouterr().err
