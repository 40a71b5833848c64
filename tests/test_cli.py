"""The commands, given bad input: exit code 2, one clear sentence, no traceback, and nothing half-written."""

from __future__ import annotations

import errno
import getpass
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from stamping import stamped

import drdc
from drdc import cli
from drdc.__main__ import WINDOWS
from drdc.runtime.errors import UserError

RESULTS = Path("results", "tiny")
PREPARED = {"dataset.json", "manifest.csv", "masks.npy", "problems.csv", "regions.csv"}
TINY: dict[str, Any] = {
    "experiment": "tiny",
    "seeds": [0],
    "dataset": {
        "name": "mvtec",
        "root": "data",
        "categories": ["cap", "nut"],
        "image_size": 16,
        "holdout": 0.2,
    },
    "backbone": {"name": "tf_efficientnet_lite0", "weights": "package", "input_size": 32, "feature_size": 4},
    "base": {
        "hidden": 8,
        "heads": 2,
        "feedforward": 8,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "neighbour_window": 3,
        "epochs": 1,
        "batch_size": 4,
        "validations": 1,
    },
    "diffusion": {
        "width": 32,
        "multipliers": [1],
        "attention_levels": [],
        "layers_per_block": 1,
        "grid_sizes": [4],
        "images": 4,
        "batch_size": 4,
        "validations": 1,
    },
    "sampling": {"steps": 1, "initial_index": 250, "grid_sizes": [4]},
    "fusion": {"filter_size": 3, "pool_size": 4},
}
CHANNELS = 192


