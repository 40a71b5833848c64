"""The adapter onto anomalib: its models fit, separate and are loaded; bad settings are named."""

from __future__ import annotations

import inspect
import logging
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from drawn import COUNTS, SIZE, assert_finds, at_size, drawn_experiment, rows_of
from hub import hub
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save_file

from drdc.config.backbone import Backbone
from drdc.detection.backends import checked
from drdc.methods.anomalib import draem, memory_bank
from drdc.methods.anomalib.images import made_textures
from drdc.methods.anomalib.method import Anomalib
from drdc.methods.anomalib.models import model_class
from drdc.methods.anomalib.papers import NETWORKS, PAPERS
from drdc.methods.inputs import Inputs
from drdc.methods.interface import Shapes
from drdc.methods.registry import method_class
from drdc.methods.trainer import MethodJob, Trainer
from drdc.models.backbone import pretrained
from drdc.results.layout import Layout
from drdc.runtime import batching
from drdc.runtime.errors import UserError
from drdc.runtime.files import load_weights, save_weights
from drdc.runtime.identity import fingerprint_of

SHAPES = Shapes(image_size=16, channels=4, feature_size=4)
PACKAGE = {"weights": "package"}
LITE = {"backbone": "tf_efficientnet_lite0"}
QUICK = {"input_size": 64, "batch_size": 8, "learning_rate": 3e-3, "validations": 1}
#: Settings with which a model is fitted here in seconds and tells a red square from none.
SEPARATING: dict[str, dict[str, Any]] = {
    "patchcore": {"arguments": {**LITE, "layers": [1, 2]}, "input_size": 32, **PACKAGE},
    "stfpm": {
        **{"arguments": {**LITE, "layers": [1, 2]}, **PACKAGE},
        **{**QUICK, "batch_size": 4, "learning_rate": 1e-2, "epochs": 6},
    },
    "reverse_distillation": {
        **{"arguments": {"backbone": "resnet18"}, "weights": "scratch"},
        **{**QUICK, "batch_size": 2, "learning_rate": 5e-3, "epochs": 1},
    },
    "fastflow": {"arguments": {"flow_steps": 2}, "weights": "scratch", **QUICK, "epochs": 2},
    "draem": {
        **{"arguments": {"base_width": 8}, **QUICK, "batch_size": 2, "input_size": 32, "epochs": 30},
        **{"learning_rate": 2e-3, "schedule": "cosine", "pool_size": 4},
    },
    "dfm": {
        **{"arguments": {**LITE, "layer": "blocks.1", "pooling_kernel_size": 1}, **PACKAGE, "input_size": 32},
    },
    "patchflow": {
        **{"arguments": {**LITE, "flow_feature_dim": 16, "flow_hidden_dim": 16, "num_scales": 1}, **PACKAGE},
        **{**QUICK, "epochs": 6},
    },
    "rad": {
        **{"arguments": {"backbone": "vit_tiny_patch16_224", "layers": [2, 5]}, "weights": "scratch"},
        "input_size": 64,
    },
    "anomaly_dino": {"weights": "scratch", "input_size": 56},
}
SMALL_VIT = {"encoder_name": "vit_small_patch14_reg4_dinov2"}
#: Transformers that separate nothing without DINOv2's weights, and which of their parts are trained.
TRANSFORMERS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "dinomaly": (SMALL_VIT | {"decoder_depth": 8}, {"bottleneck", "decoder"}),
    "inp_former": (SMALL_VIT, {"bottleneck", "decoder"}),
    "foundad": ({"encoder_name": "dinov2_vit_small_14", "pred_depth": 1}, {"projector"}),
    "general_ad": (
        {"backbone": "vit_small_patch14_dinov2", "layers": [2], "hidden_dim": 16},
        {"discriminator"},
    ),
    "l2bt": ({"layers": [0, 1]}, {"forward_net", "backward_net"}),
}


