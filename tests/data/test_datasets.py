"""Readers, decoding, the manifest and its caches, on small made trees of every kind of file."""

from __future__ import annotations

import importlib.util
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from drdc.config.backbone import Backbone
from drdc.config.dataset import Dataset
from drdc.data.datasets import READERS, dataset_root
from drdc.data.images import decode_mask, read_rgb, resize_mask, to_square
from drdc.data.manifest import COLUMNS, noted_ranges, prepare, read_manifest, read_original
from drdc.data.readers.elpv import read_elpv
from drdc.data.samples import Sample, smallest_hashes
from drdc.data.synthetic import CATEGORIES
from drdc.results.layout import Layout
from drdc.runtime.batching import in_order, job_threads
from drdc.runtime.errors import UserError
from drdc.stages.features import features
from drdc.stages.images import images
from drdc.stages.prepare import prepare as prepare_stage

ORIENTATION = 0x0112
SHA = "0" * 64

read_mvtec = READERS["mvtec"].samples


def save(path: Path, array: np.ndarray, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path)
    return path


def noise(height: int = 12, width: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two categories in MVTec layout; "nut" has masks, "cap" has neither masks nor, at first, tests."""
    root = tmp_path / "tree"
    for i in range(10):
        save(root / f"nut/train/good/{i:03d}.png", noise(seed=i))
        save(root / f"cap/train/good/{i:03d}.jpg", noise(seed=100 + i))
    save(root / "nut/test/good/000.png", noise(seed=50))
    for i in range(2):
        save(root / f"nut/test/bent/{i:03d}.png", noise(seed=60 + i))
        mask = np.zeros((12, 20), np.uint8)
        mask[3:9, 5:15] = 255
        save(root / f"nut/ground_truth/bent/{i:03d}_mask.png", mask)
    (root / "license.txt").write_text("free")
    return root


# --- decoding --------------------------------------------------------------------------------------------


def test_colour_is_kept_and_alpha_dropped(tmp_path: Path) -> None:
    rgb = noise()
    clear = np.dstack([rgb, np.zeros((12, 20), np.uint8)])
    assert np.array_equal(read_rgb(save(tmp_path / "rgb.png", rgb)), rgb)
    assert np.array_equal(read_rgb(save(tmp_path / "rgba.png", clear)), rgb)


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P"])
def test_grey_and_palette_become_rgb(tmp_path: Path, mode: str) -> None:
    stripes = np.repeat(np.uint8([[0, 255] * 10]), 12, axis=0)
    image = read_rgb(save(tmp_path / "a.png", stripes, mode))
    assert image.mode == "RGB"
    assert np.array_equal(image, np.repeat(stripes[..., None], 3, axis=2))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_is_scaled_to_8(tmp_path: Path, suffix: str) -> None:
    deep = np.uint16([[0, 256, 257, 32768, 65535]])
    image = read_rgb(save(tmp_path / f"deep.{suffix}", deep))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 1, 128, 255]


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "float.tif", np.float32([[0.1, 0.9]]))
    with pytest.raises(UserError, match=r"float\.tif: has values of type float32"):
        read_rgb(path)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    upright = noise(16, 24)
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # stored turned; viewers rotate it clockwise
    path = tmp_path / "turned.png"
    Image.fromarray(np.rot90(upright)).save(path, exif=exif)
    assert np.array_equal(read_rgb(path), upright)


@pytest.mark.parametrize("content", [b"", b"not an image", "half"])
def test_unreadable_file_is_named(tmp_path: Path, content: bytes | str) -> None:
    path = save(tmp_path / "bad.png", noise(200, 200))
    path.write_bytes(path.read_bytes()[:20000] if isinstance(content, str) else content)
    with pytest.raises(UserError, match=r"bad\.png: not a readable image"):
        read_rgb(path)
    path.unlink()
    with pytest.raises(UserError, match=r"bad\.png: no such file"):
        read_rgb(path)


@pytest.mark.parametrize("suffix", ["png", "PNG", "jpg", "JPEG", "bmp", "tif", "TIFF", "webp"])
def test_common_formats_are_read_and_listed(tmp_path: Path, suffix: str) -> None:
    flat = np.full((12, 20, 3), 130, np.uint8)
    path = save(tmp_path / f"root/nut/train/good/a.{suffix}", flat)
    assert np.abs(np.asarray(read_rgb(path)).astype(int) - 130).max() <= 2
    assert [s.path for s in read_mvtec(tmp_path / "root")] == [f"nut/train/good/a.{suffix}"]


def test_a_script_that_is_called_an_image_is_not_run(tmp_path: Path) -> None:
    """Pillow would hand PostScript to an interpreter."""
    path = tmp_path / "picture.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n")
    with pytest.raises(UserError, match=r"picture\.png: not a readable image"):
        read_rgb(path)


def test_square_keeps_the_whole_picture() -> None:
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 20:] = 200
    square = to_square(Image.fromarray(wide), 8)
    assert square.shape == (8, 8, 3)
    assert square.dtype == np.uint8
    assert square[:, :3].max() == 0
    assert square[:, 5:].min() == 200


@pytest.mark.parametrize(("mode", "value"), [("L", 1), ("L", 255), ("RGB", 255), ("1", 255), ("I;16", 1)])
def test_mask_is_every_value_above_zero(tmp_path: Path, mode: str, value: int) -> None:
    marked = np.zeros((6, 8), np.uint16 if mode == "I;16" else np.uint8)
    marked[1:3, 2:5] = value
    path = save(tmp_path / "mask.png", marked, None if mode == "I;16" else mode)
    mask = decode_mask(path, (8, 6)).marked
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, marked > 0)


def test_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "mask.png", np.zeros((6, 8), np.uint8))
    with pytest.raises(UserError, match=r"mask\.png: the mask is 8 x 6 pixels but its image is 6 x 8"):
        decode_mask(path, (6, 8))


def test_mask_resize_is_nearest() -> None:
    mask = np.kron(np.random.default_rng(0).random((5, 5)) > 0.5, np.ones((4, 4), bool))
    assert np.array_equal(resize_mask(mask, 5), mask[2::4, 2::4])


# --- decoding in parallel --------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_pool_keeps_the_order(workers: int) -> None:
    assert list(in_order(lambda n: n * n, range(40), workers)) == [n * n for n in range(40)]


def test_a_pool_works_in_its_own_threads_and_one_worker_in_the_callers() -> None:
    meeting = threading.Barrier(2)
    first, second = in_order(lambda _: (meeting.wait(10), threading.get_ident())[1], range(2), 2)
    assert len({first, second, threading.get_ident()}) == 3
    assert list(in_order(lambda _: threading.get_ident(), range(2), 1)) == [threading.get_ident()] * 2


def test_a_pool_takes_only_a_few_items_ahead_of_its_reader() -> None:
    """The items have no end, as the images of a dataset have none that memory could rely on."""
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in count():
            taken.append(number)
            yield number

    assert list(islice(in_order(str, items(), 3), 20)) == [str(n) for n in range(20)]
    assert len(taken) <= 20 + 2 * 3


def test_an_error_in_a_pool_reaches_the_reader() -> None:
    results = in_order(lambda n: 1 // n, [1, 0, 1], 2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


# --- readers ---------------------------------------------------------------------------------------------


def test_mvtec_samples(tree: Path) -> None:
    samples = read_mvtec(tree)
    counts = Counter((s.category, s.split, s.label, s.defect_type) for s in samples)
    assert counts == {
        ("cap", "train", 0, "good"): 10,
        ("nut", "train", 0, "good"): 10,
        ("nut", "test", 0, "good"): 1,
        ("nut", "test", 1, "bent"): 2,
    }
    bent = next(s for s in samples if s.label)
    assert bent == Sample(
        "nut/test/bent/000.png", "nut", "test", 1, "bent", "nut/ground_truth/bent/000_mask.png"
    )


def test_categories_are_chosen_in_the_order_asked(tree: Path) -> None:
    assert list(dict.fromkeys(s.category for s in read_mvtec(tree, ["nut", "cap"]))) == ["nut", "cap"]
    assert {s.category for s in read_mvtec(tree, ["cap"])} == {"cap"}


@pytest.mark.parametrize("name", ["000.png", "000.bmp", "000_mask.PNG"])
def test_other_names_of_masks(tree: Path, name: str) -> None:
    truth = tree / "nut/ground_truth/bent"
    (truth / "000_mask.png").rename(truth / name)
    assert {s.mask for s in read_mvtec(tree) if s.label} == {
        f"nut/ground_truth/bent/{name}",
        "nut/ground_truth/bent/001_mask.png",
    }


def test_hidden_and_other_files_are_no_images(tree: Path) -> None:
    before = read_mvtec(tree)
    (tree / "nut/train/good/._000.png").write_bytes(b"resource fork")
    (tree / "nut/train/good/Thumbs.db").write_bytes(b"")
    assert read_mvtec(tree) == before


def test_anomalies_without_ground_truth_folder_have_no_mask(tree: Path) -> None:
    save(tree / "cap/test/torn/000.jpg", noise())
    torn = [s for s in read_mvtec(tree, ["cap"]) if s.label]
    assert [s.mask for s in torn] == [""]


def test_missing_mask_is_named(tree: Path) -> None:
    (tree / "nut/ground_truth/bent/001_mask.png").unlink()
    with pytest.raises(UserError, match=r"bent/001\.png: its ground-truth mask .*001_mask\.png is missing"):
        read_mvtec(tree)


def test_unknown_category_lists_the_known(tree: Path) -> None:
    with pytest.raises(UserError, match="unknown category 'bolt'; found here: 'cap', 'nut'"):
        read_mvtec(tree, ["nut", "bolt"])


def test_category_without_training_images(tree: Path) -> None:
    for path in (tree / "cap/train/good").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="category 'cap' has no training images"):
        read_mvtec(tree)


def test_wrong_layout_is_explained(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no category in the layout <category>/train/good"):
        read_mvtec(tmp_path / "empty")
    with pytest.raises(UserError, match="unknown category 'cap'; found here: 'nut'"):
        read_mvtec(tree / "nut", ["cap"])


def test_a_folder_that_is_one_category_is_read_as_such(tree: Path) -> None:
    inside = read_mvtec(tree / "nut")
    assert {s.category for s in inside} == {"nut"}
    outside = read_mvtec(tree, ["nut"])
    assert [f"nut/{s.path}" for s in inside] == [s.path for s in outside]
    assert [f"nut/{s.mask}" for s in inside if s.mask] == [s.mask for s in outside if s.mask]


def test_every_missing_mask_is_named_at_once(tree: Path) -> None:
    for mask in (tree / "nut/ground_truth/bent").iterdir():
        mask.unlink()
    with pytest.raises(UserError) as failure:
        read_mvtec(tree)
    assert str(failure.value).count("ground-truth mask") == 2


@pytest.mark.parametrize(("name", "fault"), [("a\nb.png", "line break"), ("a\udcff.png", "not UTF-8")])
def test_names_that_a_table_cannot_hold_are_refused(
    tree: Path, tmp_path: Path, name: str, fault: str
) -> None:
    save(tree / "nut/train/good/000.png", noise()).rename(tree / "nut/train/good" / name)
    with pytest.raises(UserError, match=rf"nut/train/good/a\\\w+\.png: its name .*{fault}.*; rename it"):
        run(read_mvtec(tree), tree, tmp_path)
    assert not list(tmp_path.glob("*.npy"))


def test_dataset_roots(tmp_path: Path) -> None:
    assert dataset_root("mvtec", str(tmp_path)) == tmp_path
    with pytest.raises(
        UserError, match=r"does not exist; run `drdc download mvtec --to .*nowhere`, or download"
    ):
        dataset_root("mvtec", tmp_path / "nowhere")
    with pytest.raises(UserError, match="dataset 'synthetic' needs a folder"):
        dataset_root("synthetic")
    with pytest.raises(UserError, match=f"'mnist' is unknown; choose one of {', '.join(READERS)}"):
        dataset_root("mnist", tmp_path)


def test_each_dataset_is_called_as_its_file_and_says_what_it_is() -> None:
    assert set(READERS) == {reader.name for reader in READERS.values()}
    for name, reader in READERS.items():
        assert reader.title, name
        assert reader.licence, name
        assert reader.counts, name
        if name != "synthetic":
            assert reader.home.startswith("https://"), name
            assert reader.citation[-4:].isdigit(), f"{name}: its paper, with the year at the end"


def test_the_configuration_knows_the_datasets_counts() -> None:
    assert Dataset().categories == list(READERS["mvtec"].counts)
    drawn = Dataset().synthetic
    assert set(READERS["synthetic"].counts.values()) == {(drawn.train, drawn.test_good, drawn.test_bad)}
    assert set(READERS["synthetic"].counts) == set(CATEGORIES)


# --- ELPV ------------------------------------------------------------------------------------------------


def elpv_table(root: Path, rows: list[str]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    return root


def test_elpv_rules_on_a_small_table(tmp_path: Path) -> None:
    rows = [f"images/cell{i:04d}.png  0.0   mono" for i in range(10)]
    rows += ["images/b.png 1.0 mono", "images/c.png 0.3333333333333333 mono", "images/d.png 1.0 poly"]
    samples = read_elpv(elpv_table(tmp_path, rows))
    assert Counter((s.category, s.split, s.defect_type) for s in samples) == {
        ("mono", "train", "good"): 8,
        ("mono", "test", "good"): 2,
        ("mono", "test", "defective"): 1,
        ("poly", "test", "defective"): 1,
    }
    assert set(read_elpv(elpv_table(tmp_path, rows[::-1]))) == set(samples)
    assert {s.category for s in read_elpv(tmp_path, ["poly"])} == {"poly"}


def test_elpv_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"labels\.csv: the label table of ELPV is missing"):
        read_elpv(tmp_path)
    elpv_table(tmp_path, ["images/a.png 0.0 mono", "images/b.png zero mono"])
    with pytest.raises(UserError, match=r"labels\.csv, line 2: 'images/b\.png zero mono' is not a label"):
        read_elpv(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install elpv-dataset"):
        dataset_root("elpv")


@pytest.mark.skipif(importlib.util.find_spec("elpv_dataset") is None, reason="elpv-dataset not installed")
def test_elpv_as_published() -> None:
    """2,624 cells: 1,508 functional, 715 defective, 401 uncertain (Deitsch et al. 2019, Table 1)."""
    root = dataset_root("elpv")
    samples = READERS["elpv"].samples(root)
    assert Counter((s.category, s.label) for s in samples) == {
        ("mono", 0): 588,
        ("mono", 1): 313,
        ("poly", 0): 920,
        ("poly", 1): 402,
    }
    tests = Counter(s.category for s in samples if s.split == "test" and s.label == 0)
    assert tests == {"mono": 118, "poly": 184}
    kinds = Counter((s.category, s.split, s.label) for s in samples)
    counted = {c: (kinds[c, "train", 0], kinds[c, "test", 0], kinds[c, "test", 1]) for c in ("mono", "poly")}
    assert counted == READERS["elpv"].counts
    assert not any(s.mask for s in samples)
    assert all((root / s.path).is_file() for s in samples)


# --- choice by hash --------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(max_size=5), max_size=20, unique=True),
    st.floats(0, 0.99),
    st.randoms(use_true_random=False),
)
def test_choice_by_hash(keys: list[str], fraction: float, shuffler: object) -> None:
    chosen = smallest_hashes(keys, fraction)
    mixed = list(keys)
    shuffler.shuffle(mixed)  # type: ignore[attr-defined]
    assert smallest_hashes(mixed, fraction) == chosen
    assert chosen <= set(keys)
    if fraction > 0 and len(keys) >= 2:
        assert 1 <= len(chosen) < len(keys)
        assert abs(len(chosen) - fraction * len(keys)) <= 1
    else:
        assert not chosen


# --- manifest and masks ----------------------------------------------------------------------------------


def run(samples: list[Sample], root: Path, out: Path, **changes: object) -> pd.DataFrame:
    paths = {
        "manifest_path": out / "manifest.csv",
        "masks_path": out / "masks.npy",
        "problems_path": out / "problems.csv",
        "regions_path": out / "regions.csv",
    }
    return prepare(samples, root, **{"image_size": 10, "holdout": 0.2, **paths, **changes})


def test_of_a_study_as_many_different_images_are_drawn_as_it_says(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for image in list((tree / "nut/train/good").iterdir()):
        shutil.copy(image, image.with_name(f"copy of {image.name}"))
    monkeypatch.chdir(tmp_path)
    for draw in range(3):
        dataset = Dataset(
            name="mvtec", root=str(tree), categories=["nut"], image_size=16, drawn={"images": 9, "draw": draw}
        )
        prepare_stage(Layout("results/drawn"), dataset=dataset)
        assert (read_manifest(Layout("results/drawn").manifest).split != "test").sum() == 9


def test_manifest_and_masks_agree(tree: Path, tmp_path: Path) -> None:
    samples = read_mvtec(tree)
    table = run(samples, tree, tmp_path)
    assert tuple(table.columns) == COLUMNS
    assert table[["category", "split", "path"]].apply(tuple, axis=1).is_monotonic_increasing
    masks = np.load(tmp_path / "masks.npy")
    assert (masks.shape, masks.dtype) == ((23, 10, 10), np.bool_)
    for row, mask in zip(table.itertuples(), masks, strict=True):
        assert mask.any() == bool(row.label)
        assert (row.width, row.height, len(row.sha256)) == (20, 12, 64)
    assert masks[table.label == 1].mean() == pytest.approx(6 / 12 * 10 / 20)


def test_manifest_survives_the_file(tree: Path, tmp_path: Path) -> None:
    table = run(read_mvtec(tree), tree, tmp_path)
    again = read_manifest(tmp_path / "manifest.csv")
    pd.testing.assert_frame_equal(table, again)
    assert not again.isna().any().any()
    assert (again["mask"] == "").sum() == 21
    assert b"\r" not in (tmp_path / "manifest.csv").read_bytes()


def test_names_that_look_like_numbers_or_nothing_stay_text(tree: Path, tmp_path: Path) -> None:
    (tree / "nut").rename(tree / "01")
    (tree / "01/test/bent").rename(tree / "01/test/NA")
    (tree / "01/ground_truth/bent").rename(tree / "01/ground_truth/NA")
    table = run(read_mvtec(tree), tree, tmp_path)
    assert set(table["category"]) == {"01", "cap"}
    assert set(table["defect_type"]) == {"good", "NA"}


def test_same_bytes_whatever_the_order(tree: Path, tmp_path: Path) -> None:
    samples = read_mvtec(tree)
    run(samples, tree, tmp_path / "a")
    run(samples[::-1], tree, tmp_path / "b")
    for name in ("manifest.csv", "masks.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_same_bytes_with_one_and_two_decoding_threads(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--threads` reaches the decoding as OMP_NUM_THREADS; torch, imported before, keeps its own."""
    layouts = []
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert job_threads() == int(threads)
        (tmp_path / threads).mkdir()
        monkeypatch.chdir(tmp_path / threads)
        layouts.append(tmp_path / threads / Layout("own").root)
        data = Dataset(root=str(tree), categories=["cap", "nut"], image_size=16)
        small = Backbone(name="tf_efficientnet_lite0", weights="package", input_size=32, feature_size=2)
        prepare_stage(Layout("own"), dataset=data)
        images(Layout("own"), 32, dataset=data)
        features(Layout("own"), backbone=small)
    for name in ("manifest.csv", "images/32.npy", "masks.npy", "features.npy"):
        assert (layouts[0] / name).read_bytes() == (layouts[1] / name).read_bytes(), name


@pytest.mark.parametrize(("holdout", "expected"), [(0.0, 0), (0.01, 1), (0.2, 2), (0.99, 9)])
def test_holdout_takes_a_share_of_each_category(
    tree: Path, tmp_path: Path, holdout: float, expected: int
) -> None:
    table = run(read_mvtec(tree), tree, tmp_path, holdout=holdout)
    held = table[table["split"] == "val"]
    assert Counter(held["category"]) == Counter({"nut": expected, "cap": expected})
    assert (held["label"] == 0).all()


def test_holdout_of_one_category_ignores_the_other(tree: Path, tmp_path: Path) -> None:
    both = run(read_mvtec(tree), tree, tmp_path / "both")
    alone = run(read_mvtec(tree, ["cap"]), tree, tmp_path / "alone")
    assert both[both["category"] == "cap"].reset_index(drop=True).equals(alone)


def test_of_training_images_with_the_same_pixels_one_alone_is_used(tree: Path, tmp_path: Path) -> None:
    """A photo that is saved twice would be held out and trained on."""
    run(read_mvtec(tree), tree, tmp_path / "before")
    for path in sorted(tree.glob("*/train/good/*")):
        shutil.copy(path, path.with_stem(f"{path.stem} copy"))
    Image.open(tree / "cap/train/good/003.jpg").save(tree / "nut/train/good/other.bmp")
    samples = read_mvtec(tree)
    for order in (samples, samples[::-1]):
        table = run(order, tree, tmp_path / "after")
        assert table.pixels_sha256.is_unique
        for name in ("manifest.csv", "masks.npy", "regions.csv"):
            after = (tmp_path / "after" / name).read_bytes()
            assert after == (tmp_path / "before" / name).read_bytes(), "copies change nothing"
    told = pd.read_csv(tmp_path / "after/problems.csv").query("kind == 'same-pixels'").set_index("file")
    assert len(told) == 21
    assert told.problem["nut/train/good/other.bmp"] == (
        "has the same pixels as cap/train/good/003.jpg, which alone is used"
    )


def test_a_category_without_two_training_images_besides_copies_is_refused(tree: Path, tmp_path: Path) -> None:
    photo = (tree / "nut/train/good/000.png").read_bytes()
    for path in tree.glob("nut/train/good/*"):
        path.write_bytes(photo)
    with pytest.raises(UserError, match="'nut': has 1 training image besides copies; give at least two"):
        run(read_mvtec(tree), tree, tmp_path / "out")
    photo = (tree / "cap/train/good/000.jpg").read_bytes()
    for path in tree.glob("nut/train/good/*"):
        path.write_bytes(photo)
    with pytest.raises(UserError, match="'nut': has 0 training images besides copies; give at least two"):
        run(read_mvtec(tree), tree, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_progress_sees_every_row(tree: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    run(read_mvtec(tree), tree, tmp_path, progress=lambda rows: (seen.append(i) or i for i in rows))
    assert seen == list(range(23))


def test_all_bad_files_at_once_and_nothing_written(tree: Path, tmp_path: Path) -> None:
    (tree / "nut/train/good/003.png").write_bytes(b"no image")
    (tree / "cap/train/good/004.jpg").write_bytes(b"")
    save(tree / "nut/ground_truth/bent/000_mask.png", np.zeros((3, 3), np.uint8))
    out = tmp_path / "out"
    with pytest.raises(UserError) as caught:
        run(read_mvtec(tree), tree, out)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{tree}: 3 errors; correct them")
    assert len(lines) == 4
    for name in ("nut/train/good/003.png", "cap/train/good/004.jpg", "bent/000_mask.png"):
        assert any(name in line for line in lines)
    assert list(out.iterdir()) == []


def damage_that_can_be_accepted(tree: Path) -> None:
    save(tree / "nut/ground_truth/bent/000_mask.png", np.zeros((12, 20), np.uint8))
    (tree / "nut/ground_truth/bent/001_mask.png").unlink()
    save(tree / "nut/test/good/001.png", noise(seed=3))


ACCEPTABLE = ["mask-empty", "mask-missing", "test-image-in-training"]


def test_errors_of_check_stop_prepare_unless_each_kind_is_accepted(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    damage_that_can_be_accepted(tree)
    data = Dataset(root=str(tree), categories=["nut"], image_size=16)
    for kind in ACCEPTABLE:
        others = [other for other in ACCEPTABLE if other != kind]
        with pytest.raises(UserError, match=rf"dataset\.accept: \[{kind}\]"):
            prepare_stage(Layout("own"), dataset=data.model_copy(update={"accept": others}))
        assert not Layout("own").manifest.exists()
    prepare_stage(Layout("own"), dataset=data.model_copy(update={"accept": ACCEPTABLE}))
    told = pd.read_csv(Layout("own").problems, keep_default_na=False)
    assert told.kind[told.severity == "accepted"].tolist() == ACCEPTABLE
    assert told.kind[told.severity == "warning"].tolist() == ["few-training-images"]
    assert [line.partition(",")[0] for line in caplog.messages if ", 1 x: " in line] == [
        *(f"accepted {kind}" for kind in ACCEPTABLE),
        "warning few-training-images",
    ]


def test_many_errors_of_a_kind_are_counted(tree: Path, tmp_path: Path) -> None:
    for i in range(10):
        (tree / f"nut/train/good/{i:03d}.png").write_bytes(b"")
        (tree / f"cap/train/good/{i:03d}.jpg").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        run(read_mvtec(tree), tree, tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"{tree}: 20 errors; ")
    assert lines[-1] == "unreadable: 10 more"
    assert len(lines) == 12


def test_a_failed_run_leaves_the_earlier_outputs(tree: Path, tmp_path: Path) -> None:
    run(read_mvtec(tree), tree, tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    (tree / "nut/train/good/003.png").write_bytes(b"no image")
    with pytest.raises(UserError):
        run(read_mvtec(tree), tree, tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"holdout": 1.0}, "holdout: 1.0 is not in"),
        ({"holdout": -0.1}, "holdout: -0.1 is not in"),
        ({"image_size": 0}, "image_size: 0 is not a size"),
    ],
)
def test_bad_settings_are_named(tree: Path, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run(read_mvtec(tree), tree, tmp_path, **changes)


def test_no_samples_and_double_samples(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it has no images"):
        run([], tree, tmp_path)
    samples = read_mvtec(tree)
    with pytest.raises(UserError, match=r"cap/train/good/003\.jpg: the dataset lists this image twice"):
        run([*samples, samples[3]], tree, tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no manifest"),
        ("", "not a readable CSV"),
        ("path\nx\na,b,c\n", "Expected 1 fields in line 3, saw 3"),
        (
            "path,category,split,label\na,b,test,0\n",
            "column defect_type, mask, width, height, stored, bits, sha256, pixels_sha256 is missing",
        ),
        (",".join(COLUMNS) + f"\na,b,test,2,good,,1,1,8,8,{SHA},{SHA}\n", "line 2: label '2' is not allowed"),
        (
            ",".join(COLUMNS)
            + f"\na,b,test,1,bad,,1,1,8,8,{SHA},{SHA}\na,b,dev,0,good,,1,1,8,8,{SHA},{SHA}\n",
            "line 3: split 'dev'",
        ),
        (",".join(COLUMNS) + f"\na,b,test,1,bad,,x,1,8,8,{SHA},{SHA}\n", "line 2: width 'x'"),
        (",".join(COLUMNS) + f"\na,b,test,1,bad,,1,1,8,8,{SHA},{SHA[:-1]}\n", "line 2: pixels_sha256 '0"),
    ],
)
def test_damaged_manifest(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "manifest.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)


def test_btad_normal_images_are_called_ok_and_masks_are_bmp_or_png(tmp_path: Path) -> None:
    for name in ("01/train/ok/0.bmp", "01/test/ok/1.bmp", "01/test/ko/2.bmp", "01/test/ko/3.bmp"):
        save(tmp_path / name, noise())
    save(tmp_path / "01/ground_truth/ko/2.bmp", noise())
    save(tmp_path / "01/ground_truth/ko/3.png", noise())
    samples = READERS["btad"].samples(tmp_path, ["01"])
    assert [(s.path, s.split, s.label, s.defect_type, s.mask) for s in samples] == [
        ("01/train/ok/0.bmp", "train", 0, "good", ""),
        ("01/test/ko/2.bmp", "test", 1, "ko", "01/ground_truth/ko/2.bmp"),
        ("01/test/ko/3.bmp", "test", 1, "ko", "01/ground_truth/ko/3.png"),
        ("01/test/ok/1.bmp", "test", 0, "good", ""),
    ]


def test_a_file_that_is_not_the_prepared_one_is_refused(tree: Path, tmp_path: Path) -> None:
    row = next(run(read_mvtec(tree), tree, tmp_path / "out").itertuples())
    assert read_original(tree, row).size == (row.width, row.height)
    (tree / row.path).write_bytes((tree / row.path).read_bytes() + b"x")  # the same pixels
    with pytest.raises(UserError, match="has changed since it was prepared"):
        read_original(tree, row)


def test_deep_files_are_read_with_the_range_of_their_category(tree: Path, tmp_path: Path) -> None:
    for path in tree.glob("nut/t*/*/*.png"):
        grey = np.asarray(Image.open(path).convert("L"))
        Image.fromarray(grey).save(path)
    before = pixels(tree, run(read_mvtec(tree), tree, tmp_path / "before"))
    for path in tree.glob("nut/t*/*/*.png"):
        grey = np.asarray(Image.open(path))
        Image.fromarray(np.round(grey * 4095.0 / 255).astype(np.uint16)).save(path)
    table = run(read_mvtec(tree), tree, tmp_path / "deep")
    own = table[table.category == "nut"]
    assert (set(own.stored), set(own.bits)) == ({16}, {12})
    assert noted_ranges(table, None).categories == {"nut": 12}
    assert np.abs(before - pixels(tree, table)).max() <= 1


def pixels(root: Path, table: pd.DataFrame) -> np.ndarray:
    """Those of all images of a manifest, (N, H, W, 3)."""
    return np.stack([np.asarray(read_original(root, row)) for row in table.itertuples()]).astype(int)
