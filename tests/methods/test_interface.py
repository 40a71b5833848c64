"""The interface of compared methods: fitting, interruption, saving, and what it hands to the rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import SMALL, assert_finds, drawn_experiment, fitted, rows_of, unsaved
from torch import Tensor, nn

from drdc.methods.fitted_method import Fitted
from drdc.methods.inputs import Inputs
from drdc.methods.interface import History, Method, MethodSettings, Shapes, TrainedSettings, blurred
from drdc.methods.registry import method_class, own_methods
from drdc.methods.trainer import MethodJob, Trainer
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError
from drdc.runtime.identity import fingerprint_of
from drdc.stages.costs import described

SHAPES = Shapes(image_size=16, channels=4, feature_size=4)


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.chdir(tmp_path)
    return drawn_experiment()


class TwoPhases(Method):
    """A teacher, then a student of it; the second phase breaks off where `broken` is set."""

    class Settings(TrainedSettings):
        """Settings of the test."""

        epochs: float = 2
        validations: int = 2
        batch_size: int = 4

    broken = False

    def __init__(self, settings: Any, shapes: Shapes, weights: Any = None) -> None:
        super().__init__(settings, shapes, weights)
        self.teacher, self.student = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)
        self.calls: list[str] = []

    def fit(self, trainer: Trainer) -> History:
        def teach(teacher: nn.Module, images: Tensor, features: Tensor) -> Tensor:
            self.calls.append("teacher")
            return teacher(images).square().mean()

        def learn(student: nn.Module, images: Tensor, features: Tensor) -> Tensor:
            self.calls.append("student")
            if self.broken and self.calls.count("student") > 2:
                raise KeyboardInterrupt
            return (student(images) - self.teacher(images).detach()).square().mean()

        history = trainer.descend(self.teacher, teach, "teacher")
        return history + trainer.descend(self.student, learn, "student")

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        return (self.teacher(images) - self.student(images)).square().sum(1)


class Bank(Method):
    """Remembers all training features: a buffer whose size only the fitting knows."""

    def __init__(self, settings: Any, shapes: Shapes, weights: Any = None) -> None:
        super().__init__(settings, shapes, weights)
        self.register_buffer("bank", torch.zeros(0, shapes.channels))

    def fit(self, trainer: Trainer) -> History:
        self.bank = torch.cat([features.mean((2, 3)) for _, features in trainer.batches()])
        return []


def trainer(layout: Layout, settings: MethodSettings) -> Trainer:
    job = MethodJob(layout, 0, "methods/test", settings, fingerprint_of({}))
    return Trainer(job, Inputs.read(layout))


def test_a_finished_phase_is_not_run_again_and_the_end_is_that_of_an_uninterrupted_fit(
    layout: Layout,
) -> None:
    settings = TwoPhases.Settings()
    torch.manual_seed(0)
    whole = TwoPhases(settings, SHAPES)
    first = trainer(layout, settings)
    history = whole.fit(first)
    assert len(history) == 4
    first.job.state.clear()
    torch.manual_seed(0)
    cut = TwoPhases(settings, SHAPES)
    cut.broken = True
    with pytest.raises(KeyboardInterrupt):
        cut.fit(trainer(layout, settings))
    torch.manual_seed(0)
    again, second = TwoPhases(settings, SHAPES), trainer(layout, settings)
    assert again.fit(second) == history
    assert "teacher" not in again.calls
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    second.job.state.clear()
    assert not list(layout.root.glob("state/**/*.pt"))


def test_a_buffer_of_any_size_is_restored(layout: Layout) -> None:
    bank = Bank(MethodSettings(), SHAPES)
    fitting = trainer(layout, MethodSettings())
    bank.fit(fitting)
    assert bank.bank.shape == (len(fitting.inputs.images.train), 4)
    other = Bank(MethodSettings(), SHAPES)
    other.restore(bank.state_dict())
    assert torch.equal(other.bank, bank.bank)


def test_inputs_are_pixels_in_unit_range_and_features_of_the_same_rows(layout: Layout) -> None:
    inputs = Inputs.read(layout)
    images, features = inputs.batch(np.array([2, 5]))
    assert images.shape == (2, 3, 16, 16)
    assert images.dtype == features.dtype == torch.float32
    assert images.min() >= -1
    assert images.max() <= 1
    assert torch.equal(features, torch.from_numpy(inputs.features[[2, 5]]).float())
    assert inputs.shapes == SHAPES
    assert inputs.digest(np.array([0, 1])) != inputs.digest(np.array([1, 0]))


def test_frozen_children_stay_in_evaluation_mode_and_dropout_does_not() -> None:
    class Mixed(Method):
        def __init__(self) -> None:
            super().__init__(MethodSettings(), SHAPES)
            self.frozen = nn.Sequential(nn.BatchNorm2d(3)).requires_grad_(False)
            self.trained = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout())
            self.dropout = nn.Dropout()

    mixed = Mixed().train()
    assert not mixed.frozen[0].training
    assert mixed.trained[0].training
    assert mixed.trained[1].training
    assert mixed.dropout.training


def test_the_image_score_is_the_maximum_of_pooled_pixels() -> None:
    heatmap = torch.zeros(1, 16, 16)
    heatmap[0, 4:6, 4:6] = 1.0
    for pool, value in ((1, 1.0), (2, 1.0), (4, 0.25)):
        method = Method(MethodSettings(pool_size=pool), SHAPES)
        images, features = torch.zeros(1, 3, 16, 16), torch.zeros(1, 4, 2, 2)
        assert method.image_scores(heatmap, images, features).item() == pytest.approx(value)


def test_a_gaussian_filter_keeps_the_mean_and_spreads_a_point() -> None:
    heatmap = torch.zeros(1, 33, 33)
    heatmap[0, 16, 16] = 1.0
    smooth = blurred(heatmap, 2.0)
    assert smooth.sum().item() == pytest.approx(1, abs=1e-4)
    assert smooth[0, 16, 16].item() == pytest.approx(1 / (2 * np.pi * 4), rel=0.02)
    assert torch.equal(blurred(heatmap, 0.0), heatmap)
    assert blurred(heatmap[:, :8, :8], 4.0).shape == (1, 8, 8), "smaller than the filter"


def test_stored_maps_keep_the_order_of_pixels_whatever_their_size() -> None:
    """Maps of 10⁻⁷ would vanish in float16, and those of 10⁶ overflow; after standardising neither does."""

    class Given(Method):
        def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
            return images[:, 0]

    values = torch.linspace(0, 1, 16 * 16).view(1, 1, 16, 16).expand(-1, 3, -1, -1)
    for factor, offset in ((1e-7, 0.0), (1e6, 0.0), (1.0, 1000.0)):
        method = Given(MethodSettings(), SHAPES)
        fitted = Fitted("given", method, (factor * 0.5 + offset, factor * 0.3))
        maps, scores = fitted.maps_and_scores(values * factor + offset, torch.zeros(1, 4, 2, 2))
        assert maps.dtype == np.float16
        assert (np.diff(maps.ravel().astype(float)) >= 0).all()
        assert len(np.unique(maps)) > 200
        assert np.isfinite(scores).all()


def test_every_file_of_a_method_defines_one_with_settings_and_a_source() -> None:
    for name in own_methods():
        found = method_class(name)
        assert issubclass(found.Settings, MethodSettings)
        assert found.citation, name
        for key, field in found.Settings.model_fields.items():
            assert field.description, f"{name}.{key}"


def test_a_backbone_that_is_not_the_papers_is_told_beside_the_citation() -> None:
    def told(name: str, used: str) -> str:
        found = method_class(name)
        settings = found.Settings.model_validate(SMALL[name]).model_dump()
        if "backbone" in settings:
            settings["backbone"]["name"] = used
        return found.cited(settings, used)

    for name, published in {"st": "resnet18", "mkd": "vgg16", "simplenet": "wide_resnet50_2"}.items():
        assert method_class(name).citation in told(name, published)
        assert "backbone" not in told(name, f"{published}.other_weights")
        assert told(name, "resnet50").endswith(f"; backbone differs (resnet50 for {published})")
    assert "backbone" not in told("psvdd", "resnet50"), "it has none"
    assert told("diad", "resnet50").endswith("; trained from scratch, without Stable Diffusion")


def test_a_missing_package_is_named_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy.py").write_text("import a_package_that_is_not_there\n")
    about = tmp_path / "needy-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: needy\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[drdc.methods]\nneedy = needy:Needy\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(UserError, match=r"needs .* run `pip install a_package_that_is_not_there`"):
        method_class("needy")


#: It compares features of image and reconstruction, which of white noise have nothing in common; its own test
#: draws the same squares on images that can be reconstructed.
ELSEWHERE = "diad"


@pytest.mark.parametrize("name", [name for name in own_methods() if name != ELSEWHERE])
def test_a_method_separates_a_plain_defect_and_its_map_is_highest_there(layout: Layout, name: str) -> None:
    method, inputs = fitted(layout, name), Inputs.read(layout)
    _, normal = method.maps_and_scores(*inputs.batch(rows_of("good")))
    maps, anomalous = method.maps_and_scores(*inputs.batch(rows_of("defect")))
    assert_finds(maps, anomalous, normal, np.load(layout.masks)[rows_of("defect")])


@pytest.mark.parametrize("name", own_methods())
def test_a_saved_and_loaded_method_gives_the_scores_of_one_never_saved(layout: Layout, name: str) -> None:
    batch, found = Inputs.read(layout).batch(np.arange(4)), []
    loaded = fitted(layout, name)
    for method in (loaded.method, unsaved(layout, name)):
        torch.manual_seed(0)
        with torch.inference_mode():
            maps = method.heatmaps(*batch)
            found.append((maps, method.image_scores(maps, *batch)))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    if not method.uses_features:
        torch.manual_seed(0)
        with torch.inference_mode():
            assert torch.equal(method.heatmaps(batch[0], batch[1][:, :0]), found[1][0])

    def predict(rows: slice) -> None:
        loaded.maps_and_scores(batch[0][rows], batch[1][rows])

    assert described(predict, [loaded.method], 4)["flops"] > 0, "the counter of operations works with it"
