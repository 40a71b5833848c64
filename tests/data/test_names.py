"""Names of folders and files: what is good, what is of the system, which mask is whose, what is left out."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from drdc.config.dataset import Dataset
from drdc.config.names import sounds_good
from drdc.data.datasets import scan
from drdc.data.fingerprint import listing
from drdc.data.problems import Problem
from drdc.data.samples import Sample
from drdc.runtime.errors import UserError

SYSTEM = [
    *("@eaDir", ".DS_Store", "__MACOSX", ".thumbnails", "$RECYCLE.BIN", "System Volume Information"),
    *(".ipynb_checkpoints", "#recycle", "lost+found", "@Recycle", ".Trash-1000", "Thumbs.db", "desktop.ini"),
    *("thumbnails", "@__thumb", "FOUND.000", "Thumbs.db:encryptable"),
]


def touch(root: Path, *names: str) -> None:
    """Files without content: no listing opens one."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One category with two normal and two anomalous test images, and their masks."""
    touch(tmp_path, *(f"nut/train/good/{i}.png" for i in range(3)))
    touch(tmp_path, *(f"nut/test/{kind}/{i}.png" for kind in ("good", "bent") for i in range(2)))
    touch(tmp_path, *(f"nut/ground_truth/bent/{i}_mask.png" for i in range(2)))
    return tmp_path


def kinds(problems: list[Problem]) -> list[str]:
    return sorted(problem.kind for problem in problems)


def counted(samples: list[Sample]) -> Counter[tuple[int, str]]:
    return Counter((s.label, s.defect_type) for s in samples if s.split == "test")


# --- folders of normal images ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("ok", "OK ", "normal", "Normal_2", "pass", "iO", "i.O.", "gut", "defect-free", "NoDefect", "goods"),
        *("GOOD2", "good_parts", "non-defective", "without anomalies", "negative", "0", "class_0", "正常"),
    ],
)
def test_names_that_may_be_of_normal_images(name: str) -> None:
    assert sounds_good(name)


@pytest.mark.parametrize(
    "name",
    [
        *("nok", "NG", "ko", "not_ok", "no good", "n.i.O.", "abnormal", "bad", "defect", "anomaly", "1"),
        *("bent_wire", "color", "fine_scratch", "faulty_imprint", "poke", "hole", "normally_closed_switch"),
    ],
)
def test_names_of_defects(name: str) -> None:
    assert not sounds_good(name)


@pytest.mark.parametrize("name", ["Good", "GOOD ", " good", "ｇｏｏｄ"])
def test_good_is_good_in_any_case_and_with_spaces(root: Path, name: str) -> None:
    for part in ("train", "test"):
        (root / "nut" / part / "good").rename(root / "nut" / part / name)
    samples, problems = scan("mvtec", root)
    assert problems == []
    assert sum(s.split == "train" for s in samples) == 3
    assert counted(samples) == {(0, "good"): 2, (1, "bent"): 2}


@pytest.mark.parametrize("name", ["OK", "normal", " pass"])
def test_a_folder_that_sounds_good_is_asked_about_and_the_answer_is_kept(root: Path, name: str) -> None:
    touch(root, f"nut/test/{name}/7.png")
    (root / "nut/ground_truth").rename(root / "elsewhere")
    _, problems = scan("mvtec", root, ["nut"])
    (asked,) = problems
    assert (asked.kind, asked.severity, asked.file) == ("good-by-another-name", "error", f"nut/test/{name}")
    assert "set dataset.good: [" in asked.fix
    assert name.strip() in asked.fix
    samples, problems = scan("mvtec", root, ["nut"], [name.strip().upper()])
    assert problems == []
    assert counted(samples) == {(0, "good"): 3, (1, "bent"): 2}
    samples, problems = scan("mvtec", root, ["nut"], [])
    assert problems == []
    assert counted(samples) == {(0, "good"): 2, (1, "bent"): 2, (1, name): 1}


