"""Synthetic defects in photos of normal products: what a model can be tried on before a real one is seen.

Six kinds, at random places and sizes. They are not the defects that will come: they say whether the model
sees a change of such a size and contrast at all. The first is that of CutPaste (Li et al., CVPR 2021); the
others are the simplest pictures of what inspection looks for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Picture = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Shares of the image that a defect covers, at least and at most; drawn evenly on a logarithmic scale.
SHARES = (0.001, 0.03)
#: Grey levels by which a pixel must differ to be part of the defect.
VISIBLE = 8.0
#: Places that are tried, where a defect would not be visible.
ATTEMPTS = 20


class Drawn(NamedTuple):
    """An image with a defect.

    Attributes:
        image: (H, W, 3) uint8.
        mask: (H, W), true where it differs visibly from the normal one.
        kind: of the defect, one of `KINDS`.
    """

    image: NDArray[np.uint8]
    mask: Mask
    kind: str

    @property
    def share(self) -> float:
        """Of the image that the defect covers."""
        return float(self.mask.mean())


def defective(image: NDArray[np.uint8], other: NDArray[np.uint8], kind: str, rng: Generator) -> Drawn | None:
    """A defect in a normal image; None where it is not visible at any of some places.

    Args:
        image: (H, W, 3) RGB.
        other: another normal image of the same size, from which texture is taken.
        kind: one of `KINDS`.
        rng: shapes and places it.
    """
    normal = image.astype(np.float32)
    for _ in range(ATTEMPTS):
        share = float(np.exp(rng.uniform(*np.log(SHARES))))
        changed = np.clip(KINDS[kind](normal, other.astype(np.float32), share, rng), 0, 255)
        picture = np.round(changed).astype(np.uint8)
        mask = np.abs(picture.astype(np.float32) - normal).max(axis=2) > VISIBLE
        if mask.mean() >= SHARES[0] / 2:
            return Drawn(picture, mask, kind)
    return None


def _moved_part(image: Picture, other: Picture, share: float, rng: Generator) -> Picture:
    """A rectangle of the image, turned by a right angle or not, pasted elsewhere."""
    height, width = image.shape[:2]
    long = rng.uniform(1, 4)  # its sides' ratio
    rows = int(np.clip(np.sqrt(share * height * width / long), 2, height // 2))
    columns = int(np.clip(rows * long, 2, width // 2))
    top, left = rng.integers(height - rows), rng.integers(width - columns)
    part = image[top : top + rows, left : left + columns] * rng.uniform(0.85, 1.15)
    part = part if rng.random() < 0.5 or max(rows, columns) > min(height, width) else part.swapaxes(0, 1)
    top, left = rng.integers(np.subtract(image.shape[:2], part.shape[:2]) + 1)
    changed = image.copy()
    changed[top : top + part.shape[0], left : left + part.shape[1]] = part
    return changed


def _scratch(image: Picture, other: Picture, share: float, rng: Generator) -> Picture:
    """A thin bent line, lighter or darker."""
    height, width = image.shape[:2]
    thick = max(1.0, 0.006 * min(height, width) * rng.uniform(1, 2))
    steps = max(4, int(share * height * width / (2 * thick)))
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.03, steps))
    line = np.cumsum(np.stack([np.sin(angle), np.cos(angle)], axis=1), axis=0)
    line += rng.uniform(0.2, 0.8, 2) * (height, width) - line.mean(0)
    cover = np.zeros((height, width), np.float32)
    inside = line[((line >= 0) & (line < (height, width))).all(1)].astype(int)
    cover[inside[:, 0], inside[:, 1]] = 1
    spread = gaussian_filter(cover, thick / 2)
    cover = np.clip(spread / max(float(spread.max()), 1e-6) * 1.5, 0, 1)
    return image + cover[..., None] * rng.choice([-1, 1]) * rng.uniform(40, 110)


def _stain(image: Picture, other: Picture, share: float, rng: Generator) -> Picture:
    """A soft patch of another colour through which the surface is seen."""
    cover = _patch(image, share, rng, soft=0.25)
    return image * (1 - cover * (1 - rng.uniform(0.55, 0.95, 3).astype(np.float32)))


def _missing_part(image: Picture, other: Picture, share: float, rng: Generator) -> Picture:
    """A patch that is filled with what surrounds it, so that the texture or part within is gone."""
    cover = _patch(image, share, rng, soft=0.05)
    around = np.maximum(1 - cover, 1e-4)
    reach = np.sqrt(share * image.shape[0] * image.shape[1])
    blurred = gaussian_filter(image * around, (reach, reach, 0)) / gaussian_filter(around, (reach, reach, 0))
    return image * (1 - cover) + blurred * cover


def _foreign_texture(image: Picture, other: Picture, share: float, rng: Generator) -> Picture:
    """A patch of another image."""
    cover = _patch(image, share, rng, soft=0.05)
    moved = np.roll(other, (int(rng.integers(image.shape[0])), int(rng.integers(image.shape[1]))), (0, 1))
    return image * (1 - cover) + moved * cover


def _blur(image: Picture, other: Picture, share: float, rng: Generator) -> Picture:
    """A patch out of focus."""
    cover = _patch(image, share, rng, soft=0.1)
    sigma = 0.02 * min(image.shape[:2]) * rng.uniform(1, 2)
    return image * (1 - cover) + gaussian_filter(image, (sigma, sigma, 0)) * cover


#: The kinds of defects, by their names in tables.
KINDS: dict[str, Callable[[Picture, Picture, float, Generator], Picture]] = {
    "moved part": _moved_part,
    "scratch": _scratch,
    "stain": _stain,
    "missing part": _missing_part,
    "foreign texture": _foreign_texture,
    "blur": _blur,
}


def _patch(image: Picture, share: float, rng: Generator, soft: float) -> Picture:
    """Coverage (H, W, 1) of an uneven round patch inside the image, with a soft edge."""
    height, width = image.shape[:2]
    radius = np.sqrt(share * height * width / np.pi)
    sides = np.array([height, width])
    row, column = rng.uniform(np.minimum(radius, sides / 2), np.maximum(sides - radius, sides / 2))
    wobble = gaussian_filter(rng.normal(size=(height, width)), max(radius / 2, 1))
    squeeze = rng.uniform(0.7, 1.4)
    y, x = np.ogrid[-row : height - row, -column : width - column]
    distance = np.hypot(y[:height] * squeeze, x[:, :width] / squeeze) / radius
    inside = 1 - distance + 0.25 * wobble / max(float(wobble.std()), 1e-9)
    return np.clip(inside / soft + 0.5, 0, 1).astype(np.float32)[..., None]
