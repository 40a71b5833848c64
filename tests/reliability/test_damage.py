"""One flipped bit of anything that is stored is refused, by the path of the file, and so is a cut one."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from exporting import STAGES, experiment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stamping import stamped

from drdc.config.variants import CONTROLS
from drdc.data.manifest import read_manifest
from drdc.detection.model_file import load_model_file
from drdc.methods.fitted_method import read_fitted
from drdc.results.groups import read_groups
from drdc.results.layout import SCORED, Layout
from drdc.results.predictions import read_parts
from drdc.results.scores import read_table
from drdc.runtime.digests import is_current, sidecar
from drdc.runtime.errors import UserError
from drdc.runtime.files import load_array, load_weights, save_weights

TINY = Layout("tiny")
METHOD = "small"
METHODS = {METHOD: {"method": "simplenet", "width": 8, "epochs": 1, "batch_size": 4, "validations": 1}}
MORE = [
    *(f"{stage} {METHOD}" for stage in ("train", "predict", "score", "self-check", "export")),
    *("recommend", "score controls", "collect", "costs"),
]
TRAINED = {"base": {"epochs": 1}, "diffusion": {"images": 32}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with everything that the stages store; only to be read."""
    folder = tmp_path_factory.mktemp("whole")
    experiment(folder, [*STAGES, *MORE], methods=METHODS, **TRAINED)
    return folder


