"""S-T has the published sizes; its networks give each pixel what they give the patch around it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from drdc.experiment.experiment import validated
from drdc.methods.interface import Shapes
from drdc.methods.st.method import StudentTeacher
from drdc.methods.st.patches import correlation, drawn_patches
from drdc.methods.st.scale import LAYERS, Descriptor, Scale
from drdc.runtime.errors import UserError


def small(**changes: object) -> StudentTeacher:
    torch.manual_seed(0)
    settings = StudentTeacher.Settings(**({"width": 4, "descriptor": 6} | changes))
    return StudentTeacher(settings, Shapes(image_size=40, channels=4, feature_size=4)).eval()


def scale_of(field: int) -> Scale:
    return small(receptive_fields=[field]).scales[str(field)]


def test_at_the_published_size_it_has_the_published_parameters() -> None:
    """The paper gives no count: these are the sums over the layers of the networks for each patch size."""
    model = StudentTeacher(StudentTeacher.Settings(), Shapes(image_size=256, channels=4, feature_size=4))

    def convolution(kernel: int, inputs: int, outputs: int) -> int:
        return kernel**2 * inputs * outputs + outputs

    expected = {
        "17": convolution(6, 3, 128)
        + convolution(5, 128, 256)
        + convolution(5, 256, 256)
        + convolution(4, 256, 128),
        "33": convolution(5, 3, 128)
        + convolution(5, 128, 256)
        + convolution(2, 256, 256)
        + convolution(4, 256, 128),
        "65": convolution(5, 3, 128)
        + 2 * convolution(5, 128, 128)
        + convolution(4, 128, 256)
        + convolution(1, 256, 128),
    }
    assert expected == {"17": 2_996_480, "33": 1_616_000, "65": 1_386_624}
    for name, scale in model.scales.items():
        assert len(scale.students) == 3
        for network in (scale.teacher, *scale.students):
            assert sum(p.numel() for p in network.parameters()) == expected[name]


@pytest.mark.parametrize("field", LAYERS)
def test_a_patch_of_its_size_is_brought_to_one_descriptor(field: int) -> None:
    network = Descriptor(field, 4, 6)
    assert network(torch.rand(2, 3, field, field)).shape == (2, 6, 1, 1)


@pytest.mark.parametrize("field", LAYERS)
def test_applied_to_an_image_it_gives_each_pixel_the_descriptor_of_the_patch_around_it(field: int) -> None:
    scale, images = scale_of(field), torch.rand(1, 3, 40, 40)
    dense = scale.describe(scale.padded(images))
    assert dense.shape == (1, 6, 40, 40)
    around = F.pad(images, [field // 2] * 4, mode="reflect")
    for y, x in ((0, 0), (7, 22), (13, 5), (39, 39)):
        patch = around[:, :, y : y + field, x : x + field]
        torch.testing.assert_close(dense[:, :, y, x], scale.teacher(patch)[:, :, 0, 0])


@pytest.mark.parametrize("field", LAYERS)
def test_a_random_window_has_the_targets_of_its_place_in_the_image(field: int) -> None:
    scale, images = scale_of(field), torch.rand(1, 3, 40, 40)
    whole, window = scale.target(scale.padded(images)), scale.target(scale.window(images, 9))
    places = whole.unfold(2, 9, 1).unfold(3, 9, 1)  # (1, D, 32, 32, 9, 9)
    distances = (places - window[:, :, None, None]).square().sum((0, 1, 4, 5))
    assert window.shape == (1, 6, 9, 9)
    assert distances.min() < 1e-8
    assert (distances < 1e-8).sum() == 1


def test_error_and_variance_are_those_of_the_students() -> None:
    """Students that all give y + 1 err by the number of channels; two that give y ± 1 only vary by it."""
    scale, images = scale_of(17), torch.rand(1, 3, 40, 40)

    class Shifted(torch.nn.Module):
        def __init__(self, shift: float) -> None:
            super().__init__()
            self.shift = shift

        def forward(self, window: torch.Tensor, dense: bool) -> torch.Tensor:
            return scale.target(window) + self.shift

    for shifts, error, variance in (((1, 1), 6, 0), ((1, -1), 0, 6), ((2, 0), 6, 6)):
        scale.students = torch.nn.ModuleList(map(Shifted, shifts))
        found = scale.measures(images)
        torch.testing.assert_close(found[:, 0], torch.full((1, 40, 40), float(error)))
        torch.testing.assert_close(found[:, 1], torch.full((1, 40, 40), float(variance)))


def test_the_heatmap_is_the_mean_over_the_fields_of_both_standardised_measures() -> None:
    model, images = small(receptive_fields=[17, 33]), torch.rand(2, 3, 40, 40)
    expected = 0
    for number, scale in enumerate(model.scales.values()):
        scale.usual.copy_(torch.tensor([[1.0 + number, 2.0], [3.0, 4.0]]).view_as(scale.usual))
        error, variance = scale.measures(images).unbind(1)
        expected = expected + ((error - 1 - number) / 3 + (variance - 2) / 4) / 2
    torch.testing.assert_close(model.heatmaps(images, images), expected)


def test_independent_channels_cost_nothing_and_equal_ones_all() -> None:
    one = torch.tensor([1.0, 1, -1, -1])
    other = torch.tensor([1.0, -1, 1, -1])
    assert correlation(torch.stack([one, other], 1)).item() == pytest.approx(0)
    assert correlation(torch.stack([one, 5 - 2 * one], 1)).item() == pytest.approx(1)
    assert correlation(torch.ones(1, 3)).item() == 0, "a single descriptor"


def test_patches_without_zoom_and_colour_are_parts_of_the_image() -> None:
    """A ramp of 40 columns keeps its slope, in either direction."""
    torch.manual_seed(0)
    image = torch.linspace(-1, 1, 40).expand(1, 3, 40, 40)
    patches = drawn_patches(image, 17, 8, zoom=1.0, recolour=0.0)
    assert patches.shape == (8, 3, 17, 17)
    slopes = patches.diff(dim=3)
    torch.testing.assert_close(slopes.abs(), torch.full_like(slopes, 2 / 39), atol=1e-4, rtol=0)
    assert {slope.sign().item() for slope in slopes[:, 0, 0, 0]} == {-1, 1}
    zoomed = drawn_patches(image, 17, 8, zoom=2.0, recolour=0.0).diff(dim=3).abs().mean((1, 2, 3)) / (2 / 39)
    assert zoomed.min() >= 0.49
    assert zoomed.max() <= 2.01
    assert zoomed.max() > 1.2 * zoomed.min()
    assert (patches[:, 0] == patches[:, 2]).all()
    recoloured = drawn_patches(image, 17, 8, zoom=1.0, recolour=0.5)
    assert (recoloured[:, 0] - recoloured[:, 2]).abs().mean((1, 2)).min() > 0.01


def test_settings_that_do_not_fit_the_images_are_refused() -> None:
    shapes = Shapes(image_size=16, channels=4, feature_size=4)
    with pytest.raises(UserError, match=r"receptive_fields: 33 is too large .* up to 31"):
        StudentTeacher(StudentTeacher.Settings(receptive_fields=[17, 33]), shapes)
    with pytest.raises(UserError, match=r"crop: 17 is larger than dataset\.image_size 16"):
        StudentTeacher(StudentTeacher.Settings(receptive_fields=[17], crop=17), shapes)
    with pytest.raises(UserError, match=r"methods\.st\.receptive_fields: .*twice"):
        given = {"receptive_fields": [17, 17]}
        validated(StudentTeacher.Settings, given, "x.yaml", ("methods", "st"))
