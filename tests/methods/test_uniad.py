"""UniAD with more tokens: its sizes, its mask, and what a training step keeps in memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from drawn import SMALL
from torch._subclasses.fake_tensor import FakeTensorMode

from drdc.experiment.experiment import validated
from drdc.methods.interface import Shapes
from drdc.methods.uniad.base import BaseSettings, reconstructor
from drdc.methods.uniad.method import UniAD, window_at
from drdc.runtime.errors import UserError

SHAPES = Shapes(image_size=16, channels=4, feature_size=4)


def refusal(given: dict) -> str:
    with pytest.raises(UserError) as caught:
        validated(UniAD.Settings, given, "x.yaml", ("methods", "uniad"))
    return str(caught.value)


@pytest.mark.parametrize(("side", "parameters"), [(14, 7_717_392), (28, 8_323_088), (56, 10_738_704)])
def test_at_the_published_sizes_it_has_the_published_parameters(side: int, parameters: int) -> None:
    """7.72 M at 14×14; with more tokens only the tables of positions and queries grow."""
    attention, feedforward = 4 * (256 * 256 + 256) + 512, 2 * 256 * 1024 + 1024 + 256 + 512
    layers = 4 * (attention + feedforward) + 4 * (2 * attention + feedforward + side**2 * 256)
    ends = (272 + 1) * 256 + (256 + 1) * 272 + 2 * 256 + 2 * side * 128
    model = reconstructor(BaseSettings(), 272, side)
    assert sum(p.numel() for p in model.parameters()) == layers + ends == parameters


def test_the_masked_neighbours_cover_the_same_part_of_the_image() -> None:
    assert [window_at(7, side) for side in (14, 28, 56)] == [7, 15, 29]
    assert window_at(0, 56) == 0


def test_the_neighbour_mask_has_the_scaled_window() -> None:
    """A token in the middle of 8×8 tokens does not see 3×3 of them: 5×5 of 14×14, scaled and odd."""
    model = UniAD(UniAD.Settings(**SMALL["uniad"]), SHAPES)
    assert model.model.mask is not None
    assert model.model.mask[3 * 8 + 3].sum() == 9
    unscaled = UniAD(UniAD.Settings(**SMALL["uniad"] | {"scaled_window": False}), SHAPES)
    assert unscaled.model.mask is not None
    assert unscaled.model.mask[3 * 8 + 3].sum() == 25


def test_a_training_step_of_3136_tokens_fits_into_24_gigabytes() -> None:
    """Counted at the published widths and 8 images, on tensors without memory: 4 GiB are kept for the
    backward pass, in which no storage holds attention weights. With dropout, which a CPU has no fused kernel
    for, they would be 90 GiB.
    """
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with FakeTensorMode():
        model = reconstructor(BaseSettings(dropout=0.0, neighbour_window=29), 272, 56).train()
        features, noise = torch.empty(8, 272, 56, 56), torch.empty(8, 56 * 56, 272)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            F.mse_loss(model(features, noise), features)
    sizes = [storage.nbytes() for storage in kept.values()]
    weights_of_a_head = 8 * 3136**2 * 4
    assert max(sizes) < weights_of_a_head
    assert 2 * 2**30 < sum(sizes) < 5 * 2**30


def test_the_backbone_comes_back_from_the_saved_state_and_not_from_its_source() -> None:
    settings = UniAD.Settings(**SMALL["uniad"])
    images, features = torch.rand(2, 3, 16, 16) * 2 - 1, torch.zeros(2, 4, 4, 4)
    first = UniAD(settings, SHAPES).eval()
    moved = settings.backbone.model_copy(update={"weights": "gone.safetensors"})
    second = UniAD(settings.model_copy(update={"backbone": moved}), SHAPES, first.state_dict()).eval()
    second.restore(first.state_dict())
    with torch.inference_mode():
        assert torch.equal(first.heatmaps(images, features), second.heatmaps(images, features))
    assert first.fine_features(images).shape == (2, 192, 8, 8)
    assert not any(p.requires_grad for p in first.backbone.parameters())


def test_its_name_in_the_paper_follows_its_size() -> None:
    named = {size: UniAD.name_in_paper({"size": size}) for size in (14, 28, 56, 30)}
    assert named == {14: "UniAD", 28: "UniAD 28x28", 56: "UniAD 56x56", 30: ""}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"size": 4, "scaled_window": False}, "size: invalid value 4; leaves no token outside"),
        ({"neighbour_window": 4}, "neighbour_window: invalid value 4; must be odd, or 0"),
        ({"hidden": 64, "heads": 5}, "heads: invalid value 5; must divide `hidden`, which must be even, 64"),
        ({"sise": 28}, "methods.uniad.sise: unknown key; did you mean 'size'?"),
        ({"backbone": {"stages": []}}, "methods.uniad.backbone.stages: "),
    ],
)
def test_an_impossible_setting_is_one_sentence(given: dict, sentence: str) -> None:
    message = refusal(given)
    assert sentence in message
    assert "\n" not in message


def test_a_window_over_all_features_of_the_experiment_is_refused() -> None:
    with pytest.raises(UserError, match=r"neighbour_window: 7 .* 4×4 tokens .* use at most 3, or 0"):
        reconstructor(BaseSettings(), 8, 4)
