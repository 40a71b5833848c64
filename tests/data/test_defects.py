"""Synthetic defects in photos: visible, of the size asked for, and where the mask says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from drdc.data.defects import KINDS, SHARES, VISIBLE, defective


def photo(seed: int, height: int = 120, width: int = 160) -> NDArray[np.uint8]:
    """A textured surface with a bright disc."""
    rng = np.random.default_rng(seed)
    noise = gaussian_filter(rng.normal(size=(height, width, 3)), (2, 2, 0))
    disc = np.hypot(*np.ogrid[-60 : height - 60, -80 : width - 80]) < 40
    return np.clip(110 + 25 * noise / noise.std() + 60 * disc[..., None], 0, 255).astype(np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_defect_is_visible_exactly_where_its_mask_is(kind: str) -> None:
    image, shares = photo(0), []
    for seed in range(12):
        found = defective(image, photo(1), kind, np.random.default_rng(seed))
        assert found
        assert (found.kind, found.image.shape, found.image.dtype) == (kind, image.shape, np.uint8)
        difference = np.abs(found.image.astype(float) - image).max(2)
        np.testing.assert_array_equal(found.mask, difference > VISIBLE)
        assert found.share == found.mask.mean()
        shares.append(found.share)
    assert min(shares) >= SHARES[0] / 2
    assert max(shares) <= 2.5 * SHARES[1]
    assert max(shares) > 2 * min(shares), "sizes differ"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_numbers_draw_the_same_defect(kind: str) -> None:
    first, second = (defective(photo(0), photo(1), kind, np.random.default_rng(3)) for _ in range(2))
    assert first
    assert second
    np.testing.assert_array_equal(first.image, second.image)


def test_what_cannot_be_seen_is_no_defect() -> None:
    flat = np.full((64, 64, 3), 128, np.uint8)
    for kind in ("blur", "missing part", "foreign texture"):
        assert defective(flat, flat, kind, np.random.default_rng(0)) is None
    assert defective(flat, flat, "scratch", np.random.default_rng(0))


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 5), (16, 16)])
@pytest.mark.parametrize("kind", KINDS)
def test_images_of_any_shape_can_be_tried(kind: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    image, other = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(2))
    found = defective(image, other, kind, rng)
    assert found is None or found.image.shape == image.shape
