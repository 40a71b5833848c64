"""Further images that some of anomalib's models are trained with: a folder of them, or synthetic textures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from scipy.special import ndtr

from drdc.runtime.errors import UserError

_SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}
#: Height and width of the synthetic textures in pixels.
_SIDE = 256


def images_below(folder: str | Path, advice: str) -> list[Path]:
    """All images in a folder and its subfolders, in the order of their names.

    Raises:
        UserError: there are none; ends with `advice`.
    """
    found = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise UserError(folder, "contains no images", advice)
    return found


@contextmanager
def made_textures(seed: int, count: int = 100) -> Iterator[list[Path]]:
    """Temporary image files of coloured noise of any coarseness and direction, smooth or in bands.

    They replace photographs of textures (DTD) where there are none: the same for the same seed.
    """
    generator = np.random.default_rng(seed)
    with TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number:03}.png") for number in range(count)]
        for path in paths:
            Image.fromarray(_texture(generator)).save(path, compress_level=1)
        yield paths


def _texture(generator: np.random.Generator) -> np.ndarray:
    """(_SIDE, _SIDE, 3) uint8: filtered white noise, mapped to a gradient of two or three random colours."""
    frequency = np.fft.fftfreq(_SIDE)
    y, x = np.meshgrid(frequency, frequency, indexing="ij")
    angle, stretch = generator.uniform(0, np.pi), 2 ** generator.uniform(0, 3)
    along = np.cos(angle) * x + np.sin(angle) * y
    across = stretch * (np.cos(angle) * y - np.sin(angle) * x)
    centre, width = 2.0 ** generator.uniform(-7, -2, 2)
    filtered = np.exp(-(((np.hypot(along, across) - centre) / width) ** 2))
    field = np.fft.ifft2(np.fft.fft2(generator.normal(size=(_SIDE, _SIDE))) * filtered).real
    place = ndtr((field - field.mean()) / field.std())
    if generator.random() < 0.5:
        place = np.floor(place * 3) / 2  # bands
    colours = generator.uniform(0, 255, (3, 3))
    mixed = [np.interp(place, (0, 0.5, 1), channel) for channel in colours]
    return np.stack(mixed, -1).astype(np.uint8)