def test_training_images_by_another_name_are_asked_about(root: Path) -> None:
    (root / "nut/train/good").rename(root / "nut/train/OK")
    _, problems = scan("mvtec", root)
    assert kinds(problems) == ["good-by-another-name", "left-out"]
    samples, problems = scan("mvtec", root, None, ["ok"])
    assert problems == []
    assert sum(s.split == "train" for s in samples) == 3
    assert scan("mvtec", root / "nut", ["nut"], ["ok"])[1] == []


def test_btad_calls_them_ok(root: Path) -> None:
    for part in ("train", "test"):
        (root / "nut" / part / "good").rename(root / "nut" / part / "ok")
    samples, problems = scan("btad", root)
    assert problems == []
    assert counted(samples) == {(0, "good"): 2, (1, "bent"): 2}


# --- what systems leave ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYSTEM)
def test_what_systems_leave_is_no_category_no_defect_no_image_and_no_problem(root: Path, name: str) -> None:
    before = scan("mvtec", root)
    for folder in ("", "nut/", "nut/train/", "nut/train/good/", "nut/test/", "nut/test/bent/"):
        touch(root, f"{folder}{name}/train/good/0.png", f"{folder}{name}/thumb.jpg")
    for folder in ("nut/train/good", "nut/test/bent", "nut/test", "nut/ground_truth/bent"):
        touch(root, f"{folder}/._0.png", f"{folder}/.DS_Store", f"{folder}/Desktop.ini")
    assert scan("mvtec", root) == before
    assert before[1] == []


def test_only_images_are_test_images(root: Path) -> None:
    """The plan of the workflow asks the same listing whether there are any."""
    assert listing(Dataset(root=str(root), categories=["nut"])).tested
    for image in (root / "nut/test").rglob("*.png"):
        image.unlink()
    touch(root, "nut/test/good/.DS_Store", "nut/test/bent/@eaDir/0.png", "nut/test/bent/notes.txt")
    assert not listing(Dataset(root=str(root), categories=["nut"])).tested


# --- one mask for one image ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("added", "kind", "names"),
    [
        ("test/bent/0.bmp", "images-of-one-mask", ("test/bent/0.bmp", "0.png")),
        ("ground_truth/bent/0.png", "masks-of-one-image", ("test/bent/0.png", "0_mask.png", "0.png")),
        ("ground_truth/bent/0_mask.webp", "masks-of-one-image", ("0_mask.png", "0_mask.webp")),
        ("test/bent/0_mask.png", "mask-among-images", ("test/bent/0_mask.png",)),
        ("train/good/1_mask.bmp", "mask-among-images", ("train/good/1_mask.bmp",)),
    ],
)
def test_what_leaves_open_which_belong_together_is_an_error(
    root: Path, added: str, kind: str, names: tuple[str, ...]
) -> None:
    touch(root, f"nut/{added}")
    _, problems = scan("mvtec", root)
    (problem,) = (p for p in problems if p.kind == kind)
    assert problem.severity == "error"
    assert all(name in str(problem.error()) for name in names)


def test_one_stem_twice_does_no_harm_where_no_mask_hangs_on_it(root: Path) -> None:
    touch(root, "nut/train/good/0.jpg", "nut/test/good/0.bmp")
    assert scan("mvtec", root)[1] == []


# --- Unicode forms ---------------------------------------------------------------------------------------

FORMS = [("NFC", "NFD"), ("NFD", "NFC")]


@pytest.mark.parametrize(("asked", "stored"), FORMS)
@pytest.mark.parametrize("name", ["größe", "café", "が", "Å"])
def test_a_category_is_found_in_either_form(root: Path, asked: str, stored: str, name: str) -> None:
    asked, stored = (unicodedata.normalize(form, name) for form in (asked, stored))
    (root / "nut").rename(root / stored)
    samples, problems = scan("mvtec", root, [asked])
    assert problems == []
    assert {s.category for s in samples} == {asked}
    assert all((root / s.path).is_file() for s in samples)
    assert {s.category for s in scan("mvtec", root / stored, [asked])[0]} == {asked}


