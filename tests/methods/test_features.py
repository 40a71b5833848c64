"""A method on features may have a backbone of its own in place of the experiment's."""

from __future__ import annotations

import pytest
import torch
from drawn import SMALL, assert_separates, fitted, shortest

from drdc.results.layout import Layout

OWN = {
    "name": "tf_efficientnet_lite0",
    "weights": "package",
    "input_size": 32,
    "feature_size": 8,
    "stages": [0, 1],
}


def test_with_a_backbone_of_its_own_it_finds_defects_without_the_experiments_features(layout: Layout) -> None:
    layout.features.unlink()
    changes = {"backbone": OWN, "noise": 0.5, "epochs": 8}
    method = fitted(layout, "simplenet", SMALL["simplenet"] | changes)
    assert not method.uses_features
    assert (method.input_size, method.method.side, method.method.channels) == (32, 8, 16 + 24)
    assert_separates(layout, method)
    assert not any(parameter.requires_grad for parameter in method.method.extractor.parameters())


@pytest.mark.parametrize("name", ["ast", "simplenet"])
def test_features_stay_as_they_are_where_they_are_not_standardised(name: str, layout: Layout) -> None:
    raw, scaled = (
        fitted(layout, name, shortest(SMALL[name] | {"standardise": on})).method for on in (False, True)
    )
    images, features = torch.zeros(2, 3, 16, 16), torch.randn(2, raw.channels, raw.side, raw.side)
    assert torch.equal(raw.standard(images, features), features)
    assert not torch.allclose(scaled.standard(images, features), features)
