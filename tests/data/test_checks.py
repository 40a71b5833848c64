"""What `drdc check` finds, one made fault at a time in a tree that is otherwise in order."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from drdc.data.checks import check
from drdc.data.datasets import READERS, scan
from drdc.data.problems import Problem


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def noise(seed: int, height: int = 12, width: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def marked(value: int = 255) -> np.ndarray:
    mask = np.zeros((12, 20), np.uint8)
    mask[3:9, 5:15] = value
    return mask


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One category with nothing to complain about."""
    for i in range(20):
        save(tmp_path / f"nut/train/good/{i:03d}.png", noise(i))
    for i in range(2):
        save(tmp_path / f"nut/test/good/{i:03d}.png", noise(100 + i))
        save(tmp_path / f"nut/test/bent/{i:03d}.png", noise(200 + i))
        save(tmp_path / f"nut/ground_truth/bent/{i:03d}_mask.png", marked())
    return tmp_path


def problems(root: Path, workers: int = 2) -> list[Problem]:
    samples, found = scan("mvtec", root)
    return [*found, *check(samples, root, workers)]


def test_a_dataset_in_order_has_no_problem(tree: Path) -> None:
    assert problems(tree) == []
    (tree / "nut/train/good/.DS_Store").write_bytes(b"")
    assert problems(tree) == []


def cut_short(root: Path) -> None:
    path = root / "nut/train/good/003.png"
    path.write_bytes(path.read_bytes()[:300])


def grey_mask(root: Path) -> None:
    mask = marked()
    mask[3:9, 5] = 100
    save(root / "nut/ground_truth/bent/000_mask.png", mask)


def numbered(root: Path) -> None:
    mask = marked(1)
    mask[3:9, 8:11], mask[3:9, 11:15] = 2, 5
    save(root / "nut/ground_truth/bent/000_mask.png", mask)


def faint(root: Path) -> None:
    (root / "nut/ground_truth/bent/000_mask.png").unlink()
    save(root / "nut/ground_truth/bent/000.jpg", marked(1))


def turn(path: Path, orientation: int) -> None:
    with Image.open(path) as image:
        image.load()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image.save(path, exif=exif)


def as_turned_tiff(root: Path) -> None:
    path = root / TEST / "bent/000.png"
    with Image.open(path) as image:
        image.save(path.with_suffix(".tif"))
    path.unlink()
    turn(path.with_suffix(".tif"), 3)


def leak(root: Path) -> None:
    Image.open(root / "nut/train/good/004.png").save(root / "nut/test/good/other.bmp")


def only_trained(root: Path) -> None:
    shutil.rmtree(root / "nut/test")
    shutil.rmtree(root / "nut/ground_truth")


def few(root: Path, left: int) -> None:
    for path in sorted((root / "nut/train/good").iterdir())[left:]:
        path.unlink()


def twin_in_other_case(root: Path) -> None:
    for i in range(20):
        save(root / f"Nut/train/good/{i:03d}.png", noise(300 + i))
    save(root / "Nut/test/good/0.png", noise(400))
    save(root / "Nut/test/bent/0.png", noise(401))
    save(root / "Nut/ground_truth/bent/0.png", marked())