@pytest.fixture
def here(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the working directory."""
    shutil.copytree(whole / "results", tmp_path / "results", ignore=shutil.ignore_patterns("dataset"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _parts(name: str) -> Callable[[], object]:
    return lambda: read_parts(TINY, 0, name, read_manifest(TINY.manifest))


def _array(path: Path, stage: str) -> Callable[[], object]:
    return lambda: load_array(path, len(read_manifest(TINY.manifest)), stage)


def _table(path: Path) -> tuple[Path, Callable[[], object]]:
    return path, lambda: read_table(path)


#: Every kind of file that a later stage reads, and how it reads it.
STORED: dict[str, tuple[Path, Callable[[], object]]] = {
    "manifest": (TINY.manifest, lambda: read_manifest(TINY.manifest)),
    "images": (TINY.images(32), _array(TINY.images(32), "images 32")),
    "masks": (TINY.masks, _array(TINY.masks, "prepare")),
    "features": (TINY.features, _array(TINY.features, "features")),
    "groups": (TINY.groups, lambda: read_groups(TINY, read_manifest(TINY.manifest))),
    "base": (TINY.model(0, "base"), lambda: load_weights(TINY.model(0, "base"), "base")),
    "diffusion": (TINY.model(0, "diffusion"), lambda: load_weights(TINY.model(0, "diffusion"), "diffusion")),
    "method": (TINY.model(0, METHOD), lambda: read_fitted(TINY, 0, METHOD)),
    "predictions": (TINY.predictions(0, "full", "wood"), _parts("full")),
    "lean predictions": (TINY.predictions(0, "steps=1", "all"), _parts("steps=1")),
    "heatmaps": (TINY.predictions(0, METHOD, "all"), _parts(METHOD)),
    "model": (TINY.detector(), lambda: load_model_file(TINY.detector())),
    "model of a method": (TINY.detector(METHOD), lambda: load_model_file(TINY.detector(METHOD))),
    "recommended model": (TINY.recommended, lambda: load_model_file(TINY.recommended)),
    "seed scores": _table(TINY.scored(0, "full")),
    "variant scores": _table(TINY.scored(0, "steps=1")),
    "method scores": _table(TINY.scored(0, METHOD)),
    "image scores": _table(TINY.scored(0, "full", "image_scores")),
    "curves": _table(TINY.scored(0, "full", "curves")),
    "defects": _table(TINY.scored(0, "full", "defects")),
    "map scales": _table(TINY.scored(0, "full", "map_scales")),
    "self-check": _table(TINY.self_check()),
    "losses": _table(TINY.losses(0, "base")),
    "method losses": _table(TINY.losses(0, METHOD)),
    "costs": _table(TINY.costs),
    "problems": _table(TINY.problems),
    "regions": _table(TINY.regions),
    "scores": _table(TINY.collected("scores")),
}


def refusal(name: str) -> str:
    """The one sentence with which a stored file is refused."""
    path, read = STORED[name]
    with pytest.raises(UserError) as caught:
        read()
    sentence = str(caught.value)
    assert sentence.startswith((str(path), str(sidecar(path)))), sentence
    assert "\n" not in sentence
    assert re.search("again|writes one", sentence), "what to do"
    return sentence


def flipped(content: bytes, place: float, bit: int) -> bytes:
    """One bit changed at a part of the way through."""
    changed = bytearray(content)
    changed[int(place * len(content))] ^= 1 << bit
    return bytes(changed)


def test_every_stored_file_of_an_experiment_is_tried_here(whole: Path) -> None:
    stored = {whole / path for path, _ in STORED.values()}
    unread = {"image_scores.csv", "curves.csv", "defects.csv", "map_scales.csv"}  # of all seeds, for the user
    kept = (
        path for path in (whole / "results").rglob("*") if path.suffix in (".npy", ".csv", ".safetensors")
    )
    kinds = {path for path in kept if path.parent != whole / TINY.root or path.name not in unread}
    twins = {whole / TINY.predictions(0, "full", "capsule"), whole / TINY.losses(0, "diffusion")}
    twins |= {whole / TINY.images(64), whole / TINY.scored(0, "controls"), whole / TINY.self_check(METHOD)}
    of_others = [
        (run, kind) for run in ("steps=1", METHOD, "controls") for kind in SCORED if kind != "scores"
    ]
    twins |= {whole / TINY.scored(0, run, kind) for run, kind in of_others}
    assert kinds == stored | twins


@pytest.mark.parametrize("name", STORED)
def test_one_flipped_bit_is_refused(here: Path, name: str) -> None:
    path, read = STORED[name]
    read()
    content = path.read_bytes()

    @settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
    def refused(place: float, bit: int) -> None:
        path.write_bytes(flipped(content, place, bit))
        refusal(name)

    refused()
    path.write_bytes(content)
    read()


@pytest.mark.parametrize("name", STORED)
def test_a_cut_or_lengthened_file_is_refused(here: Path, name: str) -> None:
    path, _ = STORED[name]
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    for changed in (content[:-1], content[:-33], content + b"\n", content[:10], b"", b"".join(lines[:-1])):
        path.write_bytes(changed)
        refusal(name)


@pytest.mark.parametrize(
    "name", [name for name, (path, _) in STORED.items() if path.suffix != ".safetensors"]
)
def test_the_digest_beside_a_file_is_part_of_it(here: Path, name: str) -> None:
    """Damaged, of another file, or missing, as for files that an older drdc wrote."""
    path, read = STORED[name]
    content = sidecar(path).read_bytes()
    beside_models = content.find(b"\n#") + 1 or len(content)  # a model may be missing, so its name may be any
    for place in range(0, beside_models, 7):
        sidecar(path).write_bytes(flipped(content, place / len(content), place % 8))
        refusal(name)
    sidecar(path).unlink()
    assert "an older drdc wrote the file" in refusal(name)
    sidecar(path).write_bytes(content)
    read()


def test_predictions_in_the_place_of_others_are_refused(here: Path) -> None:
    """With their digests and without them."""
    for source, target, name in (
        (TINY.predictions(0, "full", "capsule"), TINY.predictions(0, "full", "wood"), "predictions"),
        (TINY.predictions(0, "full", "wood"), TINY.predictions(0, METHOD, "all"), "heatmaps"),
        (TINY.images(32), TINY.masks, "masks"),
    ):
        shutil.copy(source, target)
        assert "is damaged or was changed by hand" in refusal(name)
        shutil.copy(sidecar(source), sidecar(target))
        assert "for something else" in refusal(name)
        own = re.sub(r"  .*", f"  {target.relative_to(TINY.root)}", sidecar(source).read_text(), count=1)
        sidecar(target).write_text(own)
        if name != "masks":
            assert "has the predictions of other images" in refusal(name)


def test_what_belongs_to_another_manifest_is_refused(here: Path) -> None:
    """Prepared anew, with as many images, and nothing after it."""
    TINY.manifest.write_text(TINY.manifest.read_text().replace(".png", ".bmp", 1))
    stamped(TINY.manifest)
    read_manifest(TINY.manifest)
    for name in ("images", "masks", "features", "groups", "heatmaps", "seed scores", "curves", "self-check"):
        assert "belongs to another manifest" in refusal(name)
    with pytest.raises(UserError, match=r"predictions/full/.* belongs to another manifest; remove it"):
        STORED["predictions"][1]()


@pytest.mark.parametrize("model", ["base", "diffusion"])
def test_what_was_made_with_another_model_is_refused(here: Path, model: str) -> None:
    """Trained anew, and nothing after it: neither predictions nor scores are those of this model."""
    tensors, about = load_weights(TINY.model(0, model), model)
    save_weights(TINY.model(0, model), tensors, about | {"trained": "anew"})
    with pytest.raises(
        UserError, match=rf"belongs to another model than seed0/{model}\.safetensors; remove it"
    ):
        STORED["predictions"][1]()
    assert not is_current(TINY.scored(0, "full"))
    assert is_current(TINY.scored(0, CONTROLS)), "they have no model"
    TINY.model(0, model).unlink()
    STORED["predictions"][1]()
    assert is_current(TINY.scored(0, "full")), "removed to save space"


def test_the_files_stay_plain(here: Path) -> None:
    """Whoever reads them without this project sees nothing of the digests; sha256sum can check them."""
    records = np.load(TINY.predictions(0, "full", "wood"))
    assert len(records) == sum(read_manifest(TINY.manifest).query("split != 'train'").category == "wood")
    for path, _ in STORED.values():
        if path.suffix != ".safetensors":
            folder = TINY.root if len(sidecar(path).read_text().splitlines()) > 1 else path.parent
            with chdir(folder):
                beside = sidecar(here / path)
                subprocess.run(["sha256sum", "--check", "--strict", beside], check=True, capture_output=True)
