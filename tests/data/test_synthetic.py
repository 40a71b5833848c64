"""The synthetic dataset: same bytes for the same seed, MVTec layout, masks that fit what was changed."""

from __future__ import annotations

import hashlib
import importlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from drdc.data.datasets import READERS
from drdc.data.images import resize_mask
from drdc.data.synthetic import CATEGORIES, generate, render
from drdc.runtime.errors import UserError

SMALL = {"train": 2, "test_good": 1, "test_bad": 5, "size": 48}
KINDS = [(category, kind) for category, (_, kinds) in CATEGORIES.items() for kind in kinds]


def digests(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    generate(root, seed=3, **SMALL)
    return root


def test_same_seed_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    generate(tmp_path, seed=3, **SMALL)
    assert digests(tmp_path) == digests(made)


#: Of all pixels of `made`: with others, every published number of the demo is another.
PIXELS = "5f2f28aafb1661320d3d9176a0f36b333d01faea0effd674827cc783976f1246"


def checksum(root: Path) -> str:
    pixels = hashlib.sha256()
    for path in sorted(root.rglob("*.png")):
        pixels.update(Image.open(path).tobytes())
    return pixels.hexdigest()


def test_the_pixels_are_the_same_on_any_processor(made: Path, tmp_path: Path) -> None:
    """Without the instructions of this processor NumPy has other last digits in sines and powers."""
    core = importlib.import_module("numpy._core._multiarray_umath")
    own = [name for name in core.__cpu_dispatch__ if core.__cpu_features__[name]]
    code = "import sys, pathlib, drdc.data.synthetic as synthetic\n"
    code += f"synthetic.generate(pathlib.Path(sys.argv[1]), seed=3, **{SMALL})"
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(own)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)
    assert checksum(tmp_path) == checksum(made) == PIXELS


def test_every_picture_differs_from_every_other(made: Path) -> None:
    pictures = [d for name, d in digests(made).items() if "ground_truth" not in name]
    assert len(set(pictures)) == len(pictures)


def test_other_seed_gives_other_pictures(made: Path, tmp_path: Path) -> None:
    generate(tmp_path, seed=4, **SMALL | {"test_bad": 0})
    assert not set(digests(tmp_path).values()) & set(digests(made).values())


def test_more_pictures_leave_the_others_alone(made: Path, tmp_path: Path) -> None:
    generate(tmp_path, seed=3, **SMALL | {"train": 1, "test_bad": 2})
    assert digests(tmp_path).items() < digests(made).items()


def test_an_interrupted_run_is_completed(made: Path, tmp_path: Path) -> None:
    generate(tmp_path, seed=3, **SMALL)
    broken = tmp_path / "gear/train/good/001.png"
    broken.write_bytes(b"half a fi")
    (tmp_path / "wood/test/good/000.png").unlink()
    generate(tmp_path, seed=3, **SMALL)
    assert digests(tmp_path) == digests(made)


def test_layout_and_counts_as_the_reader_sees_them(made: Path) -> None:
    samples = READERS["synthetic"].samples(made)
    counts = Counter((s.category, s.split, s.label) for s in samples)
    for category, (_, kinds) in CATEGORIES.items():
        assert counts[category, "train", 0] == 2
        assert counts[category, "test", 0] == 1
        assert counts[category, "test", 1] == 5
        spread = Counter(s.defect_type for s in samples if s.category == category and s.label)
        assert set(spread) == set(kinds)
        assert max(spread.values()) - min(spread.values()) <= 1
    assert all(bool(s.mask) == bool(s.label) for s in samples)
    assert Image.open(made / samples[0].path).size == (48, 48)


@pytest.mark.parametrize(("category", "kind"), KINDS)
def test_mask_is_where_the_flaw_shows(category: str, kind: str) -> None:
    """Inside the mask the flawed picture stands out; outside it is an ordinary normal one."""
    for number in range(2):
        picture, mask = render(category, kind, number, split="test", seed=0, size=128)
        assert mask.sum() >= 20
        assert mask.mean() < 0.25
        assert resize_mask(mask, 64).any()
        clean = without_flaw(category, kind, number)
        change = np.abs(picture.astype(int) - clean.astype(int)).max(axis=2)
        assert change[~mask].max() <= 8 + 1  # the threshold, and one level of rounding
        assert np.median(change[mask]) > 25
        assert (change[mask] >= 8 - 1).mean() > 0.99


def without_flaw(category: str, kind: str, number: int) -> np.ndarray:
    """The same picture, grain included, drawn by a draw that sees no flaw."""
    draw, kinds = CATEGORIES[category]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CATEGORIES, category, (lambda canvas, look, _: draw(canvas, look, None), kinds))
        patch.setattr("drdc.data.synthetic._VISIBLE", -1.0)  # else it would try on for a visible flaw
        return render(category, kind, number, split="test", seed=0, size=128)[0]


def test_normal_pictures_have_no_mask() -> None:
    _, mask = render("gear", "good", 0, split="train", seed=0, size=64)
    assert mask.shape == (64, 64)
    assert not mask.any()


def test_normal_pictures_vary_but_belong_together() -> None:
    """Within a category pictures differ by more than grain, yet far less than categories differ."""
    mean: dict[str, np.ndarray] = {}
    for category in CATEGORIES:
        shots = [
            render(category, "good", n, split="train", seed=0, size=64)[0].astype(float) for n in range(6)
        ]
        assert np.abs(shots[0] - shots[1]).mean() > 4
        mean[category] = np.mean(shots, axis=(0, 1, 2))
        assert np.std([shot.mean(axis=(0, 1)) for shot in shots], axis=0).max() < 20
    names = list(mean)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert np.abs(mean[one] - mean[other]).max() > 20


@pytest.mark.parametrize(("name", "value"), [("train", 0), ("test_bad", -1), ("seed", -1), ("size", 16)])
def test_numbers_out_of_range_are_named(tmp_path: Path, name: str, value: int) -> None:
    arguments = {"train": 1, "test_good": 1, "test_bad": 1, "seed": 0, "size": 32} | {name: value}
    with pytest.raises(UserError, match=f"{name}: {value} is too small"):
        generate(tmp_path, **arguments)


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    stranger = tmp_path / "gear" / "train" / "good" / "999.png"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"")
    with pytest.raises(UserError, match=r"999\.png: not part of the dataset"):
        generate(tmp_path, train=1, test_good=0, test_bad=0, seed=0, size=32)
