"""Model files that somebody else made: refused in one sentence, soon, and without taking memory."""

from __future__ import annotations

import json
import resource
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from drdc import Detector
from drdc.config.backbone import Backbone
from drdc.config.base import Base
from drdc.config.diffusion import Diffusion
from drdc.config.fusion import Fusion
from drdc.config.sampling import Sampling
from drdc.detection.header import check_header
from drdc.detection.model_file import read_calibration, read_groups, save_model_file
from drdc.runtime.errors import UserError

SAMPLING = Sampling(steps=2, grid_sizes=[4]).model_dump()
SCALE = {"base": [1.0, 0.5], "diffusion": [1.0, 0.5]}
ABOUT: dict[str, Any] = {
    "experiment": "tiny",
    "categories": ["nut"],
    "seed": 0,
    "image_size": 64,
    "provenance": {"code_version": "0"},
    "ranges": {"setting": None, "categories": {"nut": 12}},
    "backbone": Backbone(name="tf_efficientnet_lite0", weights="package", feature_size=8).model_dump(),
    "base": Base(hidden=8, heads=2, feedforward=8).model_dump(),
    "diffusion": Diffusion(width=32, multipliers=[1], attention_levels=[], grid_sizes=[4]).model_dump(),
    "fusion": Fusion().model_dump(),
    "modes": {
        "full": {"accuracy": {"image_auroc": 0.9}, "statistics": SCALE, "sampling": SAMPLING},
        "fast": {"accuracy": {}, "statistics": SCALE, "sampling": SAMPLING | {"steps": 1}},
    },
}
METHOD: dict[str, Any] = {
    key: ABOUT[key] for key in ("experiment", "categories", "seed", "image_size", "provenance", "ranges")
}
METHOD |= {
    "method": "simplenet",
    "name": "simplenet",
    "settings": {},
    "shapes": {"image_size": 64, "channels": 192, "feature_size": 8},
    "scale": [0.0, 1.0],
    "backbone": ABOUT["backbone"],
    "modes": {"full": {"accuracy": {}}},
}


def with_value(about: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with the value at a key like `modes.full.sampling.steps`; Ellipsis takes it away."""
    copy: dict[str, Any] = json.loads(json.dumps(about))
    *path, last = key.split(".")
    inner = copy
    for part in path:
        inner = inner[part]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return copy


@pytest.mark.parametrize("about", [ABOUT, METHOD])
def test_what_an_export_writes_is_taken(about: dict[str, Any]) -> None:
    check_header(Path("model"), about)
    check_header(Path("model"), about | {"bits": 12})


HOSTILE = [
    *(("image_size", value) for value in (10**9, 0, -64, 63, None, "64x", [64], 2**70)),
    *(("seed", value) for value in (2**64, -1, None, "x")),
    *(("experiment", value) for value in ("../up", "", None, "a\x1b[31m", "a" * 1000)),
    *(("categories", value) for value in ([], None, "nut", ["a\nb"], ["a", "a"], [3])),
    *(("provenance", value) for value in (None, [], {"device": {}})),
    *(("modes", value) for value in (None, {}, [], {"fast": {"accuracy": {}}}, {"full": None})),
    *(("backbone.input_size", value) for value in (10**9, 1)),
    *(("backbone.feature_size", value) for value in (10**6, 1)),
    *(("backbone.stages", value) for value in ([10**9], [0] * 10**4, [-1])),
]
OF_DRDC = [
    *(("modes.full.sampling.steps", value) for value in (10**9, 0, 1e30, float("nan"))),
    *(("modes.full.sampling.grid_sizes", value) for value in ([0], [3], [4] * 1000, [])),
    *(("modes.full.sampling.disjoint_sets", value) for value in (10**9, 1)),
    *(("modes.full.sampling.batch_size", value) for value in (10**12, 0)),
    *(("modes.full.sampling", value) for value in (None, [])),
    *(("modes.full.statistics.base", value) for value in ([1.0], [float("nan"), 1.0], [0.0, float("inf")])),
    *(("modes.full.accuracy.image_auroc", value) for value in (float("nan"), 2, "x")),
    *(("base.encoder_layers", value) for value in (10**6, 0)),
    *(("base.hidden", value) for value in (10**9, 7)),
    *(("diffusion.width", value) for value in (10**6, 33)),
    *(("diffusion.multipliers", value) for value in ([10**6], [1] * 30, [])),
    *(("diffusion.timesteps", value) for value in (10**12, 1)),
    *(("diffusion.beta_end", value) for value in (float("inf"), 2)),
    *(("fusion.filter_size", value) for value in (10**9 + 1, 4)),
    *(("base", value) for value in (None, ..., [])),
]
OF_A_SYSTEM = [
    *(("shapes.image_size", value) for value in (10**9, None)),
    *(("shapes.channels", value) for value in (10**9, -1)),
    *(("shapes.feature_size", value) for value in (10**9, 0)),
    *(("scale", value) for value in ([0.0], [0.0, float("nan")], "xx")),
    *(("name", value) for value in ("a\nb", "../x")),
]


@pytest.mark.parametrize(
    ("about", "key", "value"),
    [(ABOUT, *one) for one in HOSTILE + OF_DRDC] + [(METHOD, *one) for one in HOSTILE + OF_A_SYSTEM],
)
def test_a_header_is_held_to_the_rules_of_a_configuration(
    about: dict[str, Any], key: str, value: Any
) -> None:
    with pytest.raises(UserError, match=r"^evil\.safetensors: is not a drdc model file") as caught:
        check_header(Path("evil.safetensors"), with_value(about, key, value))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def refused(path: Path, text: str | None = None) -> None:
    """Refused in one sentence, within seconds, with less than 300 MB of memory."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(UserError, match=text) as caught:
        Detector.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def raw(path: Path, header: bytes, body: bytes = b"", length: int | None = None) -> Path:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + body)
    return path


