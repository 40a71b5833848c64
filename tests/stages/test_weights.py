"""Pre-trained networks are fetched by one command; all others find them in the cache and ask no network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import yaml
from handing import handed_over
from hub import hub
from PIL import Image
from safetensors.torch import save_file

from drdc import cli
from drdc.config.backbone import Backbone
from drdc.config.dataset import Dataset
from drdc.methods.registry import Configured, pretrained_networks
from drdc.models.backbone import FeatureExtractor, pretrained
from drdc.results.layout import Layout
from drdc.runtime.digests import sha256_of, verify
from drdc.runtime.errors import UserError
from drdc.stages.features import features
from drdc.stages.images import images
from drdc.stages.prepare import prepare
from drdc.stages.weights import weights

#: The smallest networks of timm that it has on the hub.
NAME, OTHER = "test_efficientnet.r160_in1k", "test_resnet.r160_in1k"
BACKBONE = Backbone(name=NAME, input_size=64, stages=[0, 1])
LITE = Backbone(name="tf_efficientnet_lite0", weights="package")
OWN = Layout("own")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def published(folder: Path, name: str) -> Path:
    """A file of weights where the hub has that of a network of timm."""
    torch.manual_seed(0)
    path = folder / timm.get_pretrained_cfg(name).hf_hub_id / "model.safetensors"
    path.parent.mkdir(parents=True)
    save_file(timm.create_model(name, pretrained=False).state_dict(), path)
    return path


@pytest.fixture
def prepared(here: Path) -> Path:
    """A dataset with images at the size of `BACKBONE`."""
    for number in range(4):
        path = Path(f"data/nut/train/good/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
    dataset = Dataset.model_validate({"root": "data", "categories": ["nut"], "image_size": 32})
    prepare(OWN, dataset=dataset)
    images(OWN, BACKBONE.input_size, dataset=dataset)
    return here


def test_what_was_fetched_once_is_found_without_asking_again(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = published(prepared / "hub", NAME)
    published(prepared / "hub", OTHER)
    fcdd = configured("fcdd", backbone={"name": OTHER, "stages": [1]})
    with hub(prepared / "hub") as server:
        server.stands_in(monkeypatch, prepared / "cache")
        weights(OWN, backbone=BACKBONE)
        weights(OWN, method=fcdd)
        weights(OWN, method=configured("cutpaste"))
        assert any(one.startswith(f"GET /timm/{NAME}/") for one in server.asked)
        server.asked.clear()
        server.stands_in(monkeypatch, prepared / "cache", offline=True)
        features(OWN, backbone=BACKBONE)
        assert not server.asked
    verify(OWN.weights("backbone"), "weights")
    (own,), (other,) = noted("backbone"), noted("fcdd")
    assert (own["name"], own["source"]) == (NAME, "hub")
    assert (other["name"], other["source"]) == (OTHER, "hub")
    assert len({bytes.fromhex(one["sha256"]) for one in (own, other)}) == 2
    assert noted("cutpaste") == [], "its weights are random"
    pixels = torch.from_numpy(np.load(OWN.images(64))).permute(0, 3, 1, 2)
    local = FeatureExtractor(BACKBONE.model_copy(update={"weights": str(file)}))
    with torch.inference_mode():
        assert np.array_equal(np.load(OWN.features), local(pixels).half().numpy())


def test_what_is_not_in_the_cache_is_told_without_asking(prepared: Path) -> None:
    """As a user runs it: the command itself turns the network off."""
    published(prepared / "hub", NAME)
    settings = handed_over(Path(), "own", "features", backbone=BACKBONE.model_dump())
    command = [sys.executable, "-m", "drdc", "features", "--config", settings]
    with hub(prepared / "hub") as server:
        own = server.environment(prepared / "cache")
        done = subprocess.run(command, env=own, capture_output=True, text=True)
        assert not server.asked
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        f"drdc: backbone '{NAME}' cannot be loaded: not in the hub's cache; run `drdc weights` with the same "
        f"configuration on a machine that has a network and sees the cache, {prepared}/cache/hub, or set "
        "backbone.weights to a local file"
    )


def test_a_hub_that_lacks_the_network_is_one_sentence(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "hub").mkdir()
    with hub(here / "hub") as server:
        server.stands_in(monkeypatch, here / "cache")
        with pytest.raises(
            UserError, match=f"{NAME}' cannot be loaded .*; check the name and the connection"
        ):
            weights(OWN, backbone=BACKBONE)
    assert not OWN.weights("backbone").exists()


def test_a_package_and_a_file_need_no_network(here: Path) -> None:
    path = here / "own.pth"
    torch.save(timm.create_model(NAME, pretrained=False).state_dict(), path)
    weights(OWN, backbone=LITE)
    weights(OWN, method=configured("mkd", backbone={"name": NAME, "weights": str(path), "input_size": 64}))
    assert [(one["name"], one["source"]) for one in noted("backbone")] == [(LITE.name, "package")]
    assert noted("mkd") == [{"name": NAME, "source": "file", "sha256": sha256_of(path)}]
    before = OWN.weights("backbone").read_bytes()
    weights(OWN, backbone=LITE)
    assert OWN.weights("backbone").read_bytes() == before


def test_a_missing_file_is_told_before_anything_is_trained(here: Path) -> None:
    named = {"name": NAME, "weights": "none.pth", "input_size": 64}
    with pytest.raises(UserError, match=r"none\.pth is missing"):
        weights(OWN, method=configured("mkd", backbone=named))
    assert not OWN.weights("mkd").exists()


def test_the_command_fetches_all_that_the_experiment_loads_or_one_of_it(here: Path) -> None:
    backbone = {"name": LITE.name, "weights": "package"}
    methods = {"simplenet": {}, "own": {"method": "mkd", "backbone": backbone | {"stages": [1, 2, 3, 4]}}}
    Path("own.yaml").write_text(
        yaml.safe_dump(
            {"experiment": "own", "backbone": backbone, "dataset": {"root": "data"}, "methods": methods}
        )
    )
    assert cli.main(["weights", "own", "--config", "own.yaml"]) == 0
    assert [path.name for path in OWN.weights("own").parent.glob("*.json")] == ["own.json"]
    assert cli.main(["weights", "--config", "own.yaml"]) == 0
    assert noted("simplenet") == []
    assert noted("own") == noted("backbone")
    assert cli.main(["weights", "gone", "--config", "own.yaml"]) == 2


def test_the_digest_does_not_depend_on_the_stages_that_are_used() -> None:
    again = LITE.model_copy(update={"stages": [3], "input_size": 64})
    assert [one.digest() for one in pretrained(LITE)] == [one.digest() for one in pretrained(again)]


@pytest.mark.parametrize(
    ("method", "settings", "names"),
    [
        ("simplenet", {}, []),
        ("uniad", {"size": 28}, ["tf_efficientnet_b4.aa_in1k"]),
        ("st", {}, ["resnet18.tv_in1k"]),
        ("cutpaste", {}, []),
        ("cutpaste", {"initial": "pretrained"}, ["resnet18.tv_in1k"]),
        ("diad", {"pretrained": "scratch"}, ["resnet50.a1_in1k"]),
    ],
)
def test_a_method_names_the_networks_that_it_loads(
    method: str, settings: dict[str, Any], names: list[str]
) -> None:
    found = pretrained_networks(configured(method, **settings))
    assert [network.name for network in found] == names
    assert all(network.source == "hub" for network in found)


def configured(method: str, **settings: Any) -> Configured:
    return Configured(name=method, method=method, settings=settings)


def noted(name: str) -> list[dict[str, str]]:
    return json.loads(OWN.weights(name).read_text())
