"""UniAD+UNet: the size of its U-Net, and its skips."""

from __future__ import annotations

import pytest
import torch

from drdc.methods.uniad.networks import UNet
from drdc.runtime.errors import UserError


def test_the_parameters_are_the_sum_over_the_layers() -> None:
    """Ronneberger's layers with batch norm, at half his width and up to 256 channels."""

    def double(inputs: int, outputs: int) -> int:
        return 9 * (inputs + outputs) * outputs + 4 * outputs

    down = double(3, 32) + double(32, 64) + double(64, 128) + double(128, 256) + double(256, 256)
    steps = ((256, 256), (256, 128), (128, 64), (64, 32))
    up = sum(4 * a * b + b + double(2 * b, b) for a, b in steps)
    network = UNet(224, 32, 4)
    assert sum(p.numel() for p in network.parameters()) == down + up + 32 * 3 + 3 == 5_140_643


@pytest.mark.parametrize(("size", "levels"), [(16, 1), (16, 4), (48, 4)])
def test_it_gives_images_of_the_size_of_its_input(size: int, levels: int) -> None:
    images = torch.rand(2, 3, size, size)
    reconstructed = UNet(size, 4, levels).eval()(images)
    assert reconstructed.shape == images.shape
    assert reconstructed.abs().max() <= 1


def test_one_pixel_reaches_the_whole_image_over_the_lowest_level() -> None:
    torch.manual_seed(0)
    network, image = UNet(32, 8, 3).eval(), torch.zeros(1, 3, 32, 32)
    changed = image.clone()
    changed[..., 16, 16] = 1
    with torch.no_grad():
        difference = (network(image) - network(changed)).abs().sum(1)[0]
    assert difference[16, 16] > 0
    assert difference[:4].max() > 0


def test_an_image_that_cannot_be_halved_so_often_is_refused() -> None:
    with pytest.raises(UserError, match="levels: an image of 48 pixels cannot be halved 5 times"):
        UNet(48, 4, 5)
