"""A compared method as a detector: the workflow's own scores, decisions, one mode, files that it refuses."""

from __future__ import annotations

import json
import shutil
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import torch
import yaml
from exporting import drdc, experiment
from PIL import Image
from running import planned, snakemake

from drdc import Detector
from drdc.detection.detector import Detection
from drdc.detection.model_file import load_model_file, save_model_file
from drdc.detection.web_page import SHOWN, Seen, Visit, check_size, page
from drdc.runtime.digests import sha256_of
from drdc.runtime.errors import UserError

SMALL = {"width": 16, "epochs": 20, "batch_size": 4, "validations": 2, "patch": 1, "blur": 1}
#: One that uses the experiment's features, and one that looks at the pixels alone.
METHODS: dict[str, dict[str, Any]] = {
    "small": {"method": "simplenet", "learning_rate": 3e-3, "noise": 1.0, **SMALL},
    "patches": {
        **{"method": "psvdd", "patch": 8, "widths": [16], "code": 16, "small_stride": 4, "large_stride": 4},
        **{"memory": 2000, "epochs": 20, "batch_size": 8, "validations": 2, "learning_rate": 3e-3},
    },
}
COMMANDS = ("train", "predict", "score", "export")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a small experiment with two exported methods; only to be read."""
    stages = ["prepare", "images 32", "images 64", "features", "groups"]
    stages += [f"{command} {name}" for name in METHODS for command in COMMANDS]
    return experiment(tmp_path_factory.mktemp("methods"), stages, methods=METHODS)


def exported(trained: Path, name: str) -> Path:
    return trained / f"detectors/{name}.safetensors"


@pytest.fixture(scope="module")
def detector(trained: Path) -> Detector:
    return Detector.load(exported(trained, "small"))


def stored(trained: Path, name: str, split: str) -> tuple[list[Path], np.ndarray]:
    """Images of one split, and what the workflow stored of them."""
    table = pd.read_csv(trained / "manifest.csv", keep_default_na=False)
    records = np.load(trained / f"seed0/predictions/{name}/all.npy")
    records = records[(table.split[records["row"]] == split).to_numpy()]
    return [trained / "dataset" / path for path in table.path[records["row"]]], records


@pytest.mark.parametrize("split", ["test", "val"])
@pytest.mark.parametrize("name", list(METHODS))
def test_an_image_has_the_score_and_heatmap_that_the_workflow_gave_it(
    trained: Path, name: str, split: str
) -> None:
    paths, records = stored(trained, name, split)
    detector = Detector.load(exported(trained, name))
    found = list(detector.detect_many(paths, batch_size=3))
    np.testing.assert_allclose([one.score for one in found], records["score"], rtol=1e-3)
    half = [np.asarray(Image.fromarray(one.heatmap).reduce(2)) for one in found]  # 64 pixels -> the stored 32
    for own, heatmap in zip(half, records["heatmap"].astype(np.float32), strict=True):
        assert np.abs(own - heatmap).mean() < 0.2 * heatmap.std()


def test_the_calibration_is_that_of_the_held_out_images(trained: Path, detector: Detector) -> None:
    paths, records = stored(trained, "small", "val")
    calibration = detector.modes["full"].calibration
    assert len(paths) == 20
    np.testing.assert_array_equal(calibration.scores, records["score"])
    np.testing.assert_array_equal(calibration.peaks, records["heatmap"].max((1, 2)))
    assert calibration.categories.tolist() == [path.relative_to(trained).parts[1] for path in paths]


def test_the_header_says_where_the_method_comes_from_and_how_good_it_is(
    trained: Path, detector: Detector
) -> None:
    scores = pd.read_csv(trained / "seed0/scores/small/scores.csv", keep_default_na=False)
    for name, accuracy in detector.modes["full"].accuracy.items():
        assert accuracy == pytest.approx(scores[scores.metric == name].value.astype(float).mean())
    assert set(detector.modes["full"].accuracy) == {"image_auroc", "pixel_auroc"}
    assert detector.provenance["config_hash"] == scores.config_hash.iloc[0]
    assert (detector.experiment, detector.method) == ("tiny", "small")
    assert detector.categories == ["capsule", "wood"]


def test_the_backbone_is_in_every_file_of_several_categories_to_tell_them_apart(trained: Path) -> None:
    parts = {
        name: {key.split(".")[0] for key in load_model_file(exported(trained, name))[1]} for name in METHODS
    }
    everything = {"method", "backbone", "calibration", "groups"}
    assert all(own == everything for own in parts.values())


def test_a_blot_is_found_where_it_is_and_called_anomalous(trained: Path) -> None:
    detector = Detector.load(exported(trained, "patches"))
    clean = Image.open(stored(trained, "patches", "val")[0][0]).convert("RGB").resize((96, 72))
    dirty = clean.copy()
    dirty.paste((255, 0, 200), (10, 10, 34, 34))
    before, after = detector.detect_many([clean, dirty])
    assert after.score > before.score
    assert after.anomalous
    assert after.p_value == pytest.approx(1 / 21)
    assert after.heatmap.shape == (72, 96)
    row, column = np.unravel_index(after.heatmap.argmax(), after.heatmap.shape)
    assert 2 <= row <= 42
    assert 2 <= column <= 42
    changed = np.abs(np.asarray(after.overlay(), float) - np.asarray(dirty, float)).sum(2)
    assert changed[8:36, 8:36].mean() > 3 * changed[45:, 60:].mean()


def test_looking_at_an_image_leaves_the_callers_random_numbers_alone(detector: Detector) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    detector.detect(np.zeros((8, 8, 3), np.uint8))
    assert torch.equal(torch.rand(3), expected)


def test_there_is_no_fast_mode_and_it_is_said_in_one_sentence(
    trained: Path, detector: Detector, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="small has no fast mode, which only DRDC has; leave `fast` out"):
        detector.detect_many(["missing.png"], fast=True)
    shutil.copy(stored(trained, "small", "test")[0][0], tmp_path / "one.png")
    command = ("detect", "--model", str(exported(trained, "small")), "--output", "out", "one.png", "--fast")
    assert drdc(tmp_path, *command) == 2
    assert capsys.readouterr().err == (
        "drdc: small has no fast mode, which only DRDC has; leave `fast` out\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", list(METHODS))
def test_the_command_writes_its_results(
    trained: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    paths, records = stored(trained, name, "test")
    (tmp_path / "photos").mkdir()
    for number, path in enumerate(paths):
        shutil.copy(path, tmp_path / f"photos/{number:02}.png")
    command = ("detect", "--model", str(exported(trained, name)), "--output", "out", "photos")
    assert drdc(tmp_path, *command, "--threads", "1") == 0
    assert "Calibrated on 20 held-out normal images of all categories." in capsys.readouterr().out
    found = [json.loads(line) for line in (tmp_path / "out/results.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([one["score"] for one in found], records["score"], rtol=1e-3)
    for one in found:
        assert one["anomalous"] == (one["score"] > one["threshold"]) == (one["p_value"] <= 0.05)
        for kind in ("overlay", "heatmap"):
            with Image.open(tmp_path / "out" / one[kind]) as written:
                assert written.size == (64, 64)


def test_the_page_offers_no_fast_mode_and_its_bar_fits_scores_of_any_size(
    trained: Path, detector: Detector
) -> None:
    """The image scores of a method are not on the scale of its heatmaps; half the bar is the threshold."""
    parts = {
        block.elem_id: block for block in page(detector, 60).blocks.values() if hasattr(block, "elem_id")
    }
    assert not parts["fast"].visible
    assert parts["category"].visible
    widths = []
    for path in stored(trained, "small", "val")[0]:
        drop = [Seen.of(path, False, detector.detect(path))]
        verdict = Visit(detector).judged(drop, 0, 0.05, "all categories")[4]
        widths.append(float(verdict.partition("width:")[2].partition("%")[0]))
    assert min(widths) < 1
    assert max(widths) == pytest.approx(50, abs=1)


def test_the_same_command_writes_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained.parents[1], tmp_path / "copy")
    path = exported(tmp_path / "copy/results/tiny", "small")
    path.unlink()
    options = ("--config", "config.yaml", "--threads", "1")
    assert drdc(tmp_path / "copy", "export", "small", *options) == 0
    assert sha256_of(path) == sha256_of(exported(trained, "small"))


def test_what_is_missing_is_one_sentence_and_nothing_is_written(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained.parents[1], tmp_path / "copy")
    folder = tmp_path / "copy/results/tiny"
    exported(folder, "small").unlink()
    (folder / "seed0/predictions/small/all.npy").unlink()
    options = ("--config", "config.yaml", "--threads", "1")
    for name, words in {
        "small": "small/all.npy: is missing; run `drdc predict` first",
        "smal": "export: 'smal' is not part of tiny; known: drdc, patches, small",
    }.items():
        assert drdc(tmp_path / "copy", "export", name, *options) == 2
        assert words in capsys.readouterr().err
    with pytest.raises(UserError, match=r"detectors/small\.safetensors` or `drdc export` writes it"):
        Detector.load(exported(folder, "small"))
    assert not exported(folder, "small").exists()


def test_the_workflow_makes_it_without_drdc_and_scores_only_where_there_are_test_images(
    trained: Path, tmp_path: Path
) -> None:
    config = yaml.safe_load((trained.parents[1] / "config.yaml").read_text())
    options = ("--configfile", tmp_path / "config.yaml", "--dry-run")
    target = "results/tiny/detectors/small.safetensors"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    once = ("prepare", "weights", "features", "groups", "train", "predict", "self_check", "export")
    alone = dict.fromkeys(once, 1) | {"images": 2}  # for the backbone, and for the method
    assert planned(snakemake(tmp_path, target, *options).stdout) == alone | {"score": 1}
    for category in ("capsule", "wood"):
        shutil.copytree(trained / f"dataset/{category}/train", tmp_path / f"data/{category}/train")
    config["dataset"] |= {"name": "mvtec", "root": str(tmp_path / "data")}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert planned(snakemake(tmp_path, target, *options).stdout) == alone


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"method": "simplnet"}, "there is no method 'simplnet'; did you mean 'simplenet'"),
        ({"method": "os"}, "there is no method 'os'"),
        ({"method": 5}, "method: invalid value 5; input should be a valid string"),
        ({"settings": {"width": 17}}, "do not fit together"),
        ({"settings": {"widht": 16}}, "do not fit together"),
        ({"scale": ["a", "b"]}, "scale.0: invalid value 'a'; input should be a valid number"),
        ({"shapes": {}}, "shapes.image_size: is missing"),
        ({"settings": {"width": "hf-hub:someone/model"}}, "and a detector downloads nothing"),
    ],
)
def test_a_header_that_does_not_fit_is_refused_in_one_sentence(
    trained: Path, tmp_path: Path, about: dict[str, Any], words: str
) -> None:
    path, tensors, header = load_model_file(exported(trained, "small"))
    path = tmp_path / "odd.safetensors"
    save_model_file(path, tensors, header | about)
    with pytest.raises(UserError, match=words) as caught:
        Detector.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_only_drdc_is_written_for_other_runtimes(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("onnx", "--model", str(exported(trained, "small")), "--output", "base.onnx")
    assert drdc(tmp_path, *command) == 2
    assert "small has no fast mode, which only DRDC has; name the file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def detection(heatmap: np.ndarray, **changes: Any) -> Detection:
    """A detection in a black image, with a pixel threshold of 0.5."""
    facts: dict[str, Any] = {
        "score": 0.0,
        "p_value": 1.0,
        "most_like": None,
        "category": "all",
        "threshold": 1.0,
        "anomalous": False,
        "pixel_threshold": 0.5,
        "seconds": 0.1,
        "false_alarm_rate": 0.05,
        "calibrated_on": "",
        "held_out": 20,
        "lowest": 0.0,
        "usual": 0.0,
        "image": Image.new("RGB", heatmap.shape[::-1]),
    }
    return Detection(heatmap=heatmap.astype(np.float32), **facts | changes)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (3, 1025), (2000, 1000), (8192, 256), (10, 10)])
def test_the_page_shows_a_line_scan(size: tuple[int, int]) -> None:
    seen = Seen.of(Path("line.png"), False, detection(np.ones(size[::-1])))
    shown = seen.whole()
    seen.forget()
    assert shown.heatmap.shape == shown.image.size[::-1]
    assert prod(shown.image.size) <= 1.01 * SHOWN
    assert shown.image.size == size or prod(size) > SHOWN
    assert shown.overlay().size == shown.outlined().size == shown.coloured().size == shown.image.size


def test_the_thin_defect_of_a_line_scan_keeps_its_outline() -> None:
    heatmap = np.zeros((128, 4096))
    heatmap[60:63, 2000:2004] = 1.0
    found = detection(heatmap)
    seen = Seen.of(Path("line.png"), False, found)
    assert seen.whole().regions == found.regions != []
    seen.forget()


def test_a_tiff_that_pillow_does_not_read_is_measured_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "grey with alpha.tif"
    options: dict[str, Any] = {"photometric": "minisblack", "extrasamples": ["unassalpha"]}
    tifffile.imwrite(path, np.zeros((8000, 7000, 2), np.uint16), compression="zlib", **options)
    with pytest.raises(UserError, match="has 7000 x 8000 pixels, more than 50 million; resize it"):
        check_size(path)


@pytest.mark.parametrize(
    ("pixels", "anomalous", "words"),
    [
        ([], False, "Looks normal"),
        ([], True, "Anomalous as a whole: no single region stands out"),
        ([5, 6], True, "Anomalous: 1 region, 0.2 % of the image"),
        ([5, 9], False, "Looks normal, but with an outline: 2 regions, 0.2 % of the image"),
        ([5], True, "Anomalous: 1 region, 0.1 % of the image"),
        (range(1000), True, "Anomalous: 1 region, 100.0 % of the image"),
    ],
)
def test_a_verdict_says_in_plain_words_what_is_found(pixels: Any, anomalous: bool, words: str) -> None:
    heatmap = np.zeros((25, 40))
    heatmap.flat[list(pixels)] = 1
    assert detection(heatmap, anomalous=anomalous).verdict == words
    assert detection(np.ones((1, 1)), anomalous=True).area == 100


@pytest.mark.parametrize(
    ("p_value", "words"),
    [
        (1 / 21, "none of 20 held-out normal images scores as high, and 20 images allow no smaller p-value"),
        (7 / 21, "6 of 20 held-out normal images score as high or higher"),
        (1.0, "20 of 20 held-out normal images score as high or higher"),
    ],
)
def test_a_p_value_is_said_in_words(p_value: float, words: str) -> None:
    assert detection(np.zeros((2, 2)), p_value=p_value).p_value_in_words == words


def test_the_outline_alone_leaves_every_other_pixel_as_it_is() -> None:
    heatmap = np.zeros((20, 20))
    heatmap[5:15, 5:15] = 1
    changed = np.asarray(detection(heatmap).outlined()).any(-1)
    assert changed[5, 5:15].all()
    assert not changed[7:13, 7:13].any()
    assert not changed[:4].any()
