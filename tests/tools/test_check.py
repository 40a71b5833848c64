"""The command `drdc check`: its table and its exit codes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from drdc.cli import main
from drdc.data.samples import Sample
from drdc.detection.detector import Detector
from drdc.tools.suspects import suspects


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
    line, empty, end = capsys.readouterr().out.splitlines()
    assert line == "warning no-masks, 1 x: category 'Größe 2': has no masks; only image metrics are computed"
    assert empty == ""
    assert end == f"{folder}: 22 images in 1 categories; 0 errors, 1 warnings"


def break_some(folder: Path) -> None:
    for i in range(5):
        (folder / f"Größe 2/train/good/{i:02d}.png").write_bytes(b"")
    (folder / "Größe 2/train/good/line\nbreak.png").write_bytes(b"x")


def test_a_line_for_each_kind_with_errors_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_some(folder)
    assert main(["check", str(folder), "--threads", "2"]) == 1
    out = capsys.readouterr().out
    assert [" ".join(line.split()[:4]) for line in out.splitlines()[:-2]] == [
        "error file-name, 1 x:",
        "error unreadable, 6 x:",
        "warning no-masks, 1 x:",
    ]
    assert "line\\nbreak.png" in out
    assert "(also Größe 2/train/good/01.png, Größe 2/train/good/02.png, ...)" in out
    assert "7 errors, 1 warnings" in out


def test_all_of_them_on_demand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_some(folder)
    assert main(["check", str(folder), "--all"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["severity", "kind", "category", "file", "problem", "what", "to", "do"]
    assert [line.split()[0] for line in lines[2:-2]] == ["error"] * 7 + ["warning"]


def test_the_dataset_of_a_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = folder.parent / "own.yaml"
    dataset = {"name": "mvtec", "root": str(folder), "categories": ["Größe 2"]}
    config.write_text(yaml.safe_dump({"experiment": "own", "dataset": dataset}, allow_unicode=True))
    assert main(["check", "--config", str(config)]) == 0
    assert "has no masks" in capsys.readouterr().out


def test_accepted_errors_are_told_and_end_with_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(folder / "Größe 2/train/good/03.png", folder / "Größe 2/test/good/leak.png")
    assert main(["check", str(folder)]) == 1
    config = folder.parent / "own.yaml"
    dataset = {"root": str(folder), "categories": ["Größe 2"], "accept": ["test-image-in-training"]}
    config.write_text(yaml.safe_dump({"experiment": "own", "dataset": dataset}, allow_unicode=True))
    capsys.readouterr()
    assert main(["check", "--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert "accepted test-image-in-training, 1 x" in out
    assert "0 errors, 1 warnings, 1 accepted errors" in out


@pytest.mark.parametrize("arguments", [[], ["folder", "--config", "file.yaml"], ["nowhere"]])
def test_what_to_check_must_be_clear(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", *arguments]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_with_a_model_a_defective_image_among_the_good_ones_comes_first(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dataset that the model was trained on, with one image of a test defect slipped in."""
    root = tmp_path / "data"
    shutil.copytree(exported / "dataset", root)
    category = sorted(path.name for path in root.iterdir() if path.is_dir())[0]
    with Image.open(next(iter(sorted((root / category / "train/good").iterdir())))) as image:
        blotted = np.array(image.convert("RGB"))
    blotted[12:40, 12:40] = (250, 20, 200)
    Image.fromarray(blotted).save(root / category / "train/good/slipped in.png")
    assert main(["check", str(root), "--model", str(exported), "--worst", "3"]) in (0, 1)
    lines = capsys.readouterr().out.splitlines()
    place = lines.index(next(line for line in lines if line.startswith("image ")))
    assert len(lines) - place == 4
    assert lines[place + 1].startswith(f"{category}/train/good/slipped in.png")
    assert lines[place + 1].split()[-1] == "0.091", "1 / 11: above all 10 held-out images of its category"
    assert "training images the most unusual" in lines[place - 1]


def test_an_image_is_compared_with_its_own_category_however_few_were_held_out(exported: Path) -> None:
    """And not with those that join it for a threshold: another product's scores say nothing about it."""
    root, own = exported / "dataset", Detector.load(exported).modes["full"].calibration
    samples = [
        Sample(path.relative_to(root).as_posix(), name, "train", 0, "good")
        for name in ("capsule", "wood")
        for path in sorted((root / name / "train/good").iterdir())[:2]
    ]
    for found in suspects(str(exported), root, samples):
        scores = own.scores[own.categories == found.path.partition("/")[0]]
        assert len(scores) == 10
        assert found.usual == pytest.approx(np.median(scores))
        assert found.excess == pytest.approx((found.score - np.median(scores)) / np.std(scores))


def test_a_model_that_does_not_know_the_images_is_one_sentence(
    exported: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(folder), "--model", str(exported)]) == 2
    assert f"drdc: {exported}: knows capsule, wood and no category of {folder}" in capsys.readouterr().err
