"""SimpleNet has the published sizes, and its loss is the published one."""

from __future__ import annotations

import pytest
import torch

from drdc.methods.interface import Shapes
from drdc.methods.simplenet import SimpleNet


def test_at_the_published_size_it_has_the_published_parameters() -> None:
    """Adaptor 1536 → 1536; linear 1536 → 1024, batch norm, and linear 1024 → 1 without bias."""
    model = SimpleNet(SimpleNet.Settings(), Shapes(image_size=288, channels=1536, feature_size=36))
    adaptor, discriminator = 1536 * 1536 + 1536, (1536 + 1) * 1024 + 2 * 1024 + 1024
    assert sum(p.numel() for p in model.parameters()) == adaptor + discriminator == 3_937_792


def test_scores_beyond_the_margin_cost_nothing_and_scores_of_zero_cost_both_margins() -> None:
    model = SimpleNet(SimpleNet.Settings(margin=0.5), Shapes(16, 4, 2)).eval()
    features, images = torch.rand(2, 4, 2, 2), torch.zeros(2, 3, 16, 16)
    last = model.discriminator[-1]
    torch.nn.init.zeros_(last.weight)
    assert model.loss(images, features).item() == pytest.approx(1.0)

    class Perfect(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            good = torch.arange(len(batch)) < len(batch) // 2
            return torch.where(good, 0.6, -0.6)[:, None]

    model.discriminator = Perfect()
    assert model.loss(images, features).item() == 0


def test_tables_tell_the_noise_beside_the_papers() -> None:
    settings = SimpleNet.Settings(noise=0.25)
    assert "noise of 0.25 on standardised features (the paper: 0.015" in SimpleNet.cited(
        settings.model_dump(), "any"
    )
    settings = settings.model_copy(update={"standardise": False})
    assert "noise of 0.25 on features (" in SimpleNet.cited(settings.model_dump(), "any")


def test_features_of_any_scale_give_the_same_noise() -> None:
    """The noise is measured in deviations of the training features."""
    shapes, features, images = Shapes(16, 4, 2), torch.randn(2, 4, 2, 2), torch.zeros(2, 3, 16, 16)
    model = SimpleNet(SimpleNet.Settings(), shapes).eval()
    losses = []
    for factor in (1.0, 100.0):
        model.deviation.fill_(factor)
        torch.manual_seed(0)
        losses.append(model.loss(images, factor * features).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