def picture(path: Path, seed: int, size: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a small dataset and its configuration, `tiny.yaml`."""
    monkeypatch.chdir(tmp_path)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))  # so that what the commands set is undone
    for seed, category in enumerate(("cap", "nut")):
        for i in range(5):
            picture(Path(f"data/{category}/train/good/{i}.png"), 10 * seed + i)
        picture(Path(f"data/{category}/test/good/0.png"), 50 + seed)
        picture(Path(f"data/{category}/test/bent/0.png"), 60 + seed)
        truth = Path(f"data/{category}/ground_truth/bent/0_mask.png")
        truth.parent.mkdir(parents=True)
        Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(truth)
    configure()
    return tmp_path


def configure(**sections: dict[str, Any]) -> None:
    changed = {
        key: value | sections.get(key, {}) if isinstance(value, dict) else value
        for key, value in TINY.items()
    }
    Path("tiny.yaml").write_text(yaml.safe_dump(changed))


def drdc_command(*arguments: str) -> int:
    return cli.main([*arguments, "--config", "tiny.yaml", "--threads", "1"])


def make_features() -> None:
    """Features as `drdc features` would write them, without a backbone."""
    features = np.random.default_rng(0).normal(size=(14, CHANNELS, 4, 4)).astype(np.float16)
    np.save(RESULTS / "features.npy", features)
    stamped(RESULTS / "features.npy")


def written() -> set[str]:
    """Every file under results/, hidden ones too, but for the digests beside them."""
    found = [path for path in RESULTS.rglob("*") if path.is_file() and path.suffix != ".sha256"]
    return {path.relative_to(RESULTS).as_posix() for path in found}


class Refused:
    """Runs a command that must fail and checks how it fails."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str, lines: int = 1) -> str:
        before = written()
        self.capsys.readouterr()
        assert drdc_command(*arguments) == 2
        out, error = self.capsys.readouterr()
        assert out == ""
        told = error[error.index("drdc: ") :].splitlines()
        assert len(told) == lines, error
        assert "Traceback" not in error
        assert written() == before
        return "\n".join(told)


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    return Refused(capsys)


# --- the configuration -----------------------------------------------------------------------------------


def test_a_missing_configuration(refused: Refused) -> None:
    Path("tiny.yaml").unlink()
    assert "tiny.yaml: cannot be read" in refused("prepare")


def test_a_configuration_that_is_not_yaml(refused: Refused) -> None:
    Path("tiny.yaml").write_text("dataset: {root: [data")
    assert "tiny.yaml: is not valid YAML" in refused("tables")


@pytest.mark.parametrize("command", [["prepare"], ["train", "base"], ["predict"], ["score"]])
def test_an_unknown_key_stops_every_command(refused: Refused, command: list[str]) -> None:
    configure(fusion={"wieght": 0.8})
    message = refused(*command)
    assert "fusion.wieght: unknown key" in message
    assert "'weight'" in message


# --- the dataset -----------------------------------------------------------------------------------------


def test_a_missing_dataset(refused: Refused) -> None:
    configure(dataset={"root": "downloads/mvtec"})
    message = refused("prepare")
    assert "'downloads/mvtec'" in message or "downloads/mvtec" in message  # where to put it
    assert "www.mvtec.com" in message  # where to get it
    assert "<category>/train/good" in message
    assert not RESULTS.exists()


def test_a_category_without_images(refused: Refused) -> None:
    for path in Path("data/nut/train/good").iterdir():
        path.unlink()
    message = refused("prepare")
    assert "'nut'" in message
    assert "data/nut/train/good" in message


def test_a_category_that_is_not_there(refused: Refused) -> None:
    configure(dataset={"categories": ["cap", "bolt"]})
    message = refused("prepare")
    assert "'bolt'" in message
    assert "'cap', 'nut'" in message


def test_half_an_image(refused: Refused) -> None:
    path = Path("data/cap/train/good/3.png")
    path.write_bytes(path.read_bytes()[:300])
    assert str(path) in refused("prepare")
    assert written() == set()


def test_a_mask_of_another_size(refused: Refused) -> None:
    path = Path("data/nut/ground_truth/bent/0_mask.png")
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(path)
    message = refused("prepare")
    assert str(path) in message
    assert "8 x 8" in message
    assert "16 x 16" in message


def test_all_faults_are_told_and_the_old_results_stay(refused: Refused) -> None:
    assert drdc_command("prepare") == 0
    assert written() == PREPARED
    before = {name: (RESULTS / name).read_bytes() for name in written()}
    Path("data/cap/train/good/1.png").write_bytes(b"no image")
    Path("data/nut/train/good/2.png").write_bytes(b"")
    message = refused("prepare", lines=3)
    assert "data/cap/train/good/1.png" in message
    assert "data/nut/train/good/2.png" in message
    assert {name: (RESULTS / name).read_bytes() for name in written()} == before


def test_results_that_cannot_be_written(refused: Refused) -> None:
    Path("results").write_text("a file where the folder should be")
    message = refused("prepare")
    assert str(RESULTS) in message


def test_a_full_disk(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    message = refused("prepare")
    assert "No space left" in message
    assert "MiB free" in message
    assert written() == set()


# --- the backbone ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "hint"),
    [
        ({"weights": "weights/lite0.pth"}, "weights/lite0.pth"),
        ({"name": "resnet18", "weights": "package"}, "'resnet18'"),
        ({"name": "resnet1888"}, "resnet1888"),
    ],
)
def test_weights_that_are_not_there(refused: Refused, backbone: dict[str, str], hint: str) -> None:
    drdc_command("prepare")
    drdc_command("images", "32")
    configure(backbone=backbone)
    assert hint in refused("features")
    assert written() == PREPARED | {"images/32.npy"}


# --- the order of the commands ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [["images", "32"], ["features"], ["train", "base"], ["train", "diffusion"], ["predict"], ["score"]],
    ids=" ".join,
)
def test_nothing_goes_before_prepare(refused: Refused, command: list[str]) -> None:
    message = refused(*command)
    assert "manifest.csv" in message
    assert "prepare" in message


def test_each_command_names_the_one_before(refused: Refused) -> None:
    drdc_command("prepare")
    assert "drdc images 32" in refused("features")
    assert "drdc features" in refused("train", "base")
    make_features()
    assert "drdc train base" in refused("figures", "losses")
    assert "base.safetensors: is missing; run `drdc train base` first" in refused("predict")
    assert "nut" in refused("predict", "--category", "bolt")
    assert "drdc groups" in refused("score")
    drdc_command("groups")
    assert "drdc predict" in refused("score")
    assert "drdc score" in refused("tables")