def text_of(about: Any, **tensors: Any) -> bytes:
    return json.dumps({"__metadata__": {"drdc": about}} | tensors).encode()


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"3",
        b"null",
        b'{"__metadata__": 3}',
        b'{"__metadata__": {"drdc": 3}}',
        b"{" * 10_000,
        b"\xff" * 100,
        text_of("[" * 100_000),
        text_of("{"),
        text_of("[]"),
        text_of('"detector"'),
        text_of("9" * 10_000),
        text_of('{"detector": NaN}'),
        text_of(json.dumps({"detector": 1})),
        text_of(json.dumps({"detector": "\x1b" * 10**6})),
        text_of("{}", a={"dtype": "F32", "shape": [10**18], "data_offsets": [0, 4]}),
        text_of("{}", a={"dtype": "F32", "shape": [1], "data_offsets": [10**18, 10**18 + 4]}),
        text_of("{}", a={"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}),
        text_of("{}", a={"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}),
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
        b'"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',
    ],
    ids=range(20),
)
def test_a_file_with_a_strange_header_is_refused(tmp_path: Path, header: bytes) -> None:
    refused(raw(tmp_path / "evil.safetensors", header, bytes(4)))


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**31, 2**62, 2**64 - 1])
def test_a_header_of_a_false_length_is_refused(tmp_path: Path, length: int) -> None:
    refused(raw(tmp_path / "evil.safetensors", b"{}", bytes(100), length), "not a drdc model file")


def test_a_header_of_a_hundred_megabytes_is_not_read(tmp_path: Path) -> None:
    path = raw(tmp_path / "evil.safetensors", b"", length=90_000_000)
    with path.open("r+b") as file:
        file.truncate(10**8)
    refused(path, "not a drdc model file")


def test_a_file_larger_than_the_memory_is_not_read(tmp_path: Path) -> None:
    size = 2**42
    tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
    path = raw(tmp_path / "evil.safetensors", text_of(json.dumps(ABOUT | {"detector": 1}), a=tensor))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)
    refused(path, "this computer's memory")


