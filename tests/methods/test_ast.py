"""AST has the published sizes, and its flow is one."""

from __future__ import annotations

import pytest
import torch
from drawn import SMALL

from drdc.experiment.experiment import validated
from drdc.methods.ast import Asymmetric, flow, position_encoding
from drdc.methods.interface import Shapes
from drdc.runtime.errors import UserError

SHAPES = Shapes(image_size=16, channels=5, feature_size=3)


def method(**changes: object) -> Asymmetric:
    torch.manual_seed(0)
    return Asymmetric(Asymmetric.Settings(**(SMALL["ast"] | changes)), SHAPES).eval()


def test_at_the_published_size_it_has_the_published_parameters() -> None:
    """304 channels at 24×24; both halves of a coupling have a network with one hidden layer.

    The paper gives no count: this is the sum over its layers, with 64 hidden channels in the teacher and
    1,024 in the student, as the authors' code has them.
    """
    with torch.device("meta"):  # the sizes alone
        model = Asymmetric(Asymmetric.Settings(), Shapes(image_size=768, channels=304, feature_size=24))

    def coupling(kernel: int) -> int:
        return 2 * ((152 + 32) * 64 * kernel**2 + 64 + 64 * 304 * kernel**2 + 304 + 1)

    block = 2 * (1024 * 1024 * 9 + 1024 + 2 * 1024)
    student = (304 + 32) * 1024 * 9 + 1024 + 4 * block + 1024 * 304 * 9 + 304
    assert sum(p.numel() for p in model.teacher.parameters()) == 3 * coupling(3) + coupling(5) == 3_251_080
    assert sum(p.numel() for p in model.student.parameters()) == student == 81_421_616


def test_the_teachers_determinant_is_that_of_its_jacobian() -> None:
    model = method().double()
    for parameter in model.teacher.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(1, 5, 3, 3, dtype=torch.float64)
    place = model.position.double()
    jacobian = torch.autograd.functional.jacobian(lambda f: flow(model.teacher, f, place)[0], x)
    expected = torch.linalg.slogdet(jacobian.view(45, 45)).logabsdet.item()
    assert flow(model.teacher, x, place)[1].item() == pytest.approx(expected, rel=1e-9)
    assert abs(expected) > 0.1


def test_an_untrained_teacher_only_reorders_channels() -> None:
    model, x = method(), torch.randn(2, 5, 3, 3)
    output, log_determinant = flow(model.teacher, x, model.position.expand(2, -1, -1, -1))
    assert torch.equal(output.sort(1).values, x.sort(1).values)
    assert not torch.equal(output, x)
    assert log_determinant.tolist() == [0, 0]


def test_each_place_has_an_encoding_of_its_own() -> None:
    encoding = position_encoding(32, 24)
    assert encoding.shape == (1, 32, 24, 24)
    places = encoding[0].flatten(1).T
    distances = torch.cdist(places, places) + torch.eye(len(places))
    assert distances.min() > 0.1
    assert encoding.abs().max() <= 1


def test_the_image_score_is_the_mean_of_the_positions_or_the_maximum_of_the_heatmap() -> None:
    given = torch.zeros(2, 3, 16, 16), torch.randn(2, 5, 3, 3)
    model = method(score="mean")
    difference = model._taught(given[1]) - model._learned(given[1])
    _, means = model.heatmaps_and_scores(*given)
    torch.testing.assert_close(means, difference.square().mean((1, 2, 3)))
    heatmaps, largest = method(score="max").heatmaps_and_scores(*given)
    assert torch.equal(largest, heatmaps.amax((1, 2)))


def test_an_encoding_that_cannot_be_shared_by_rows_and_columns_is_refused() -> None:
    with pytest.raises(UserError, match=r"methods\.ast\.position_channels: invalid value 6; .*multiple of 4"):
        validated(Asymmetric.Settings, {"position_channels": 6}, "x.yaml", ("methods", "ast"))