def test_features_of_another_manifest_are_not_used(refused: Refused) -> None:
    drdc_command("prepare")
    make_features()
    picture(Path("data/cap/train/good/new.png"), 99)
    drdc_command("prepare")
    message = refused("train", "base")
    assert "14 rows" in message
    assert "15" in message


def test_no_image_is_left_to_hold_out(refused: Refused) -> None:
    for category in ("cap", "nut"):
        for i in range(1, 5):
            Path(f"data/{category}/train/good/{i}.png").unlink()
    message = refused("prepare", lines=3)
    assert "category 'nut': has 1 training image; give at least two: one is held out" in message


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 100)


def _other_model(path: Path) -> None:
    path.write_bytes(path.with_name("diffusion.safetensors").read_bytes())


@pytest.mark.parametrize("damage", [_cut, _garbage, _other_model])
def test_a_damaged_model(refused: Refused, damage: Callable[[Path], None]) -> None:
    drdc_command("prepare")
    drdc_command("images", "16")
    make_features()
    assert drdc_command("train", "base") == 0
    assert drdc_command("train", "diffusion") == 0
    damage(RESULTS / "seed0" / "base.safetensors")
    assert "base.safetensors" in refused("predict", "--category", "cap")


def test_a_seed_is_a_natural_number(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        drdc_command("train", "base", "--seed", "-1")
    assert caught.value.code == 2
    assert "--seed" in capsys.readouterr().err


# --- how commands end ------------------------------------------------------------------------------------


def test_exit_codes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def end_with(error: BaseException | None) -> int:
        def run(*_: object, **__: object) -> None:
            if error is not None:
                raise error

        monkeypatch.setattr(cli, "run", run)
        return drdc_command("tables")

    assert end_with(None) == 0
    assert end_with(UserError("results", "full", "")) == 2
    assert capsys.readouterr().err == "drdc: results: full\n"
    assert end_with(KeyboardInterrupt()) == 130
    assert "resumes" in capsys.readouterr().err


def test_a_user_without_name_and_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As containers run: libraries would fail for want of `Path.home()` and `getpass.getuser()`."""

    def unknown(_: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cli, "run", lambda *_, **__: (Path.home(), getpass.getuser()))
    assert drdc_command("tables") == 0


def test_on_windows_one_sentence_says_that_it_is_not_supported() -> None:
    """Without the modules that only Unix has."""
    code = "import sys; sys.platform = 'win32'; sys.modules |= dict.fromkeys(('fcntl', 'pwd'))\n"
    code += "from drdc.__main__ import main; sys.exit(main())"
    environment = os.environ | {"PYTHONPATH": str(Path(drdc.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (2, f"{WINDOWS}\n")


def test_the_program_itself(here: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(drdc.__file__).parents[1])}
    command = [sys.executable, "-m", "drdc"]
    options = {"cwd": here, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run([*command, "prepare", "--config", "none.yaml"], **options)  # type: ignore[call-overload]
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("drdc: none.yaml: cannot be read")
    assert done.stderr.count("\n") == 1
    done = subprocess.run([*command, "--help"], **options)  # type: ignore[call-overload]
    assert done.returncode == 0
    assert all(f"\n    {name}" in done.stdout for name in (*cli.STAGES, *cli.TOOLS))
    done = subprocess.run([*command, "--version"], **options)  # type: ignore[call-overload]
    assert (done.returncode, done.stdout) == (0, f"drdc {drdc.__version__}\n")


@pytest.mark.parametrize("command", [*cli.STAGES, *cli.TOOLS])
def test_each_help_ends_with_an_example_that_parses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        drdc_command(command, "--help")
    last = " ".join(capsys.readouterr().out.partition("example: ")[2].split())
    assert last.startswith(f"drdc {command} ")
    assert cli._parser(command).parse_args(last.split()[1:]).command == command
