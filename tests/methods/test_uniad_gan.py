"""UniAD+GAN: who learns from which loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from drdc.methods.uniad.networks import Adversarial


def gradients(network: nn.Module, loss: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(network.parameters()), retain_graph=True, allow_unused=True)
    return [gradient for gradient in found if gradient is not None]


def test_the_parameters_are_the_sum_over_the_layers() -> None:
    """The DRDC paper says nothing of the networks: these are their layers with the default settings."""
    model, levels = Adversarial(224, 32, 5, 256), (32, 64, 128, 256, 256)
    judge = sum(16 * a * b + 2 * b for a, b in zip((3, *levels), levels, strict=False)) + 256 + 1
    assert sum(p.numel() for p in model.discriminator.parameters()) == judge == 1_739_969
    assert sum(p.numel() for p in model.generator.parameters()) == 9_930_019


def test_each_half_learns_from_its_own_losses_alone() -> None:
    torch.manual_seed(0)
    model = Adversarial(16, 8, 2, 8).train()
    error, recognised, wrong = model.losses(torch.rand(4, 3, 16, 16) * 2 - 1)
    assert not gradients(model.discriminator, error + recognised)
    assert not gradients(model.generator, wrong)
    for loss, learner in ((error, model.generator), (recognised, model.generator)):
        assert any(gradient.abs().sum() > 0 for gradient in gradients(learner, loss))
    assert any(gradient.abs().sum() > 0 for gradient in gradients(model.discriminator, wrong))


def test_a_discriminator_learns_to_tell_images_from_reconstructions() -> None:
    torch.manual_seed(0)
    model, images = Adversarial(16, 8, 2, 8).train(), torch.rand(4, 3, 16, 16) * 2 - 1
    optimizer = torch.optim.AdamW(model.discriminator.parameters(), lr=3e-3)
    for _ in range(60):
        _, recognised, wrong = model.losses(images)
        optimizer.zero_grad()
        wrong.backward()
        optimizer.step()
    assert wrong < 0.3 < recognised
