"""The layers of the U-Net that compute the same as torch's and diffusers', faster."""

from __future__ import annotations

import copy

import pytest
import torch
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from drdc.models.adm import SMALL, GroupNorm, ResidualBlock


def images(size: int, channels: int = 12, seed: int = 0) -> Tensor:
    """(3, C, size, size), channels last in memory as the U-Net's, with a mean that is not 0."""
    torch.manual_seed(seed)
    return (torch.randn(3, size, size, channels) * 2 + 3).permute(0, 3, 1, 2)


def pair(groups: int) -> tuple[nn.GroupNorm, GroupNorm]:
    torch.manual_seed(1)
    theirs = nn.GroupNorm(groups, 12, eps=1e-5)
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    ours = copy.deepcopy(theirs)
    ours.__class__ = GroupNorm
    return theirs, ours  # type: ignore[return-value]


def results(norm: nn.GroupNorm, x: Tensor, dy: Tensor) -> list[Tensor]:
    """Its values, and the gradients of its input, weight and bias."""
    y = norm(x.requires_grad_())
    return [y.detach(), *torch.autograd.grad(y, (x, norm.weight, norm.bias), dy)]


@pytest.mark.parametrize("contiguous", [False, True])
@pytest.mark.parametrize("groups", [1, 4, 12])
@pytest.mark.parametrize("size", [5, 33])
def test_the_norm_and_its_gradients_are_as_exact_as_those_of_torch(
    size: int, groups: int, contiguous: bool
) -> None:
    assert (size * size < SMALL) == (size == 5)
    theirs, ours = pair(groups)
    x, dy = images(size), images(size, seed=2)
    x = x.contiguous() if contiguous else x
    exact = results(copy.deepcopy(theirs).double(), x.double(), dy.double())
    expected, given = results(theirs, x.clone(), dy), results(ours, x, dy)
    for truth, their, our in zip(exact, expected, given, strict=True):
        wrong, allowed = ((found - truth).abs().max() / truth.abs().max() for found in (our, their))
        assert our.shape == truth.shape
        assert allowed < 2e-4
        assert wrong < 3e-5 + 1.5 * allowed


def test_the_norm_of_bfloat16_is_as_accurate_as_that_of_torch() -> None:
    for size in (8, 40):
        theirs, ours = pair(4)
        x, dy = images(size), images(size, seed=2)
        exact = torch.autograd.grad(theirs(x.requires_grad_()), x, dy)[0]
        errors = []
        for norm in (theirs, ours):
            low = x.detach().bfloat16().requires_grad_()
            y = norm(low)
            assert y.dtype == torch.bfloat16
            (gradient,) = torch.autograd.grad(y, low, dy.bfloat16())
            errors.append((gradient.float() - exact).abs().mean().item())
        assert errors[1] < 1.5 * errors[0]


@pytest.mark.parametrize("resample", ["", "up", "down"])
def test_the_block_is_that_of_diffusers(resample: str) -> None:
    torch.manual_seed(0)
    theirs = ResnetBlock2D(
        in_channels=32,
        out_channels=64 if not resample else 32,
        temb_channels=16,
        groups=8,
        time_embedding_norm="scale_shift",
        up=resample == "up",
        down=resample == "down",
    )
    ours = copy.deepcopy(theirs)
    ours.__class__ = ResidualBlock
    found = []
    for block in (theirs, ours):
        x, embedding = images(8, 32).requires_grad_(), torch.linspace(-1, 1, 48).view(3, 16)
        y = block(x, embedding)
        y.square().mean().backward()
        found.append([y, x.grad, *(parameter.grad for parameter in block.parameters())])
    assert len(found[0]) > 10
    for expected, given in zip(*found, strict=True):
        torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-6 * expected.abs().max().item() + 1e-9)