@pytest.mark.parametrize(("image", "mask"), FORMS)
def test_masks_are_found_in_either_form(root: Path, image: str, mask: str) -> None:
    folder, stem = (unicodedata.normalize(image, text) for text in ("gebrochenes_öhr", "é"))
    beside, own = (unicodedata.normalize(mask, text) for text in ("gebrochenes_öhr", "é"))
    touch(root, f"nut/test/{folder}/{stem}.png", f"nut/ground_truth/{beside}/{own}_mask.png")
    samples, problems = scan("mvtec", root)
    assert problems == []
    (mask_path,) = (s.mask for s in samples if s.defect_type == folder)
    assert (root / mask_path).is_file()


def test_two_folders_of_one_name_in_two_forms_are_an_error(root: Path) -> None:
    one, other = (unicodedata.normalize(form, "größe") for form in ("NFC", "NFD"))
    for name in (one, other):
        touch(root, f"{name}/train/good/0.png", f"nut/test/{name}/0.png", f"nut/ground_truth/{name}/0.png")
    _, problems = scan("mvtec", root, [one, "nut"])
    forms = [p for p in problems if p.kind == "names-differ-in-form"]
    assert len(forms) == 2
    assert all(p.severity == "error" for p in forms)
    assert not any(p.file in (one, other) for p in scan("mvtec", root, ["nut"])[1])
    with pytest.raises(ValueError, match="names a category twice"):
        Dataset(categories=[one, other])


def test_an_unknown_category_is_quoted_as_are_those_that_there_are(root: Path) -> None:
    (root / "nut").rename(root / "nut ")
    with pytest.raises(UserError, match="unknown category 'nut'; found here: 'nut '"):
        scan("mvtec", root, ["nut"])


# --- what is left out ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("added", "file", "text"),
    [
        ("nut/test/bent/line2/0.png", "nut/test/bent/line2", "folder with 1 file"),
        ("nut/train/good/mon/a.png", "nut/train/good/mon", "folder with 1 file"),
        ("nut/test/loose.png", "nut/test/loose.png", ".png file"),
        ("nut/test/bent/raw.HEIC", "nut/test/bent/raw.HEIC", ".heic file"),
        ("nut/ground_truth/loose.png", "nut/ground_truth/loose.png", ".png file"),
        ("nut/ground_truth/bent/deep/0.png", "nut/ground_truth/bent/deep", "folder with 1 file"),
        ("nut/new/0.png", "nut/new", "folder with 1 file"),
        ("nut/Test/bent/0.png", "nut/Test", "folder with 1 file"),
        ("spare/0.png", "spare", "folder with 1 file"),
        ("loose.png", "loose.png", ".png file"),
    ],
)
def test_what_is_not_read_is_told(root: Path, added: str, file: str, text: str) -> None:
    touch(root, added)
    (problem,) = scan("mvtec", root)[1]
    assert (problem.kind, problem.file) == ("left-out", file)
    assert text in problem.problem


def test_a_licence_or_a_table_beside_the_images_is_no_problem(root: Path) -> None:
    touch(root, "license.txt", "nut/readme.txt", "split_csv/1cls.csv")
    assert scan("mvtec", root)[1] == []


def test_links_are_read_where_images_are_and_otherwise_told(root: Path) -> None:
    before = counted(scan("mvtec", root)[0])
    (root / "nut/test/bent").rename(root / "bent")
    (root / "nut/test/bent").symlink_to(root / "bent")
    (root / "nut/test/good/0.png").rename(root / "0.dat")
    (root / "nut/test/good/0.png").symlink_to(root / "0.dat")
    samples, problems = scan("mvtec", root, ["nut"])
    assert (counted(samples), problems) == (before, [])
    (root / "nut/test/bent/up").symlink_to(root / "nut")
    (root / "nut/test/loop").symlink_to("loop")
    assert [p.file for p in scan("mvtec", root, ["nut"])[1]] == ["nut/test/bent/up", "nut/test/loop"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_no_image_and_nothing_waits_for_it(root: Path) -> None:
    os.mkfifo(root / "nut/test/bent/pipe")
    assert ["special file" in p.problem for p in scan("mvtec", root)[1]] == [True]
