"""MKD has the published sizes, its losses are the published ones, and its map is a gradient."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from drawn import SMALL
from torch import Tensor, nn

from drdc.experiment.experiment import validated
from drdc.methods.interface import Shapes
from drdc.methods.mkd import Cloner, Distillation, opened, root_mean_squares
from drdc.runtime.errors import UserError

SHAPES = Shapes(image_size=32, channels=4, feature_size=4)
UNUSED = torch.zeros(1, 4, 4, 4)
TWO_STAGES = {"convolutions": [1, 1], "backbone": SMALL["mkd"]["backbone"] | {"stages": [0, 1]}}


def small(**changes: object) -> Distillation:
    torch.manual_seed(0)
    return Distillation(Distillation.Settings(**(SMALL["mkd"] | changes)), SHAPES).eval()


def test_at_the_published_size_the_cloner_has_the_published_parameters() -> None:
    """For VGG-16: 16, 16 | 16, 128 | 16, 16, 256 | 16, 16, 512 | 16, 16, 512, all 3×3.

    That is the count of the authors' network: no biases, and a batch norm after all but the last of a block.
    """
    cloner = Cloner([128, 256, 512, 512], [2, 4, 8, 16], [2, 3, 3, 3], 16)
    widths = [3, 16, 16, 16, 128, 16, 16, 256, 16, 16, 512, 16, 16, 512]
    layers, norms = sum(9 * a * b for a, b in pairwise(widths)), 2 * (1 + 1 + 2 + 2 + 2) * 16
    assert sum(p.numel() for p in cloner.parameters()) == layers + norms == 343_984


def test_the_cloners_stages_have_the_sizes_of_the_sources() -> None:
    """VGG-16 itself, untrained, with the default settings."""
    import timm

    settings = Distillation.Settings()
    name, stages = settings.backbone.name, settings.backbone.stages
    with torch.device("meta"):  # only sizes are compared
        source = timm.create_model(name, pretrained=False, features_only=True, out_indices=stages)
        about = source.feature_info
        cloner = Cloner(about.channels(), about.reduction(), settings.convolutions, settings.width)
        pixels = torch.rand(1, 3, 128, 128)
        cloned = [stage.shape for stage in cloner(pixels)]
        assert cloned == [nn.functional.max_pool2d(stage, 2).shape for stage in source(pixels)]
    assert [(*shape,) for shape in cloned] == [
        (1, 128, 32, 32),
        (1, 256, 16, 16),
        (1, 512, 8, 8),
        (1, 512, 4, 4),
    ]


class Given(nn.Module):
    """A network whose stages are always these."""

    def __init__(self, *stages: Tensor) -> None:
        super().__init__()
        self.stages = list(stages)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return self.stages


def test_the_loss_is_weighted_squared_error_and_cosine_of_each_stage() -> None:
    model = small(value=0.5)
    one = torch.tensor([[3.0, 4.0], [1.0, 0.0]]).view(2, 2, 1, 1)
    other = torch.tensor([[3.0, 4.0], [0.0, 1.0]]).view(2, 2, 1, 1)
    model.scale = torch.ones(2)
    model.source.network, model.cloner = Given(one, one), Given(one, other)
    # the first image is reproduced; the second has a squared error of 1 and a right angle in one stage
    pixels = torch.zeros(2, 3, 32, 32)
    assert model._losses(pixels).sum(0).tolist() == pytest.approx([0, 0.5 + 1])
    model.cloner = Given(2 * one, one)
    # twice the values: no angle, squared errors of 12.5 and 0.5
    assert model._losses(pixels)[0].tolist() == pytest.approx([6.25, 0.25])
    assert model._losses(pixels)[1].tolist() == pytest.approx([0, 0])
    model.scale = torch.tensor([0.5, 1.0])
    assert model._losses(pixels).sum(0).tolist() == pytest.approx([0, 0])


def test_the_score_leaves_the_shallow_stages_out() -> None:
    model = small(scored=1, **TWO_STAGES)
    pixels = torch.rand(2, 3, 32, 32) * 2 - 1
    with torch.inference_mode():
        _, scores = model.heatmaps_and_scores(pixels, UNUSED)
        assert torch.equal(scores, model._losses(model._pixels(pixels))[1])


def test_the_map_is_the_gradient_of_each_images_own_loss_by_differences() -> None:
    """In inference mode, as the stages call it; an image's map does not depend on the others of its batch."""
    model = small(blur=0.0, opening=1, **TWO_STAGES).double()
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    with torch.inference_mode():
        heatmaps = model.heatmaps(images, UNUSED)
        alone = model.heatmaps(images[1:], UNUSED)
        torch.testing.assert_close(heatmaps[1:], alone)
        y, x, step = 11, 20, 1e-6
        slopes = []
        for channel in range(3):
            losses = []
            for sign in (-1, 1):
                pixels = model._pixels(images)
                pixels[1, channel, y, x] += sign * step
                losses.append(model._losses(pixels).sum(0)[1].item())
            slopes.append(abs(losses[1] - losses[0]) / (2 * step))
    assert not heatmaps.requires_grad
    assert heatmaps[1, y, x].item() == pytest.approx(sum(slopes) / 3, rel=1e-4)


def test_an_opening_removes_what_is_narrower_than_its_window_and_keeps_the_rest() -> None:
    heatmap = torch.zeros(1, 16, 16)
    heatmap[0, 2:4, 2:4] = 5.0
    heatmap[0, 8:12, 9:13] = 3.0
    kept = opened(heatmap, 3)
    assert kept[0, :6, :6].max() == 0
    assert torch.equal(kept[0, 8:], heatmap[0, 8:])
    assert torch.equal(opened(heatmap, 1), heatmap)


def test_root_mean_squares_are_over_all_images_of_batches_of_any_size() -> None:
    stages = [torch.randn(5, 2, 4, 4), torch.randn(5, 3, 2, 2), torch.zeros(5, 1, 1, 1)]
    batches = ([stage[part] for stage in stages] for part in (slice(0, 4), slice(4, 5)))
    expected = [stages[0].square().mean().sqrt().item(), stages[1].square().mean().sqrt().item(), 1]
    assert root_mean_squares(batches).tolist() == pytest.approx(expected)


def test_the_cloner_ends_with_relu_only_where_the_source_does() -> None:
    model = small()
    assert min(stage.min() for stage in model.source.network(torch.randn(1, 3, 32, 32))) < 0
    assert not model.cloner.rectified
    cloned = model.cloner(torch.randn(1, 3, 32, 32))
    assert min(stage.min() for stage in cloned) < 0
    model.cloner.rectified = True
    assert min(stage.min() for stage in model.cloner(torch.randn(1, 3, 32, 32))) == 0


def test_settings_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(UserError, match=r"convolutions: \[2\] do not match backbone\.stages"):
        small(convolutions=[2])
    with pytest.raises(UserError, match=r"backbone\.input_size: 36 is not a multiple of 8"):
        small(backbone=SMALL["mkd"]["backbone"] | {"input_size": 36})
    with pytest.raises(UserError, match=r"methods\.mkd\.opening: .*odd"):
        validated(Distillation.Settings, {"opening": 2}, "x.yaml", ("methods", "mkd"))
