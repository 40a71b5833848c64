"""The interface of compared methods: fitting, interruption, saving, and what it hands to the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from drawn import (
    SIZE,
    SMALL,
    Twofold,
    assert_separates,
    at_size,
    batch_of,
    drawn_experiment,
    fitted,
    shortest,
)
from torch import Tensor, nn

from drdc.config.backbone import Backbone
from drdc.methods.fitted_method import FittedMethod
from drdc.methods.inputs import Batch, Inputs
from drdc.methods.interface import (
    History,
    JointMethod,
    Method,
    MethodSettings,
    Shapes,
    TrainedSettings,
    blurred,
)
from drdc.methods.registry import method_class, own_methods
from drdc.methods.trainer import MethodJob, Trainer
from drdc.results.layout import Layout
from drdc.runtime.errors import UserError
from drdc.runtime.identity import fingerprint_of
from drdc.stages.costs import described

#: Those that are fitted here.
TRAINED = sorted({*own_methods()} - {"heatmaps"})
SHAPES = Shapes(image_size=16, channels=4, feature_size=4)


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
    return Trainer(MethodJob(layout, 0, "two", settings, fingerprint_of({})), Inputs.read(layout, SIZE, True))


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


@pytest.mark.parametrize("size", [16, 32])
def test_inputs_are_pixels_in_unit_range_and_features_of_the_same_rows(drawn: Layout, size: int) -> None:
    at_size(drawn, size)
    inputs = Inputs.read(drawn, size, True)
    batch = inputs.batch(np.array([2, 5]))
    assert batch.images.shape == (2, 3, size, size)
    assert batch.images.dtype == batch.features.dtype == torch.float32
    pixels = torch.from_numpy(np.load(drawn.images(size))[[2, 5]]).permute(0, 3, 1, 2)
    assert torch.allclose(batch.images, pixels / 127.5 - 1, atol=1e-6)
    assert torch.equal(batch.features, torch.from_numpy(np.load(drawn.features)[[2, 5]]).float())
    assert batch.keys == [f"{2:064x}", f"{5:064x}"]
    assert inputs.shapes == Shapes(size, 4, 4)
    assert inputs.digest(np.array([0, 1])) != inputs.digest(np.array([1, 0]))


def test_a_method_without_features_needs_no_file_of_them(layout: Layout) -> None:
    layout.features.unlink()
    inputs = Inputs.read(layout, SIZE, False)
    assert inputs.batch(np.array([2, 5])).features.shape == (2, 0)
    assert inputs.shapes == Shapes(SIZE, 0, 1)
    with pytest.raises(UserError, match=r"features\.npy: is missing; run `drdc features` first"):
        Inputs.read(layout, SIZE, True)


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


class Given(Method):
    """Its heatmap is the first channel of the image."""

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        return images[:, 0]


def given(images: Tensor, method: type[Method] = Given, **of: Any) -> np.ndarray:
    """What is stored of those images (B, 3, H, W) by a method that is not trained."""
    network = method(MethodSettings(), Shapes(images.shape[-1], 0, 1))
    predictor = FittedMethod(**{"name": "own", "method": network, "scale": (0.0, 1.0), "seed": 0} | of)
    keys = [f"{number:064x}" for number in range(len(images))]
    return predictor.predict(Batch(images, torch.zeros(len(images), 0), keys))


def test_stored_maps_keep_the_order_of_pixels_whatever_their_size() -> None:
    """Maps of 10⁻⁷ would vanish in float16, and those of 10⁶ overflow; after standardising neither does."""
    values = torch.linspace(0, 1, 16 * 16).view(1, 1, 16, 16).expand(-1, 3, -1, -1)
    for factor, offset in ((1e-7, 0.0), (1e6, 0.0), (1.0, 1000.0)):
        scale = factor * 0.5 + offset, factor * 0.3
        (record,) = given(values * factor + offset, scale=scale, map_size=16)
        maps = record["heatmap"]
        assert maps.dtype == np.float16
        assert (np.diff(maps.ravel().astype(float)) >= 0).all()
        assert len(np.unique(maps)) > 200
        assert np.isfinite(record["score"])


def test_maps_of_any_input_size_are_stored_at_one_size() -> None:
    """Reduced they are averaged, so that no pixel is lost; enlarged they are interpolated."""
    torch.manual_seed(0)
    blocks = torch.rand(2, 1, 4, 4).expand(-1, 3, -1, -1)
    whole = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)
    reduced = given(whole, map_size=16)["heatmap"].astype(np.float32)
    inner = reduced.reshape(2, 4, 4, 4, 4)[:, :, 1:3, :, 1:3]  # where no other block is near
    assert np.allclose(inner, blocks[:, 0, :, None, :, None], atol=1e-3)
    speck = torch.zeros(1, 3, 32, 32)
    speck[..., 13, 18] = 1
    assert given(speck, map_size=8)["heatmap"].sum() == pytest.approx(1 / 16, rel=0.1)
    assert given(whole, map_size=64)["heatmap"].shape == (2, 64, 64)
    assert np.array_equal(given(whole, map_size=64)["score"], given(whole, map_size=8)["score"])


class OneChannel(Given):
    """Forgets to take the channel out of its maps."""

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        return images[:, :1]


class Coarse(Given):
    """Gives maps of the size of its features."""

    def heatmaps(self, images: Tensor, features: Tensor) -> Tensor:
        return images[:, 0, ::2, ::2]


class OneScore(Given):
    """Gives one score for all images."""

    def image_scores(self, heatmaps: Tensor, images: Tensor, features: Tensor) -> Tensor:
        return heatmaps.max()


class InOne(JointMethod):
    """Finds coarse heatmaps and the scores at once."""

    def heatmaps_and_scores(self, images: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        return images[:, 0, ::2, ::2], images[:, 0].amax((1, 2))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (OneChannel, "heatmaps of OneChannel for 3 images have the shape (3, 1, 16, 16); return (3, 16, 16)"),
        (Coarse, "heatmaps of Coarse for 3 images have the shape (3, 8, 8); return (3, 16, 16)"),
        (OneScore, "scores of OneScore for 3 images have the shape (); return (3,)"),
        (InOne, "heatmaps of InOne for 3 images have the shape (3, 8, 8); return (3, 16, 16)"),
    ],
)
def test_heatmaps_and_scores_of_a_wrong_shape_are_refused_in_one_sentence(
    method: type[Method], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        given(torch.rand(3, 3, 16, 16), method, map_size=16)
    assert str(caught.value) == f"the {said}"


class NoScalar(Method):
    """Its loss keeps the images apart."""

    class Settings(TrainedSettings):
        """Settings of the test."""

    def __init__(self, settings: Any, shapes: Shapes, weights: Any = None) -> None:
        super().__init__(settings, shapes, weights)
        self.layer = nn.Conv2d(3, 1, 1)

    def loss(self, images: Tensor, features: Tensor) -> Tensor:
        return self.layer(images).mean((1, 2, 3))


def test_a_loss_that_is_no_scalar_is_refused_in_one_sentence(layout: Layout) -> None:
    settings = NoScalar.Settings(batch_size=4)
    with pytest.raises(UserError, match=r"^methods\.two: its loss has the shape \(4,\); return a scalar$"):
        NoScalar(settings, SHAPES).fit(trainer(layout, settings))


def test_every_file_of_a_method_defines_one_with_settings_and_a_source() -> None:
    for name in own_methods():
        found = method_class(name)
        assert issubclass(found.Settings, MethodSettings)
        assert found.citation, name
        for key, field in found.Settings.model_fields.items():
            assert field.description, f"{name}.{key}"


def test_a_backbone_that_is_not_the_papers_is_told_beside_the_citation() -> None:
    def told(name: str, used: str, **changes: Any) -> str:
        found = method_class(name)
        settings = found.Settings.model_validate(SMALL[name]).model_dump()
        if settings.get("backbone"):
            settings["backbone"]["name"] = used
        return found.cited(settings | changes, used)

    for name, published in {"st": "resnet18", "mkd": "vgg16", "simplenet": "wide_resnet50_2"}.items():
        assert method_class(name).citation in told(name, published)
        assert "backbone" not in told(name, f"{published}.other_weights")
        assert f"; backbone differs (resnet50 for {published})" in told(name, "resnet50")
    own = {"backbone": Backbone(name="wide_resnet50_2.tv_in1k").model_dump()}
    assert "backbone" not in told("simplenet", "any", **own), "its own, not the experiment's"
    assert "; features 14 × 14 of stages 0+1+2+3; noise" in told("simplenet", "any", **own)
    assert "backbone" not in told("psvdd", "resnet50"), "it has none"
    assert "AdamW for Adam" in told("mkd", "vgg16", optimizer="adamw")
    assert " for Adam" not in told("mkd", "vgg16")
    assert told("diad", "resnet50").endswith("; trained from scratch, without Stable Diffusion")


def test_a_source_of_ones_own_stands_in_place_of_the_methods_and_what_differs_stays() -> None:
    def told(name: str, settings: dict[str, Any], used: str = "resnet50") -> str:
        found = method_class(name)
        complete = found.Settings.model_validate(settings).model_dump()
        return found.cited(complete | {"citation": "Mine, 2026"}, used)

    assert told("simplenet", {}).startswith("Mine, 2026; backbone differs (resnet50 for wide_resnet50_2); ")
    assert told("anomalib", {"model": "padim"}).startswith("Mine, 2026; run through anomalib")
    assert told("psvdd", {"memory": 5}).startswith("Mine, 2026; ")
    assert told("heatmaps", {"folder": "x"}).startswith(
        "Mine, 2026; heatmaps made elsewhere (x, the same for"
    )
    assert "the same" not in told("heatmaps", {"folder": "x{seed}"})


def plug_in(folder: Path, code: str) -> None:
    """Write what pip leaves of a package with a method of the name `needy`, one module with that code."""
    (folder / "needy.py").write_text(code)
    about = folder / "needy-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: needy\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[drdc.methods]\nneedy = needy:Needy\n")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import a_package_that_is_not_there.part",
            "method 'needy' needs the package 'a_package_that_is_not_there', which is not installed; run "
            "`pip install a_package_that_is_not_there`",
        ),
        (
            "\nfrom drdc.methods.interface import Metod",
            "method 'needy' cannot be imported: ImportError: cannot import name 'Metod' from "
            "'drdc.methods.interface' ({interface}) ({file}, line 2)",
        ),
        (
            "from drdc.methods.interfaces import Method",
            "method 'needy' cannot be imported: ModuleNotFoundError: No module named "
            "'drdc.methods.interfaces' ({file}, line 1)",
        ),
        (
            "import needy.part",
            "method 'needy' cannot be imported: ModuleNotFoundError: No module named 'needy.part'; 'needy' "
            "is not a package ({file}, line 1)",
        ),
        (
            "\n\n1 / 0",
            "method 'needy' cannot be imported: ZeroDivisionError: division by zero ({file}, line 3)",
        ),
        (
            "class Needy(:",
            "method 'needy' cannot be imported: SyntaxError: invalid syntax (needy.py, line 1)",
        ),
        (
            "class Needi: pass",
            "method 'needy' cannot be imported: AttributeError: module 'needy' has no attribute 'Needy'",
        ),
        (
            "Needy = 3",
            "method 'needy': its entry point needy:Needy is not a `Method`; correct it",
        ),
    ],
)
def test_a_plug_in_that_cannot_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    plug_in(tmp_path, code)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "needy", raising=False)
    with pytest.raises(UserError) as caught:
        method_class("needy")
    interface = sys.modules["drdc.methods.interface"].__file__
    assert str(caught.value) == said.format(file=tmp_path / "needy.py", interface=interface)


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_separates_a_plain_defect_and_its_map_is_highest_there(
    fits: Callable[[str], Twofold], name: str
) -> None:
    fit = fits(name)
    assert_separates(fit.layout, fit.loaded)


@pytest.mark.parametrize("name", sorted({*TRAINED} - {"anomalib"}))
def test_each_phase_of_a_training_lowers_its_loss(fits: Callable[[str], Twofold], name: str) -> None:
    """PaDiM has no loss; that of the generator and its opponent together goes up and down."""
    losses = pd.read_csv(fits(name).layout.losses(0, name))
    for _, phase in losses.groupby((losses.images.diff() <= 0).cumsum()):
        fell = phase.train_loss.iloc[-1] < phase.train_loss.iloc[0]
        assert fell or (name == "uniad_gan" and phase.index[0] > 0)


@pytest.mark.parametrize("name", TRAINED)
def test_a_saved_and_loaded_method_gives_the_scores_of_one_never_saved(
    fits: Callable[[str], Twofold], name: str
) -> None:
    layout, loaded, unsaved = fits(name)
    batch, found = batch_of(layout, loaded, np.arange(4)), []
    for method in (loaded.method, unsaved):
        torch.manual_seed(0)
        with torch.inference_mode():
            found.append(method.heatmaps_and_scores(batch.images, batch.features))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("name", TRAINED)
def test_the_same_seed_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    layout = drawn_experiment(counts={"train": 8, "val": 2})
    files = layout.model(0, name), layout.losses(0, name)
    found = []
    for _ in range(2):
        torch.rand(1)  # as if something had drawn before
        fitted(layout, name, shortest(SMALL[name]))
        found.append([path.read_bytes() for path in files])
        files[0].unlink()
    assert found[0] == found[1]


@pytest.mark.parametrize("name", TRAINED)
def test_operations_are_counted_for_each_method(fits: Callable[[str], Twofold], name: str) -> None:
    layout, loaded, _ = fits(name)
    inputs = Inputs.read(layout, loaded.input_size, loaded.uses_features)

    def predict(rows: slice) -> None:
        loaded.predict(inputs.batch(np.arange(2)[rows]))

    assert described(predict, loaded.networks, 2)["flops"] > 0