@pytest.fixture(autouse=True)
def _few_textures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing 100 textures takes longer than these trainings."""
    monkeypatch.setattr(draem, "made_textures", partial(made_textures, count=5))


def inputs_of(layout: Layout, size: int) -> Inputs:
    at_size(layout, size)
    return Inputs.read(layout, size, False)


def untrained(settings: dict[str, Any]) -> Anomalib:
    complete = Anomalib.Settings(**settings)
    torch.manual_seed(0)
    return Anomalib(complete, Shapes(complete.input_size, 0, 1)).eval()


def fitted(layout: Layout, settings: dict[str, Any], method: Anomalib | None = None) -> Anomalib:
    """A model, a new one or that `method`, fitted with seed 0 and never saved."""
    method = method or untrained(settings)
    job = MethodJob(layout, 0, "anomalib", method.settings, fingerprint_of(settings))
    method.fit(Trainer(job, inputs_of(layout, method.shapes.image_size)))
    return method.eval()


def loaded(method: Anomalib, folder: Path) -> Anomalib:
    """The same model from a file."""
    path = folder / "one.safetensors"
    save_weights(path, method.state_dict(), {"one": {}})
    weights, _ = load_weights(path, "one")
    again = Anomalib(method.settings, method.shapes, weights)
    again.restore(weights)
    return again.eval()


def maps_and_scores(method: Anomalib, layout: Layout, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode():
        batch = inputs_of(layout, method.shapes.image_size).batch(rows)
        return method.heatmaps_and_scores(batch.images, batch.features)


@pytest.mark.parametrize("model", SEPARATING)
def test_a_detector_is_built_first_without_memory_or_where_that_is_impossible_at_once(model: str) -> None:
    """A model that reads its own numbers while it is built says so in words of its own."""
    method = untrained({"model": model, **SEPARATING[model]})
    weights = method.state_dict()

    def again() -> Anomalib:
        built = Anomalib(method.settings, method.shapes, weights)
        built.restore(weights)
        return built

    found = checked(again).state_dict()
    assert all(found[name].equal(value) for name, value in weights.items())


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[pytest.mark.long] * (name == "draem")) for name in SEPARATING]
)
def test_a_model_separates_a_plain_defect_also_when_loaded(drawn: Layout, model: str, tmp_path: Path) -> None:
    method = fitted(drawn, {"model": model, **SEPARATING[model]})
    _, normal = maps_and_scores(method, drawn, rows_of("good"))
    maps, anomalous = maps_and_scores(method, drawn, rows_of("defect"))
    reduced = F.interpolate(maps[:, None], (SIZE, SIZE), mode="area")[:, 0].numpy()
    masks = np.load(drawn.masks)[rows_of("defect")]
    if model == "stfpm":  # whether its heatmaps are right so soon depends on its student's random weights
        assert (anomalous[:, None] > normal).float().mean() > 0.85
    else:
        assert_finds(reduced, anomalous.numpy(), normal.numpy(), masks)
    again = maps_and_scores(loaded(method, tmp_path), drawn, rows_of("defect"))
    assert all(map(torch.equal, (maps, anomalous), again))


def test_the_selection_of_patches_tells_its_progress(
    drawn: Layout, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It may take hours, and anomalib's own bar is on no log."""
    monkeypatch.setattr(batching, "TOLD_AFTER", 0.0)
    monkeypatch.setattr(batching, "TOLD_AGAIN", 0.0)
    with caplog.at_level(logging.INFO):
        fitted(drawn, {"model": "patchcore", **SEPARATING["patchcore"]})
    told = [message for message in caplog.messages if "patches" in message]
    assert re.fullmatch(r"progress: 1 of \d+ patches, \d+ s left", told[0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("model", "arguments"),
    [
        ("padim", {"layers": ["layer1", "layer2"], "n_features": 30}),
        (
            "patchcore",
            {"backbone": "resnet18", "layers": ["layer2", "layer3"], "coreset_sampling_ratio": 1.0},
        ),
    ],
)
def test_scores_and_heatmaps_are_those_of_anomalibs_own_engine(
    layout: Layout, model: str, arguments: dict[str, Any]
) -> None:
    """Same network, same images, anomalib's own transform, reader, training and prediction on its side."""
    side = 64
    theirs = model_class(model)(
        **{**arguments, "layers": tuple(arguments["layers"]), "pre_trained": False, "post_processor": False},
        **{"evaluator": False, "visualizer": False},
        pre_processor=model_class(model).configure_pre_processor((side, side)),
    )
    settings = {"model": model, "arguments": arguments, "weights": "scratch", "input_size": side}
    ours = untrained(settings)
    ours.model.load_state_dict(theirs.model.state_dict())
    fitted(layout, settings, ours)
    expected = _scored_by_engine(theirs, layout, side)
    for kind, (scores, maps) in expected.items():
        found_maps, found = maps_and_scores(ours, layout, rows_of(kind))
        torch.testing.assert_close(found.cpu(), scores, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found_maps.cpu(), maps[:, 0], rtol=1e-4, atol=1e-6)


def _scored_by_engine(model: Any, layout: Layout, side: int) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Image scores (B,) and maps (B, 1, side, side) of the test images, by kind: all done by anomalib."""
    from anomalib.data import Folder, PredictDataset
    from anomalib.engine import Engine

    pixels = np.load(layout.images(side))
    for kind in ("train", "good", "defect"):
        Path("png", kind).mkdir(parents=True)
        for row in rows_of(kind):
            Image.fromarray(pixels[row]).save(f"png/{kind}/{row:03}.png")
    engine = Engine(default_root_dir="engine", accelerator="cpu", logger=False, enable_progress_bar=False)
    data = {"normal_dir": "train", "normal_test_dir": "good", "abnormal_dir": "defect"}
    folder = Folder("drawn", root="png", **data, num_workers=0, val_split_mode="same_as_test")
    engine.fit(model, datamodule=folder)
    found = {}
    for kind in ("good", "defect"):
        batches = engine.predict(model, dataset=PredictDataset(f"png/{kind}"), return_predictions=True)
        scores = torch.cat([batch.pred_score.reshape(-1) for batch in batches])
        maps = torch.cat(
            [batch.anomaly_map.reshape(-1, 1, *batch.anomaly_map.shape[-2:]) for batch in batches]
        )
        found[kind] = scores, maps
    return found


@pytest.mark.parametrize(
    ("settings", "mean"),
    [
        ({"model": "stfpm", "weights": "scratch"}, [0.485, 0.456, 0.406]),
        (
            {"model": "padim", "arguments": {**LITE, "layers": [1], "n_features": 9}, **PACKAGE},
            [0.5, 0.5, 0.5],
        ),
        (
            {
                **{"model": "dinomaly", "weights": "scratch", "arguments": SMALL_VIT},
            },
            [0.485, 0.456, 0.406],
        ),
        ({"model": "draem"}, None),
    ],
)
def test_images_are_normalised_as_the_backbone_wants_them(
    settings: dict[str, Any], mean: list[float] | None
) -> None:
    from torchvision.transforms.v2 import Normalize

    transform = Anomalib(Anomalib.Settings(**settings), SHAPES)._adapter.lightning.pre_processor.transform
    means = [list(part.mean) for part in transform.transforms if isinstance(part, Normalize)]
    assert means == ([] if mean is None else [mean])


@pytest.mark.parametrize("model", TRANSFORMERS)
def test_a_transformer_without_weights_is_trained_and_loaded(
    drawn: Layout, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder stays as it was, what is trained does not."""
    arguments, trained = TRANSFORMERS[model]
    if model == "l2bt":  # its encoder is fixed, and large
        monkeypatch.setattr(timm, "create_model", partial(timm.create_model, depth=2))
    settings = {
        **{"model": model, "arguments": arguments, "weights": "scratch", "input_size": 56},
        **{"epochs": 2 * 2 / COUNTS["train"], "batch_size": 2, "validations": 1},
    }
    method = untrained(settings)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method = loaded(fitted(drawn, settings, method), tmp_path)
    after = method.state_dict()
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert trained <= changed
    assert not {"encoder", "feature_extractor", "teacher"} & changed
    if model == "dinomaly":
        assert int(after["model.steps"]) == 2
    maps, scores = maps_and_scores(method, drawn, rows_of("good")[:2])
    assert maps.shape == (2, 56, 56)
    assert scores.shape == (2,)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_parts_of_a_batch_are_one_step_of_a_loss_that_counts_them(
    drawn: Layout, accumulation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, _ = TRANSFORMERS["dinomaly"]
    settings = {
        **{"model": "dinomaly", "arguments": arguments, "weights": "scratch", "input_size": 56},
        **{"epochs": 3 * 2 / COUNTS["train"], "batch_size": 2, "validations": 1},
    }
    method = untrained(settings | {"accumulation": accumulation})
    network, steps = method._adapter.lightning.model, []
    told = network.forward

    def forward(images: Any, global_step: int | None = None) -> Any:
        steps.append(global_step)
        return told(images, global_step=global_step)

    monkeypatch.setattr(network, "forward", forward)
    fitted(drawn, settings | {"accumulation": accumulation}, method)
    counted = [step for step in steps if step is not None]
    assert counted[: 3 * accumulation] == [step for step in range(3) for _ in range(accumulation)]


def test_one_bank_has_the_training_images_of_all_categories_and_is_refused_where_it_does_not_fit(
    drawn: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts and the bank that is joined from them are in memory together."""
    settings = {"model": "rad", **SEPARATING["rad"]}
    model = fitted(drawn, settings).model
    assert model.patch_banks.shape[2] == model.cls_banks.shape[1] == COUNTS["train"]
    both = 2 * (model.patch_banks.nbytes + model.cls_banks.nbytes)
    monkeypatch.setattr(memory_bank, "available", lambda _: both)
    fitted(drawn, settings)
    monkeypatch.setattr(memory_bank, "available", lambda _: both - 1)
    message = r"rad cannot be fitted here: the features of 24 images need at least .* GB .* lower input_size"
    with pytest.raises(UserError, match=message):
        fitted(drawn, settings)


def test_what_foundad_draws_follows_the_seed() -> None:
    arguments, _ = TRANSFORMERS["foundad"]
    settings = {"model": "foundad", "arguments": arguments, "weights": "scratch", "input_size": 56}
    method, images, losses = untrained(settings), torch.rand(2, 3, 56, 56), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(method.loss(images, torch.zeros(2, 0)).item())
    assert losses[0] == losses[1] != losses[2]


def test_efficient_ad_standardises_its_teacher_and_scales_its_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher that was never trained: this shows the way, not the quality. 256 pixels are its smallest."""
    monkeypatch.chdir(tmp_path)
    layout = drawn_experiment(counts={"train": 2, "val": 1, "defect": 1})
    Path("natural").mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save("natural/one.jpg")
    settings = {
        **{"model": "efficient_ad", "arguments": {"imagenet_dir": "natural", "teacher_out_channels": 8}},
        **{"weights": "scratch", "epochs": 1 / 2, "validations": 1},
    }
    method = loaded(fitted(layout, settings), Path())
    assert (method.model.mean_std["std"] > 0).all()
    quantiles = method.model.quantiles
    assert quantiles["qb_st"] > quantiles["qa_st"]
    assert quantiles["qb_ae"] > quantiles["qa_ae"]
    maps, scores = maps_and_scores(method, layout, np.array([3]))
    assert maps.shape == (1, 256, 256)
    assert scores.isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "padin"}, "no such image model; known: .*padim.*stfpm"),
        (
            {"arguments": {"layer": [1]}},
            "'layer' is not an argument of padim; known: backbone, layers, n_features",
        ),
        ({"arguments": {"backbone": {"name": "resnet18"}}}, "'backbone' is the name of a network alone"),
        ({"arguments": {"pre_trained": False}}, "'pre_trained' is set by `weights`"),
        ({"model": "foundad", "arguments": {"image_size": 56}}, "'image_size' is set by `input_size`"),
    ],
)
def test_a_wrong_setting_is_named_with_what_there_is(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Anomalib.Settings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"weights": "package"},
            "none found for 'resnet18' .* model.safetensors of https://.*/timm/resnet18",
        ),
        ({"weights": "gone.safetensors"}, "there is no file gone.safetensors"),
        ({"model": "dinomaly", "weights": "package"}, "save model.safetensors of .*reg4_dinov2"),
        ({"model": "inp_former", "weights": "gone.pth"}, "save model.safetensors of .*reg4_dinov2"),
        (
            {"model": "csflow"},
            "csflow downloads weights by itself, which this project cannot use; choose another",
        ),
        ({"model": "winclip"}, "winclip is fitted in a way of its own"),
        ({"model": "dfm", "arguments": {"score_type": "nll"}}, "dfm gives heatmaps with fre alone"),
        ({"model": "draem", "arguments": {"base_width": "wide"}}, "'wide' is not a width"),
        (
            {"model": "efficient_ad"},
            "needs pretrained_teacher_small.pth.* unpack https://.*",
        ),
    ],
)
def test_what_a_model_cannot_be_built_with_is_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Anomalib(Anomalib.Settings(**settings), SHAPES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": [1], "n_features": None}, "n_features must be specified"),
        ({"n_features": 9}, "arguments.layers: 'tf_efficientnet_lite0' has no such layers; give .* numbers"),
        ({"layers": ["blocks.1", "layer3"]}, "lacks some of the layers blocks.1, layer3; give .* numbers"),
        ({"layers": [1], "n_features": 9999}, "found 9999.*; change arguments"),
    ],
)
def test_arguments_that_do_not_fit_each_other_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Anomalib(Anomalib.Settings(arguments={**LITE, "n_features": 9, **arguments}, **PACKAGE), SHAPES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": "draem", "arguments": {"dtd_dir": "gone"}},
            "gone: contains no images; unpack https://.*dtd.* or leave that out for synthetic textures",
        ),
        (
            {"model": "efficient_ad", "weights": "scratch"},
            "arguments.imagenet_dir: .* unpack https://.*imagenette2.tgz",
        ),
        (
            {"model": "dinomaly", "arguments": SMALL_VIT, "weights": "scratch", "input_size": 64},
            "cannot be fitted to images of 64 pixels .*divisible by patch size .14.*change input_size",
        ),
    ],
)
def test_what_stands_against_fitting_is_said(drawn: Layout, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        fitted(drawn, settings)


def test_draem_pays_for_normal_pixels_that_it_calls_anomalous() -> None:
    loss = untrained({"model": "draem", "arguments": {"base_width": 2}})._adapter.lightning.loss.focal_loss
    logits, normal = torch.tensor([0.0, 5.0]).view(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long)
    assert loss(logits, normal) > 1 > loss(-logits, normal)
    assert loss(logits, normal) == loss(-logits, normal + 1)


def test_the_published_networks_have_anomalibs_parameters() -> None:
    """PaDiM: ResNet-18 up to its third stage. DRAEM: an autoencoder and a U-Net."""
    from anomalib.models.image.draem.torch_model import DraemModel

    padim = Anomalib(Anomalib.Settings(weights="scratch"), SHAPES)
    draem = Anomalib(Anomalib.Settings(model="draem"), SHAPES)
    assert count(padim) == 2_782_784
    assert padim.model.n_features == 100
    assert count(draem) == count(DraemModel())


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_two_rows_of_the_paper_have_their_names() -> None:
    names = {
        model: Anomalib.name_in_paper(Anomalib.Settings(model=model).model_dump())
        for model in ("padim", "draem", "patchcore")
    }
    assert names == {"padim": "PaDiM", "draem": "DRÆM", "patchcore": ""}


@pytest.mark.parametrize("model", PAPERS)
def test_a_models_source_is_told_with_the_network_that_anomalib_takes_by_itself(model: str) -> None:
    defaults = inspect.signature(model_class(model)).parameters
    own = [str(defaults[name].default) for name in NETWORKS if name in defaults]
    fixed = model == "l2bt"  # has no argument for it
    assert own == ([PAPERS[model].backbone] if PAPERS[model].backbone and not fixed else [])
    plain = Anomalib.cited(Anomalib.Settings(model=model).model_dump(), "any")
    assert plain.startswith(PAPERS[model].citation)
    assert "Akcay et al." in plain
    assert "backbone" not in plain


def test_what_differs_from_a_models_source_is_told() -> None:
    def told(**settings: Any) -> str:
        return Anomalib.cited(Anomalib.Settings(**settings).model_dump(), "any")

    other = told(model="padim", arguments={"backbone": "tf_efficientnet_lite0"}, weights="package")
    assert other.endswith("; backbone differs (tf_efficientnet_lite0 for resnet18)")
    assert "random weights" in told(model="padim", weights="scratch")
    assert "random weights" not in other + told(model="draem", weights="scratch")
    assert "AdamW for SGD" in told(model="stfpm", optimizer="adamw")
    assert " for SGD" not in told(model="stfpm")
    assert "AdamW" not in other
    assert "synthetic textures; 16 channels for 128" in told(model="draem", arguments={"base_width": 16})
    shorter = told(model="draem", epochs=5, schedule="cosine", score="model")
    assert shorter.endswith("with schedule cosine for step, epochs 5 for 700")
    assert "coreset_sampling_ratio 0.01; layers 2+3" in told(
        model="patchcore", arguments={"coreset_sampling_ratio": 0.01, "layers": [2, 3]}
    )
    assert "made" not in told(model="draem", arguments={"dtd_dir": "textures"})
    assert told(model="cfm").startswith("the model cfm; run through anomalib")


def test_a_model_changes_defaults_and_what_is_given_goes_first() -> None:
    assert Anomalib.Settings(model="dinomaly").input_size == 392
    assert Anomalib.Settings(model="dinomaly", input_size=56).input_size == 56
    assert Anomalib.Settings().input_size == 256
    assert Anomalib.Settings(model="reverse_distillation").betas == (0.5, 0.99)
    assert Anomalib.Settings(model="draem").milestones == [0.8, 0.9]
    assert Anomalib.Settings(model="dinomaly").optimizer == "stable_adamw"


def test_made_textures_are_the_same_for_the_same_seed_and_gone_afterwards() -> None:
    found = []
    for seed in (0, 0, 1):
        with made_textures(seed, 3) as paths:
            found.append([path.read_bytes() for path in paths])
        assert not any(path.exists() for path in paths)
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert len(set(found[0])) == 3


def test_checking_a_configuration_does_not_import_anomalibs_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("drdc.methods.anomalib.")]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("anomalib.models", "anomalib.models.image", "lightning"):
        monkeypatch.setitem(sys.modules, module, None)  # importing them would raise
    method_class("anomalib").Settings(model="draem", arguments={"base_width": 16})


