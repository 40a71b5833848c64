"""MPDD, KolektorSDD, MVTec AD 2 and Real-IAD: small synthetic trees in the layouts that are published."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import layouts
import numpy as np
import pytest
import yaml
from layouts import TREES

from drdc import cli
from drdc.data.datasets import READERS, dataset_root
from drdc.data.manifest import prepare
from drdc.data.samples import Sample
from drdc.runtime.errors import UserError


def counted(samples: list[Sample]) -> dict[str, tuple[int, ...]]:
    kinds = Counter((s.category, s.split, s.label) for s in samples)
    parts = (("train", 0), ("test", 0), ("test", 1))
    return {name: tuple(kinds[name, *part] for part in parts) for name in {s.category for s in samples}}


@pytest.mark.parametrize("name", TREES)
def test_every_image_of_its_layout_is_listed_with_its_mask(name: str, tmp_path: Path) -> None:
    make, expected = TREES[name]
    root = make(tmp_path)
    samples = READERS[name].samples(root)
    assert counted(samples) == expected
    assert set(expected) <= set(READERS[name].counts)
    assert all((root / s.path).is_file() for s in samples)
    assert all((root / s.mask).is_file() if s.label else not s.mask for s in samples)
    first = next(iter(expected))
    assert {s.category for s in READERS[name].samples(root, [first])} == {first}


@pytest.mark.parametrize("name", TREES)
def test_its_masks_reach_the_manifest(name: str, tmp_path: Path) -> None:
    root = TREES[name][0](tmp_path / "data")
    files = {f"{kind}_path": tmp_path / "out" / kind for kind in ("manifest", "masks", "problems", "regions")}
    table = prepare(READERS[name].samples(root), root, image_size=16, holdout=0.1, **files)
    masks = np.load(files["masks_path"])
    assert masks.any(axis=(1, 2)).tolist() == (table.label == 1).tolist()


@pytest.mark.parametrize("name", TREES)
def test_check_finds_nothing_wrong_but_too_few_images(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, expected = TREES[name]
    dataset = {"name": name, "root": str(make(tmp_path)), "categories": list(expected)}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"dataset": dataset}))
    assert cli.main(["check", "--config", str(tmp_path / "own.yaml")]) == 0
    found = {line.partition(",")[0] for line in capsys.readouterr().out.splitlines() if " x: " in line}
    assert found == {"warning few-training-images"}


@pytest.mark.parametrize("name", TREES)
def test_another_folder_is_explained(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no |no category"):
        READERS[name].samples(tmp_path)
    root = TREES[name][0](tmp_path)
    with pytest.raises(UserError, match="unknown category 'elsewhere'; found here: "):
        READERS[name].samples(root, ["elsewhere"])
    with pytest.raises(
        UserError, match=r"the folder of dataset .* does not exist.*(download|ask for access)"
    ):
        dataset_root(name, tmp_path / "none")


@pytest.mark.parametrize("name", ["mpdd", "realiad", "elpv"])
def test_what_has_no_address_says_where_to_ask(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["download", name]) == 2
    said = capsys.readouterr().err
    assert f"{name}: {READERS[name].title} has no address" in said
    assert READERS[name].by_hand in said
    assert not list(tmp_path.iterdir())


# --- KolektorSDD -----------------------------------------------------------------------------------------


def test_the_last_fifth_of_the_normal_surfaces_is_for_the_test(tmp_path: Path) -> None:
    samples = READERS["kolektorsdd"].samples(layouts.kolektorsdd(tmp_path, commutators=10))
    test = {s.path[:5] for s in samples if s.split == "test" and not s.label}
    assert test == {"kos09", "kos10"}, "whole commutators, so that none is in both parts"
    assert not test & {s.path[:5] for s in samples if s.split == "train"}
    label = "kos01/Part4_label.bmp"
    assert [s for s in samples if s.label] == [
        Sample("kos01/Part4.jpg", "commutator", "test", 1, "defect", label)
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "the label of an image is missing"), (b"BM broken", "not a readable label")],
)
def test_a_label_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    label = layouts.kolektorsdd(tmp_path) / "kos02/Part1_label.bmp"
    label.write_bytes(content) if content else label.unlink()
    with pytest.raises(UserError, match=rf"kos02/Part1_label\.bmp: {message}"):
        READERS["kolektorsdd"].samples(tmp_path)


# --- MVTec AD 2 ------------------------------------------------------------------------------------------


def test_validation_images_are_for_training_and_private_ones_are_not_read(tmp_path: Path) -> None:
    samples = READERS["mvtec_ad_2"].samples(layouts.mvtec_ad_2(tmp_path), ["can"])
    assert {s.split for s in samples if s.path.startswith("can/validation")} == {"train"}
    assert not [s for s in samples if "private" in s.path]
    assert {s.defect_type for s in samples if s.label} == {"bad"}


def test_a_mask_that_is_missing_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = layouts.mvtec_ad_2(tmp_path, ("can",))
    (root / "can/test_public/ground_truth/bad/001_regular_mask.png").unlink()
    config = tmp_path / "own.yaml"
    dataset = {"name": "mvtec_ad_2", "root": str(root), "categories": ["can"]}
    config.write_text(yaml.safe_dump({"dataset": dataset}))
    assert cli.main(["check", "--config", str(config)]) == 1
    assert "001_regular_mask.png: no such file" in capsys.readouterr().out


# --- Real-IAD --------------------------------------------------------------------------------------------


def test_a_side_without_a_visible_defect_is_normal(tmp_path: Path) -> None:
    samples = READERS["realiad"].samples(layouts.realiad(tmp_path), ["mint"])
    sides = {s.path[-8:-6]: (s.label, s.defect_type) for s in samples if "/NG/" in s.path}
    assert sides == {"C1": (1, "scratch"), "C2": (0, "good")}


def test_the_lists_may_lie_a_folder_deeper(tmp_path: Path) -> None:
    root = layouts.realiad(tmp_path)
    before = READERS["realiad"].samples(root)
    (tmp_path / "realiad_jsons").rename(tmp_path / "inner")
    (tmp_path / "realiad_jsons").mkdir()
    (tmp_path / "inner").rename(tmp_path / "realiad_jsons/realiad_jsons")
    assert READERS["realiad"].samples(root) == before


def test_only_the_categories_that_are_there_are_listed(tmp_path: Path) -> None:
    """The lists are of all 30; a user may have unpacked some."""
    root = layouts.realiad(tmp_path)
    shutil.rmtree(root / "usb")
    assert {s.category for s in READERS["realiad"].samples(root)} == {"mint"}


ENTRY = {"category": "mint", "anomaly_class": "OK", "image_path": "OK/a.jpg", "mask_path": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"mint\.json: is not a readable list"),
        ("[]", r"mint\.json: has no list 'train'"),
        ({"train": []}, r"mint\.json: has no list 'test'"),
        ({"train": [ENTRY, "a"], "test": []}, r"mint\.json, 'train', entry 2: is not an image"),
        ({"train": [], "test": [{"image_path": "OK/a.jpg"}]}, "'test', entry 1: is not an image"),
        ({"train": [], "test": [ENTRY | {"image_path": "../../a.jpg"}]}, "'test', entry 1: is not an image"),
        ({"train": [], "test": [ENTRY | {"image_path": ""}]}, "'test', entry 1: is not an image"),
        ({"train": [], "test": [ENTRY | {"image_path": 5}]}, "'test', entry 1: is not an image"),
        ({"train": [], "test": [ENTRY | {"anomaly_class": ["HS"]}]}, "'test', entry 1: is not an image"),
        (
            {"train": [ENTRY | {"anomaly_class": "HS", "mask_path": "NG/a.png"}], "test": []},
            "'train', entry 1: is not an image of this layout; use the lists of realiad_jsons",
        ),
    ],
)
def test_a_damaged_list_is_named(tmp_path: Path, content: object, message: str) -> None:
    root = layouts.realiad(tmp_path, ("mint",))
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "realiad_jsons/mint.json").write_text(text)
    with pytest.raises(UserError, match=message):
        READERS["realiad"].samples(root)
