"""Eq. 10 for a batch that is computed in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.stored import write_images, write_manifest
from drdc.config.diffusion import Diffusion
from drdc.equations.diffusion import linear_schedule
from drdc.methods.drdc import diffusion
from drdc.methods.drdc.diffusion import draw_randomness, noise_loss
from drdc.results.layout import Layout
from drdc.results.scores import read_numbers

SIZE, BATCH = 16, 6


class Mixer(nn.Module):
    """A small network of all three inputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x_t: Tensor, condition: Tensor, timestep: Tensor) -> Tensor:
        return self.layer(torch.cat([x_t, condition], 1)) * (timestep / 1000).view(-1, 1, 1, 1)


@pytest.mark.parametrize("region", ["image", "hole"])
@pytest.mark.parametrize("processes", [2, 3])
def test_the_mean_over_parts_of_a_batch_is_the_loss_of_the_batch(region: str, processes: int) -> None:
    """Also over the holes alone, whose sizes differ from image to image."""
    settings = Diffusion(grid_sizes=[4, 8], disjoint_sets=3, loss_region=region)
    alpha_bar = linear_schedule(1000, 1e-4, 0.02)
    torch.manual_seed(1)
    drawn = draw_randomness(BATCH, SIZE, settings, "cpu")
    holes = (1 - drawn.mask).sum((1, 2, 3))
    assert len(set(holes.tolist())) > 1
    images, network = torch.rand(BATCH, 3, SIZE, SIZE) * 2 - 1, Mixer()
    whole = noise_loss(network, images, drawn, alpha_bar, settings)
    (expected,) = torch.autograd.grad(whole, network.layer.weight)
    size = BATCH // processes
    parts = [slice(i * size, (i + 1) * size) for i in range(processes)]
    losses = [noise_loss(network, images[part], drawn, alpha_bar, settings, part) for part in parts]
    mean = torch.stack(losses).mean()
    (gradient,) = torch.autograd.grad(mean, network.layer.weight)
    torch.testing.assert_close(mean, whole, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-7)


def test_the_randomness_has_the_distribution_of_eq_10() -> None:
    settings = Diffusion(grid_sizes=[4, 8], max_timestep=300)
    drawn = draw_randomness(400, SIZE, settings, "cpu")
    assert drawn.timestep.min() >= 1
    assert drawn.timestep.max() <= 300
    assert drawn.timestep.float().mean().item() == pytest.approx(150.5, abs=15)
    assert drawn.mask.shape == (400, 1, SIZE, SIZE)
    assert drawn.mask.mean().item() == pytest.approx(0.5, abs=0.01)
    for noise in (drawn.fill, drawn.noise):
        assert noise.shape == (400, 3, SIZE, SIZE)
        assert noise.mean().item() == pytest.approx(0, abs=0.01)
        assert noise.std().item() == pytest.approx(1, abs=0.01)
    assert not torch.equal(drawn.fill, drawn.noise)


def test_held_out_images_are_computed_in_as_many_parts_as_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a GPU whose memory is enough for the parts of a batch fails at the first validation."""
    monkeypatch.chdir(tmp_path)
    layout = Layout("parts")
    write_manifest(layout, ["nut"], size=SIZE, train=8, val=7)
    write_images(layout, SIZE)
    sizes: list[int] = []

    def watched(network: nn.Module, images: Tensor, *others: Any) -> Tensor:
        sizes.append(0 if torch.is_grad_enabled() else len(images))
        return noise_loss(network, images, *others)

    monkeypatch.setattr(diffusion, "noise_loss", watched)
    losses = []
    for parts in (1, 4):
        settings = Diffusion(
            **{"multipliers": [1], "attention_levels": [], "grid_sizes": [4], "width": 32},
            **{"images": 8, "batch_size": 4, "validations": 1, "accumulation": parts, "loss_region": "hole"},
        )
        diffusion.train_diffusion(layout, 0, image_size=SIZE, diffusion=settings)
        losses.append(read_numbers(layout.losses(0, "diffusion"), "losses", "train").val_loss.item())
        layout.model(0, "diffusion").unlink()
    assert sizes == [0, 0, 7, *[0] * 8, 2, 2, 2, 1]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
