"""Grey values of a file as 8-bit RGB, whatever the bit depth of its camera."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drdc.runtime.errors import UserError

#: Bit depths of cameras and scanners.
DEPTHS = (8, 10, 12, 14, 16)


@dataclass(frozen=True, eq=False)
class Shallow:
    """An image whose file has at most 8 bits a value: black is 0 and white the largest value there is.

    Attributes:
        image: RGB, upright.
        turned: the EXIF orientation by which it was rotated.
    """

    image: Image.Image
    turned: int = 1
    stored = bits = 8
    own = True

    def rgb(self, bits: int | None = None) -> Image.Image:
        """The image; `bits` has no meaning for it."""
        return self.image

    def clipped(self, bits: int) -> float:
        """No value is beyond the range."""
        return 0.0


@dataclass(frozen=True, eq=False)
class Deep:
    """An image whose file has more than 8 bits a value, of which the camera may have used fewer.

    Attributes:
        values: (H, W) or (H, W, 3) uint16, upright, without alpha.
        white: the largest value, where the format defines it; None for a file of 16 bits.
        claimed: bits in use according to the file's tags; None without them.
        white_is_zero: 0 is white and the largest value black.
        turned: the EXIF orientation by which they were rotated.
    """

    values: NDArray[np.uint16] = field(repr=False)
    white: int | None = None
    claimed: int | None = None
    white_is_zero: bool = False
    turned: int = 1
    stored = 16

    @property
    def own(self) -> bool:
        """Whether the file alone determines its range."""
        return self.white is not None

    @property
    def bits(self) -> int:
        """The range by this file alone: that of its tags, and at least what its values need."""
        if self.white is not None:
            return self.white.bit_length()
        return max(self.claimed or 0, holding(int(self.values.max())))

    def rgb(self, bits: int | None = None) -> Image.Image:
        """8-bit RGB for a range of 0 to 2^bits - 1, None: the file's own; values beyond it are clipped."""
        top = 2**bits - 1 if bits is not None else 2**self.bits - 1
        if self.white is not None and bits in (None, self.bits):
            top = self.white
        levels = ((np.arange(top + 1) * 255 + top // 2) // top).astype(np.uint8)
        if self.white_is_zero:
            levels = levels[::-1]
        return Image.fromarray(levels[np.minimum(self.values, top)]).convert("RGB")

    def clipped(self, bits: int) -> float:
        """Which part of the values, in [0, 1], lies beyond a range of 0 to 2^bits - 1."""
        return float(np.mean(self.values >= 2**bits))


Decoded = Shallow | Deep


def holding(largest: int) -> int:
    """The smallest of `DEPTHS` whose range contains a value."""
    return next(bits for bits in DEPTHS if largest < 2**bits)


@dataclass(frozen=True)
class Ranges:
    """Which bits of deep files are in use.

    Attributes:
        setting: `dataset.bits`, for all files; None for the next.
        categories: the range of each category with deep training images.
    """

    setting: int | None = None
    categories: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def measured(cls, training: Iterable[tuple[str, int]], setting: int | None = None) -> Ranges:
        """From category and bits of each deep training image: the range that contains all of a category."""
        found: dict[str, int] = {}
        for category, bits in training:
            found[category] = setting or max(found.get(category, 0), bits)
        return cls(setting, found)

    def known(self, decoded: Decoded, category: str | None) -> int | None:
        """The bits of an image, None where neither its file nor the training images determine them.

        Args:
            category: of the image; None where unknown.

        Raises:
            UserError: the categories differ and the image's is not given.
        """
        if isinstance(decoded, Shallow):
            return decoded.bits
        if self.setting or decoded.own:
            return self.setting or decoded.bits
        if category is not None:
            return self.categories.get(category)
        if len(set(self.categories.values())) > 1:
            each = ", ".join(f"{name} {bits}" for name, bits in sorted(self.categories.items()))
            raise UserError(
                "",
                f"the range of its grey values depends on the category (bits: {each})",
                "give the category, or the number of bits (`--bits`)",
            )
        return next(iter(self.categories.values()), None)

    def depend(self, categories: Iterable[str]) -> bool:
        """Whether it matters from which of these categories an image is."""
        return self.setting is None and len({self.categories.get(name) for name in categories}) > 1

    def bits(self, decoded: Decoded, category: str | None) -> int:
        """`known`, or what the file alone suggests."""
        return self.known(decoded, category) or decoded.bits

    def notes(
        self, decoded: Decoded, category: str | None
    ) -> dict[Literal["range-guessed", "beyond-range"], str]:
        """Notes on an image's range for the reader of a result, by kind of problem."""
        bits = self.bits(decoded, category)
        found: dict[Literal["range-guessed", "beyond-range"], str] = {}
        if self.known(decoded, category) is None:
            found["range-guessed"] = (
                f"its grey values are read as {bits} bits by this image alone, because the training "
                "images have 8"
            )
        if share := decoded.clipped(bits):
            found["beyond-range"] = f"{_percent(share)} of its values are beyond {bits} bits and were clipped"
        return found


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.001 else "less than 0.1 %"
