"""`drdc new-experiment`: a file that loads, plans and trains, with lengths that follow the machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from exporting import drdc
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from running import planned, snakemake

from drdc.cli import main
from drdc.config.variants import BEYOND
from drdc.experiment.experiment import Experiment, load_experiment
from drdc.runtime.errors import UserError
from drdc.tools.new_experiment import accumulations, look_at, name_of, plan, settings_of, write


def draw(root: Path, category: str, *, train: int, test: int, masks: bool, side: int = 100) -> None:
    rng = np.random.default_rng(len(category))
    names = [f"train/good/{i}" for i in range(train)]
    names += [f"test/{kind}/{i}" for i in range(test) for kind in ("good", "torn")]
    names += [f"ground_truth/torn/{i}_mask" for i in range(test) if masks]
    for name in names:
        path = root / category / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side + 20), dtype=np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "our parts: #1"
    draw(root, "Größe: 'M' # x", train=6, test=2, masks=True)
    draw(root, "no", train=4, test=0, masks=False)  # YAML would read it as false
    return root


def rates(base: float, diffusion: dict[int, float]) -> object:
    """Made speeds of a machine: seconds per training image, of the diffusion model by image size."""
    return lambda _, known: (base, diffusion[known.dataset.image_size])


def written(folder: Path, minutes: float, gpu: bool, timed: object) -> Experiment:
    seen = look_at(folder)
    text = write("own", seen, plan(seen, minutes, gpu, timed), minutes, gpu)  # type: ignore[arg-type]
    return load_experiment(yaml.safe_load(text))


def test_the_file_loads_is_planned_and_is_never_overwritten(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("drdc.planning.timing.LIMIT", 2.0)
    assert main(["new-experiment", str(folder), "--minutes", "1"]) == 0
    file = Path("config/our-parts-1.yaml")
    said = capsys.readouterr().out
    assert f"drdc check --config {file}\n" in said
    assert said.startswith(
        "10 training images of 2 categories, the typical one of 120 x 100 pixels.\nTiming "
    )
    (timed,) = re.findall(r"  diffusion model at 64 x 64 pixels: at most about 2 s ...\n(.*)\n", said)
    assert re.fullmatch(r"  diffusion model at 64 x 64 pixels: \S+ s for a training image", timed)
    assert "Chosen: 64 x 64 pixels, " in said
    loaded = load_experiment(file)
    assert loaded.dataset.categories == ["Größe: 'M' # x", "no"]
    assert loaded.dataset.root == folder.name, "relative, because it lies in the working directory"
    assert loaded.base.balanced
    done = snakemake(tmp_path, "--configfile", tmp_path / file, "--dry-run")
    assert done.returncode == 0, done.stderr
    jobs = planned(done.stdout + done.stderr)
    assert jobs["predict"] == 3 + 3, "two categories, all for the fast mode, and three quick methods"
    assert jobs["self_check"] == 4
    assert jobs["recommend"] == 1
    before = file.read_bytes()
    assert main(["new-experiment", str(folder), "--minutes", "2"]) == 2
    assert "exists already and is not overwritten" in capsys.readouterr().err
    assert file.read_bytes() == before
    file.unlink()
    Path("results/our-parts-1").mkdir(parents=True, exist_ok=True)
    assert main(["new-experiment", str(folder), "--minutes", "2", "--output", "other.yaml"]) == 2
    assert "results/our-parts-1: has results of that name; give another --name" in capsys.readouterr().err
    assert not Path("other.yaml").exists()


@pytest.mark.parametrize(
    ("folder", "name"),
    {"our-parts": "our-parts", "our-parts-dataset": "our-parts", "a/b c": "b-c", "-dataset": "own"}.items(),
)
def test_the_links_to_a_folder_of_photos_have_its_name(folder: str, name: str) -> None:
    assert name_of(folder) == name


@pytest.mark.long
def test_the_experiment_that_it_writes_trains(folder: Path, tmp_path: Path) -> None:
    """The two commands it stands for: the images are prepared, and both networks take their first steps."""
    file = tmp_path / "own.yaml"
    new = ["new-experiment", str(folder), "--output", str(file), "--name", "own", "--minutes", "0.01"]
    assert drdc(tmp_path, *new) == 0
    written = load_experiment(file)
    sizes = {written.dataset.image_size, written.backbone.input_size}
    images = [["images", str(size)] for size in sizes]
    for stage in (["prepare"], *images, ["features"], ["train", "base"], ["train", "diffusion"]):
        assert drdc(tmp_path, *stage, "--config", str(file), "--threads", "1") == 0
    assert sorted(p.name for p in (tmp_path / "results/own/seed0").glob("*.safetensors")) == [
        "base.safetensors",
        "diffusion.safetensors",
    ]


def test_quick_methods_are_those_of_the_demos_experiment_and_follow_the_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = settings_of("demo-systems.yaml").methods
    slow = written(folder, 90, False, rates(0.1, {64: 1.0, 96: 2.0})).methods
    assert slow == {name: known[name] for name in ("padim", "patchcore", "simplenet")}
    fast = written(folder, 90, False, rates(0.001, {64: 0.01, 96: 0.1})).methods
    assert fast["padim"] == known["padim"] | {"input_size": 192}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert list(written(folder, 90, False, rates(0.1, {64: 1.0, 96: 2.0})).methods) == ["simplenet"]


def test_a_slow_machine_gets_the_smallest_images_and_a_fast_one_larger_ones(folder: Path) -> None:
    small, middle = settings_of("config.yaml"), settings_of("mvtec-small.yaml")
    slow = written(folder, 90, False, rates(0.1, {64: 1.0, 96: 2.0}))
    assert (slow.dataset.image_size, slow.diffusion.images) == (64, 5100)
    assert slow.fusion == small.fusion.model_copy(update=BEYOND["memory+centred"])
    assert (slow.base.memory, slow.base.memory_stages) == (40_000, [2, 3])
    fast = written(folder, 90, False, rates(0.001, {64: 0.01, 96: 0.1}))
    assert (fast.dataset.image_size, fast.sampling) == (96, middle.sampling)
    assert fast.backbone == middle.backbone
    assert fast.base.epochs == 1000, "no more than the paper's"


def test_a_gpu_gets_the_papers_networks_where_a_tenth_of_its_training_fits(
    folder: Path, tmp_path: Path
) -> None:
    paper = settings_of("mvtec.yaml")
    draw(tmp_path / "large", "a", train=4, test=1, masks=True, side=300)
    speeds = {64: 0.001, 96: 0.002, 224: 0.02}
    enough = written(tmp_path / "large", 120, True, rates(0.001, speeds))
    assert (enough.dataset.image_size, enough.sampling) == (224, paper.sampling)
    assert (enough.diffusion.width, enough.fusion.filter_size) == (128, 21)
    assert enough.diffusion.images == 110_000, "no more than the paper's, for one category"
    short = written(tmp_path / "large", 3, True, rates(0.001, speeds))
    assert (short.dataset.image_size, short.backbone) == (96, paper.backbone)
    assert short.base.hidden == paper.base.hidden
    assert written(folder, 120, True, rates(0.001, speeds)).dataset.image_size == 96, (
        "its images are no larger"
    )


@pytest.mark.long
def test_a_batch_is_computed_in_parts_where_the_gpu_is_small(folder: Path) -> None:
    seen = look_at(folder)
    made = plan(seen, 60, True, rates(0.001, {64: 0.001, 96: 0.002}))  # type: ignore[arg-type]
    paper, small = accumulations(made, 80e9), accumulations(made, 4e8)
    assert paper == {"base": 1, "diffusion": 1}
    assert small["diffusion"] > 1
    text = write("own", seen, made, 60, True, small)
    assert load_experiment(yaml.safe_load(text)).diffusion.accumulation == small["diffusion"]
    assert "accumulation" not in write("own", seen, made, 60, True, paper)


@pytest.mark.parametrize("minutes", [5, 60, 600])
def test_both_trainings_take_the_time_that_was_asked_for(folder: Path, minutes: float) -> None:
    made = written(folder, minutes, False, rates(0.5, {64: 0.7, 96: 1.3}))
    seconds = made.base.epochs * 10 * 0.5 + made.diffusion.images * (
        0.7 if made.dataset.image_size == 64 else 1.3
    )
    assert seconds == pytest.approx(60 * minutes, rel=0.1)


def test_what_a_folder_lacks_is_said_in_the_file(tmp_path: Path) -> None:
    draw(tmp_path / "bare", "a", train=4, test=0, masks=False)
    draw(tmp_path / "plain", "a", train=4, test=1, masks=False)
    for name, words in (
        ("bare", "# no test images: a detector is trained"),
        ("plain", "# no masks: image metrics only"),
    ):
        seen = look_at(tmp_path / name)
        made = plan(seen, 9, False, rates(1, {64: 1, 96: 1}))  # type: ignore[arg-type]
        assert words in write("own", seen, made, 9, False)


def test_what_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        look_at(tmp_path / "nowhere")
    draw(tmp_path / "one", "a", train=1, test=0, masks=False)
    with pytest.raises(UserError, match="fewer than two training images"):
        look_at(tmp_path / "one")
    draw(tmp_path / "braces", "{a}", train=3, test=0, masks=False)
    with pytest.raises(UserError, match=r"category '\{a\}' has a brace"):
        look_at(tmp_path / "braces")
    (tmp_path / "empty/a/train/good").mkdir(parents=True)
    for i in range(3):
        (tmp_path / f"empty/a/train/good/{i}.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of the images can be read; run `drdc check"):
        look_at(tmp_path / "empty")
    assert main(["new-experiment", os.fspath(tmp_path / "one"), "--minutes", "0"]) == 2


def test_what_is_no_image_says_nothing_of_the_size(folder: Path) -> None:
    before = look_at(folder)
    first = next(folder.rglob("train/good/*.png"))
    os.mkfifo(first.with_name("pipe.png"))
    text = PngInfo()
    text.add_text("long", "a" * 3_000_000, zip=True)  # which Pillow refuses by an error of its own
    Image.open(first).save(first.with_name("text.png"), pnginfo=text)
    after = look_at(folder)
    assert (after.smallest, after.largest) == (before.smallest, before.largest)


def test_a_name_is_refused_before_anything_is_timed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-experiment", os.fspath(folder), "--name", "a b"]) == 2
    said = capsys.readouterr()
    assert "experiment: invalid value 'a b'" in said.err
    assert "Timing" not in said.out + said.err


def test_folders_that_sound_good_are_asked_about_and_the_answer_is_written(folder: Path) -> None:
    asked = folder / "no/test/OK"
    asked.mkdir(parents=True)
    shutil.copy(next((folder / "no/train/good").iterdir()), asked / "0.png")
    with pytest.raises(UserError, match="folders called OK may hold normal images; give --good OK if they"):
        look_at(folder)
    for good in (["OK"], []):
        seen = look_at(folder, good)
        fast = plan(seen, 60, False, rates(0.01, {64: 0.01, 96: 0.01}))  # type: ignore[arg-type]
        assert load_experiment(yaml.safe_load(write("own", seen, fast, 60, False))).dataset.good == good