def test_without_anomalib_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("drdc.methods.anomalib.method", "drdc.methods.anomalib.models"):
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "anomalib", None)  # as if it were not there
    with pytest.raises(UserError, match=r"needs the package 'anomalib', .*-e '.\[baselines\]'`"):
        method_class("anomalib")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"model": "padim"}, ["resnet18"]),
        ({"model": "patchcore", "arguments": {**LITE, "layers": [1, 2]}, **PACKAGE}, [LITE["backbone"]]),
        ({"model": "padim", "weights": "scratch"}, []),
        ({"model": "draem", "arguments": {"base_width": 16}}, []),
        ({"model": "supersimplenet", "arguments": {"layers": [1]}}, ["supersimplenet"]),
    ],
)
def test_the_networks_that_a_model_loads_are_known_without_building_it(
    settings: dict[str, Any], names: list[str]
) -> None:
    complete = Anomalib.Settings(**settings)
    found = Anomalib.pretrained(complete)
    assert [network.name for network in found] == names
    assert all(network.source == complete.weights for network in found)


def test_they_are_fetched_by_building_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the weights of the hub, from a local server, and later without asking it."""
    name = "test_resnet.r160_in1k"
    torch.manual_seed(0)
    path = tmp_path / "hub" / timm.get_pretrained_cfg(name).hf_hub_id / "model.safetensors"
    path.parent.mkdir(parents=True)
    save_file(timm.create_model(name, pretrained=False).state_dict(), path)
    arguments = {"backbone": name, "layers": ["layer1"], "n_features": 4}
    settings = Anomalib.Settings(model="padim", arguments=arguments, input_size=64)
    (network,) = Anomalib.pretrained(settings)
    with hub(tmp_path / "hub") as server:
        server.stands_in(monkeypatch, tmp_path / "cache")
        assert network.digest() == pretrained(Backbone(name=name))[0].digest()
        server.asked.clear()
        server.stands_in(monkeypatch, tmp_path / "cache", offline=True)
        Anomalib(settings, SHAPES)
        server.stands_in(monkeypatch, tmp_path / "empty", offline=True)
        with pytest.raises(UserError, match=f"{name}' is not in the hub's cache.*run `drdc weights`"):
            Anomalib(settings, SHAPES)
        assert not server.asked


def test_the_teacher_of_efficient_ad_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pth"
    (teacher,) = Anomalib.pretrained(Anomalib.Settings(model="efficient_ad", weights=str(path)))
    with pytest.raises(UserError, match=r"needs pretrained_teacher_small\.pth .* unpack https://"):
        teacher.digest()