@pytest.mark.parametrize(
    ("about", "tensors"),
    [
        (ABOUT, {}),
        (ABOUT, {"backbone.x": torch.zeros(2)}),
        (ABOUT, {"base.x": torch.zeros(2, dtype=torch.bfloat16)}),
        (ABOUT, {"base.x": torch.zeros(0, 2**40)}),
        (with_value(ABOUT, "base.hidden", 8192), {}),
        (with_value(ABOUT, "backbone.name", "vit_giant_patch14_224"), {}),
        (METHOD, {}),
        (with_value(METHOD, "settings", {"width": 10**9}), {}),
        (with_value(METHOD, "settings", {"width": 16_384}), {}),
        (with_value(METHOD, "settings", [[[[3]]]]), {}),
        (with_value(METHOD, "method", "no_such"), {}),
        (with_value(METHOD, "method", "../../evil"), {}),
    ],
)
def test_networks_that_are_not_in_the_file_take_no_memory(
    tmp_path: Path, about: dict[str, Any], tensors: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "evil.safetensors"
    try:
        save_model_file(path, tensors, about)
    except (TypeError, ValueError, UserError):
        pytest.skip("this project cannot write such a file")
    refused(path)


CALIBRATION = {
    "calibration.full.scores": torch.ones(3, dtype=torch.float64),
    "calibration.full.peaks": torch.ones(3, dtype=torch.float64),
    "calibration.category": torch.tensor([0, 1, 0]),
    "calibration.group": torch.tensor([0, 1, 1]),
}


def test_a_calibration_is_read() -> None:
    found = read_calibration(CALIBRATION, "full", ["cap", "nut"])
    assert found.categories.tolist() == ["cap", "nut", "cap"]
    assert found.groups.tolist() == ["cap", "nut", "nut"]


@pytest.mark.parametrize(
    "changes",
    [
        {"calibration.category": torch.tensor([0, 1, 2])},
        {"calibration.category": torch.tensor([0, -1, 0])},
        {"calibration.category": torch.tensor([0, 1])},
        {"calibration.category": torch.tensor([0.0, 1.0, 0.0])},
        {"calibration.category": torch.tensor(0)},
        {"calibration.group": torch.tensor([0, 1])},
        {"calibration.group": torch.tensor([0, 1, 5])},
        {"calibration.full.scores": torch.ones(2, dtype=torch.float64)},
        {"calibration.full.peaks": torch.ones(3, 1, dtype=torch.float64)},
        {"calibration.full.peaks": torch.ones(3, dtype=torch.complex64)},
        {"calibration.full.more": torch.ones(3)},
        {key: value[:0] for key, value in CALIBRATION.items()},
    ],
)
def test_a_calibration_of_another_kind_is_refused(changes: dict[str, torch.Tensor]) -> None:
    with pytest.raises(UserError, match=r"^calibration: "):
        read_calibration(CALIBRATION | changes, "full", ["cap", "nut"])


GROUPS = {
    "groups.embeddings": torch.tensor([[0.0, 1.0], [5.0, 5.0], [0.5, 1.0]]),
    "groups.scale": torch.ones(2),
    "groups.category": torch.tensor([0, 1, 0]),
    "groups.distances": torch.tensor([0.1, 0.2], dtype=torch.float64),
}
HELD_OUT = np.array(["cap", "nut"])


def test_groups_are_read_where_there_are_some() -> None:
    assert read_groups({}, HELD_OUT, ["cap", "nut"]) is None
    found = read_groups(GROUPS, HELD_OUT, ["cap", "nut"])
    assert found
    known, familiar = found
    assert known.nearest(np.array([[0.2, 1.0], [4.0, 4.0]]))[0].tolist() == ["cap", "cap"], "two of three"
    assert familiar.usual == {"cap": 0.5, "nut": 0.2}, "of one held-out and two training images, and of one"


@pytest.mark.parametrize(
    "changes",
    [
        {"groups.embeddings": torch.zeros(2, 2)},
        {"groups.embeddings": torch.full((3, 2), float("nan"))},
        {"groups.embeddings": torch.zeros(3, 2, dtype=torch.float64)},
        {"groups.scale": torch.ones(3)},
        {"groups.category": torch.tensor([0, 1, 2])},
        {"groups.distances": torch.tensor([0.1])},
        {"groups.distances": torch.tensor([0.1, float("inf")])},
    ],
)
def test_groups_of_another_kind_are_refused(changes: dict[str, torch.Tensor]) -> None:
    with pytest.raises(UserError, match=r"^groups: "):
        read_groups(GROUPS | changes, HELD_OUT, ["cap", "nut"])