TRAIN, TEST, TRUTH = "nut/train/good", "nut/test", "nut/ground_truth"
FAULTS: dict[str, tuple[Callable[[Path], object], str, str, str]] = {
    "truncated": (cut_short, "error", f"{TRAIN}/003.png", "not a readable image"),
    "empty file": (
        lambda r: (r / TRAIN / "000.png").write_bytes(b""),
        "error",
        f"{TRAIN}/000.png",
        "not a r",
    ),
    "text": (
        lambda r: (r / TRAIN / "x.jpg").write_text("hello"),
        "error",
        f"{TRAIN}/x.jpg",
        "not a readable",
    ),
    "link to nothing": (
        lambda r: (r / TRAIN / "gone.png").symlink_to("nowhere.png"),
        "error",
        f"{TRAIN}/gone.png",
        "no such file",
    ),
    "link to itself": (
        lambda r: (r / TRAIN / "loop.tif").symlink_to("loop.tif"),
        "error",
        f"{TRAIN}/loop.tif",
        "no such file",
    ),
    "folder called like an image": (
        lambda r: save(r / TRAIN / "folder.png/0.png", noise(9)),
        "warning",
        f"{TRAIN}/folder.png",
        "is left out: folder with 1 file",
    ),
    "float pixels": (
        lambda r: save(r / TRAIN / "deep.tif", np.float32([[0.5, 2]])),
        "error",
        f"{TRAIN}/deep.tif",
        "type float32",
    ),
    "mask of another size": (
        lambda r: save(r / TRUTH / "bent/000_mask.png", marked()[:, :9]),
        "error",
        f"{TRUTH}/bent/000_mask.png",
        "the mask is 9 x 12 pixels but its image is 20 x 12",
    ),
    "empty mask": (
        lambda r: save(r / TRUTH / "bent/001_mask.png", marked(0)),
        "error",
        f"{TRUTH}/bent/001_mask.png",
        "the mask of an anomalous image is empty",
    ),
    "grey mask": (grey_mask, "warning", f"{TRUTH}/bent/000_mask.png", "3 values instead of two (soft edges"),
    "full mask": (
        lambda r: save(r / TRUTH / "bent/000_mask.png", np.full((12, 20), 7, np.uint8)),
        "error",
        f"{TRUTH}/bent/000_mask.png",
        "the mask marks 100 % of its image",
    ),
    "inverted mask": (
        lambda r: save(r / TRUTH / "bent/000_mask.png", 255 - marked()),
        "error",
        f"{TRUTH}/bent/000_mask.png",
        "the mask marks 75 % of its image and nearly all of its border",
    ),
    "labels": (
        numbered,
        "warning",
        f"{TRUTH}/bent/000_mask.png",
        "the mask has 4 values instead of two, read as labels",
    ),
    "a faint mask with loss": (
        faint,
        "error",
        f"{TRUTH}/bent/000.jpg",
        "is empty: no value is above 8 in a file with lossy compression",
    ),
    "a turned image": (
        lambda r: turn(r / TEST / "bent/000.png", 3),
        "warning",
        f"{TRUTH}/bent/000_mask.png",
        "the mask's EXIF orientation is 1, its image's 3",
    ),
    "a turned TIFF": (
        as_turned_tiff,
        "warning",
        f"{TRUTH}/bent/000_mask.png",
        "the mask's EXIF orientation is 1, its image's 3",
    ),
    "a turned mask": (
        lambda r: turn(r / TRUTH / "bent/000_mask.png", 2),
        "warning",
        f"{TRUTH}/bent/000_mask.png",
        "the mask's EXIF orientation is 2, its image's 1",
    ),
    "damaged mask": (
        lambda r: (r / TRUTH / "bent/000_mask.png").write_bytes(b"no"),
        "error",
        f"{TRUTH}/bent/000_mask.png",
        "not a readable image",
    ),
    "missing mask": (
        lambda r: (r / TRUTH / "bent/001_mask.png").unlink(),
        "error",
        f"{TEST}/bent/001.png",
        "is missing",
    ),
    "mask without image": (
        lambda r: save(r / TRUTH / "bent/007_mask.png", marked()),
        "warning",
        f"{TRUTH}/bent/007_mask.png",
        "this mask has no image",
    ),
    "training image among the tests": (
        leak,
        "error",
        f"{TEST}/good/other.bmp",
        f"as {TRAIN}/004.png, a train",
    ),
    "twice in training": (
        lambda r: shutil.copy(r / TRAIN / "000.png", r / TRAIN / "zzz.png"),
        "warning",
        f"{TRAIN}/zzz.png",
        f"the same pixels as {TRAIN}/000.png, which alone is used",
    ),
    "no training image": (lambda r: few(r, 0), "error", TRAIN, "category 'nut' has no training images"),
    "one training image": (lambda r: few(r, 1), "error", "", "has 1 training image"),
    "few training images": (lambda r: few(r, 19), "warning", "", "has only 19 training images"),
    "no tests": (only_trained, "warning", "", "has no test images"),
    "no masks": (lambda r: shutil.rmtree(r / TRUTH), "warning", "", "has no masks"),
    "no defects": (
        lambda r: [shutil.rmtree(r / TEST / "bent"), shutil.rmtree(r / TRUTH)],
        "warning",
        "",
        "has only normal test images",
    ),
    "another size": (
        lambda r: save(r / TRAIN / "wide.png", noise(9, 12, 40)),
        "warning",
        "",
        "differ strongly in size or proportions, 20 x 12 to 40 x 12 pixels",
    ),
    "another kind of file": (
        lambda r: (r / TRAIN / "raw.heic").write_bytes(b"x"),
        "warning",
        f"{TRAIN}/raw.heic",
        "is left out",
    ),
    "a folder too deep": (
        lambda r: save(r / TRAIN / "monday/1.png", noise(9)),
        "warning",
        f"{TRAIN}/monday",
        "is left out",
    ),
    "reserved category": (lambda r: (r / "nut").rename(r / "all"), "error", "", "stands for all categories"),
    "file name with a line break": (
        lambda r: (r / TRAIN / "000.png").rename(r / TRAIN / "0\n1.png"),
        "error",
        f"{TRAIN}/0\n1.png",
        "line break",
    ),
    "case of categories": (
        twin_in_other_case,
        "warning",
        "",
        "from category Nut only in upper and lower case",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_found_and_nothing_else_is_said(tree: Path, name: str) -> None:
    damage, severity, file, text = FAULTS[name]
    damage(tree)
    (problem,) = problems(tree)
    assert (problem.severity, problem.file) == (severity, file)
    assert text in problem.problem
    assert problem.fix


def test_all_faults_are_told_at_once_whatever_the_number_of_threads(tree: Path) -> None:
    for damage in (cut_short, grey_mask, leak, lambda r: few(r, 12)):
        damage(tree)
    found = problems(tree)
    assert len(found) == 4
    assert problems(tree, workers=1) == found


def test_the_same_picture_in_two_categories_is_found(tree: Path) -> None:
    shutil.copytree(tree / "nut/train", tree / "cap/train")
    found = problems(tree)
    assert sum("has the same pixels as" in problem.problem for problem in found) == 20


@pytest.mark.parametrize("name", ["empty file", "missing mask", "mask of another size"])
def test_errors_of_files_are_what_the_reader_or_the_decoding_refuses(
    tree: Path, tmp_path: Path, name: str
) -> None:
    """An error in the table is no opinion: `prepare` stops there."""
    from drdc.data.manifest import prepare
    from drdc.runtime.errors import UserError

    FAULTS[name][0](tree)
    kinds = ("manifest", "masks", "problems", "regions")
    out = {f"{kind}_path": tmp_path / "out" / kind for kind in kinds}
    with pytest.raises(UserError):
        prepare(READERS["mvtec"].samples(tree), tree, image_size=16, holdout=0.1, **out)


def test_a_category_of_inverted_masks_is_told_also_where_the_defects_are_large(tree: Path) -> None:
    large = np.zeros((12, 20), np.uint8)
    large[1:-1, 1:-1] = 255
    for i in range(2):
        save(tree / f"nut/ground_truth/bent/{i:03d}_mask.png", large)
    assert problems(tree) == [], "a large defect"
    for i in range(2):
        save(tree / f"nut/ground_truth/bent/{i:03d}_mask.png", 255 - large)
    assert [problem.kind for problem in problems(tree)] == ["mask-inverted"] * 2


def test_a_mask_that_fits_its_image_only_as_stored_gets_that_hint(tree: Path) -> None:
    turn(tree / "nut/test/bent/000.png", 6)
    found = {problem.kind: problem.problem for problem in problems(tree)}
    assert found.keys() == {"unreadable", "sizes-differ"}
    assert "20 x 12 pixels and fits its image (12 x 20) only as stored" in found["unreadable"]
