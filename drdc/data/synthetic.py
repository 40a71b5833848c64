"""The synthetic dataset in MVTec AD's layout: two textures and two objects, with thin and broad defects.

It replaces real data where none are available: small, free, and for the same seed the same to the last pixel
on any processor. Images are formulas over the plane [-1, 1]^2, rendered at twice the size and reduced, so
that edges are antialiased. An anomalous image is rendered with and without its defect; the ground truth is
where the two differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from drdc.data.drawing import (
    Canvas,
    Field,
    Flaw,
    Point,
    blob,
    clouds,
    damage,
    edge,
    mix,
    place,
    rgb,
    strip,
    to_line,
)
from drdc.data.images import resize_mask
from drdc.runtime.errors import UserError

_OVERSAMPLING = 2
_GRAIN = 2.5 / 255
_VISIBLE = 8 / 255
_MIN_MASK = 20 / 128**2
_MIN_SIZE = 32


def generate(root: Path, *, train: int, test_good: int, test_bad: int, seed: int, size: int = 128) -> None:
    """Draw the dataset: categories fabric, wood, gear and capsule as PNG files in MVTec AD's layout.

    The same arguments give the same bytes, and every picture depends only on (seed, category, folder,
    number): asking for more pictures leaves the others as they are. Running it again completes an
    interrupted run.

    Args:
        root: folder to fill; created if missing.
        train: normal training images per category.
        test_good: normal test images per category.
        test_bad: anomalous test images per category, spread evenly over its kinds of defect.
        seed: non-negative.
        size: side of the square pictures in pixels, at least 32.

    Raises:
        UserError: a number out of range, or the root holds files of another dataset.
    """
    _check(train=train, test_good=test_good, test_bad=test_bad, seed=seed, size=size)
    jobs = list(_jobs(train, test_good, test_bad))
    _refuse_other_files(root, {name for job in jobs for name in job.files})
    for job in jobs:
        picture, mask = render(job.category, job.kind, job.number, split=job.split, seed=seed, size=size)
        arrays = (picture, mask.astype(np.uint8) * 255)
        for name, array in zip(job.files, arrays, strict=False):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(path)


def render(
    category: str, kind: str, number: int, *, split: str, seed: int, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one image; a defect that would be hidden by an edge of the object is drawn again.

    Returns:
        The image (size, size, 3) uint8 RGB, and its ground truth (size, size) bool: True where the
        defect changes the noise-free image by more than 8/255 in some channel, all False for "good".
    """
    key = [seed, *f"{category}/{split}/{kind}/{number}".encode()]
    clean = _draw(category, np.random.default_rng([0, *key]), None, size)
    noise = np.random.default_rng([1, *key]).normal(0, _GRAIN, clean.shape)
    if kind == "good":
        return _to_bytes(clean + noise), np.zeros((size, size), dtype=np.bool_)
    for attempt in count():
        flaw = Flaw(kind, np.random.default_rng([2, attempt, *key]))
        flawed = _draw(category, np.random.default_rng([0, *key]), flaw, size)
        mask = np.abs(flawed - clean).max(axis=2) > _VISIBLE
        if mask.sum() >= _MIN_MASK * size**2 and resize_mask(mask, size // 2).any():
            return _to_bytes(flawed + noise), mask
    raise AssertionError("unreachable: the attempts never end")


# --- from a recipe to a picture ----------------------------------------------------------------------


def _draw(category: str, look: Generator, flaw: Flaw | None, size: int) -> Field:
    """One noise-free image (size, size, 3) in [0, 1]: posed, drawn, lit, tinted and reduced."""
    draw, _ = CATEGORIES[category]
    fine = size * _OVERSAMPLING
    x, y = np.meshgrid(*[np.linspace(-1, 1, fine)] * 2)
    angle, zoom = look.normal(0, 0.06), look.normal(1, 0.02)
    cos, sin = math.cos(angle) * zoom, math.sin(angle) * zoom
    dx, dy = look.uniform(-0.06, 0.06), look.uniform(-0.06, 0.06)
    u, v = (x - dx) * cos + (y - dy) * sin, (y - dy) * cos - (x - dx) * sin
    light = look.uniform(0.93, 1.05) + look.uniform(-0.07, 0.07) * x + look.uniform(-0.07, 0.07) * y
    tint = rgb(*(look.normal(1, 0.01) for _ in range(3)))
    colour = draw(Canvas(u, v), look, flaw) * light[..., None] * tint
    rows = colour.reshape(size, _OVERSAMPLING, -1).mean(axis=1)
    picture: Field = np.clip(rows.reshape(size, size, _OVERSAMPLING, 3).mean(axis=2), 0, 1)
    return picture


def _to_bytes(picture: NDArray[np.floating]) -> NDArray[np.uint8]:
    levels: NDArray[np.uint8] = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return levels


# --- the four categories -------------------------------------------------------------------------------


_INDIGO, _CREAM = rgb(0.30, 0.40, 0.66), rgb(0.88, 0.83, 0.72)


def _fabric(canvas: Canvas, look: Generator, flaw: Flaw | None) -> Field:
    """Plain weave of indigo warp (upright) and cream weft (across), 11 threads each way."""
    a = canvas.u / 0.18 + 0.08 * clouds(look, canvas.u, 2) + look.uniform(0, 2)
    b = canvas.v / 0.18 + 0.08 * clouds(look, canvas.u, 2) + look.uniform(0, 2)
    i, j = np.floor(a).astype(int), np.floor(b).astype(int)
    across_warp, across_weft = a - i - 0.5, b - j - 0.5
    upright, level = look.normal(1, 0.03, (2, 64))
    warp_over = (i + j) % 2 == 0
    gap = np.zeros_like(canvas.u)
    if flaw is not None and flaw.kind == "missing_thread":
        row = j == np.floor(b.mean()) + flaw.rng.integers(-3, 4)
        start, length = flaw.rng.uniform(-1.4, 0), flaw.rng.uniform(1.2, 2)
        gap = row * edge(np.minimum(canvas.u - start, start + length - canvas.u))

    def thread(across: Field, along: Field, over: NDArray[np.bool_]) -> Field:
        bulge: Field = np.sqrt(np.clip(1 - (across / 0.53) ** 2, 0, 1))
        height = np.where(over, 0.72 + 0.28 * np.cos(np.pi * along), 0.5)
        return (bulge * height)[..., None]

    warp = thread(across_warp, across_weft, warp_over) * upright[i % 64, None] * _INDIGO
    weft = thread(across_weft, across_warp, ~warp_over) * level[j % 64, None] * _CREAM
    colour = np.where(warp_over[..., None], warp, weft) + 0.05
    bare = thread(across_warp * 1.3, across_weft, np.zeros_like(warp_over)) * _INDIGO + 0.03
    colour = mix(colour, bare, gap)
    return damage(colour, canvas, flaw, place(flaw, 0.6, 0.6))


def _wood(canvas: Canvas, look: Generator, flaw: Flaw | None) -> Field:
    """A smooth board with grain from side to side."""
    bend = 0.035 * clouds(look, canvas.u, 2) + look.uniform(-0.05, 0.05) * canvas.u**2
    across = np.clip(canvas.v + bend, -1.9, 1.9)
    rings = np.sin(2 * np.pi * (across * 2.6 + 0.35 * strip(look, across, 0.5) + look.uniform()))
    tone = 0.10 * rings + 0.05 * strip(look, across, 0.12) + 0.03 * strip(look, across, 0.05)
    tone = tone + 0.03 * clouds(look, canvas.u, 2)
    colour = rgb(0.72, 0.52, 0.33) + tone[..., None] * rgb(1.0, 0.95, 0.75)
    return damage(colour, canvas, flaw, place(flaw, 0.6, 0.6))


_TEETH = 8
_PLATE_HOLES = 4


def _gear(canvas: Canvas, look: Generator, flaw: Flaw | None) -> Field:
    """A brushed steel gear with eight teeth, a keyed bore and four round holes, on a dark mat.

    The defect "missing_tooth" removes a tooth together with the rim at its root.
    """
    r, theta = np.hypot(canvas.u, canvas.v), np.arctan2(canvas.v, canvas.u)
    rim = 0.69 + 0.10 * np.clip(1.8 * np.cos(_TEETH * theta), -1, 1)
    if flaw is not None and flaw.kind == "missing_tooth":
        tooth = 2 * np.pi * flaw.rng.integers(_TEETH) / _TEETH
        away = np.abs(np.angle(np.exp(1j * (theta - tooth))))
        root = 0.50 + 0.12 * (away * _TEETH / np.pi / 1.2) ** 2 + 0.012 * clouds(flaw.rng, canvas.u, 30)
        rim = np.where(away < 1.2 * np.pi / _TEETH, np.minimum(rim, root), rim)
    spoke = np.mod(theta + np.pi / 2, 2 * np.pi / _PLATE_HOLES) - np.pi / _PLATE_HOLES
    openings = np.hypot(r * np.cos(spoke) - 0.43, r * np.sin(spoke)) - 0.10
    keyed = np.minimum(r - 0.17, np.maximum(np.abs(canvas.u) - 0.05, np.abs(canvas.v + 0.17) - 0.06))
    inside = np.minimum(np.minimum(rim - r, openings), keyed)

    sheen = 0.10 * np.cos(2 * (theta - look.normal(0.8, 0.1))) + 0.025 * strip(look, r, 0.03)
    slope = np.gradient(inside, axis=(0, 1))
    facing = (slope[0] + slope[1]) / (1.4 * np.hypot(slope[0], slope[1]) + 1e-6)
    bevel = 0.16 * facing * np.exp(-np.clip(inside, 0, 1) / 0.02)
    from_hub: Field = np.abs(r - 0.29)
    hub = -0.10 * edge(0.02 - from_hub, 0.02)
    colour = (0.60 + sheen + bevel + hub)[..., None] * rgb(0.97, 1.0, 1.04)
    angle = flaw.rng.uniform(0, 2 * np.pi) if flaw is not None else 0.0
    colour = damage(colour, canvas, flaw, (0.45 * math.cos(angle), 0.45 * math.sin(angle)))

    mat = (0.24 + 0.012 * clouds(look, canvas.u, 6))[..., None] * rgb(0.9, 1.0, 1.15)
    shade = 1 - 0.5 * edge(0.78 - np.hypot(canvas.u - 0.04, canvas.v - 0.06), 0.08)
    return mix(mat * shade[..., None], colour, edge(inside))


_DIGITS: list[list[Point]] = [
    [(0.09, -0.13), (-0.07, -0.13), (-0.08, -0.01), (0.05, -0.02), (0.09, 0.05), (0.04, 0.13), (-0.08, 0.12)],
    [(0, -0.13), (-0.08, -0.06), (-0.08, 0.06), (0, 0.13), (0.08, 0.06), (0.08, -0.06), (0, -0.13)],
]


def _capsule(canvas: Canvas, look: Generator, flaw: Flaw | None) -> Field:
    """A glossy capsule, red cap on a cream body printed "50", on light paper with its shadow."""
    u, v = canvas.u, canvas.v
    cap = edge(0.02 - u)
    radius = 0.29 + 0.012 * cap
    dx = u - np.clip(u, -0.48, 0.48)
    from_axis = np.hypot(dx, v)
    inside = radius - from_axis
    if flaw is not None and flaw.kind == "broken":
        side = flaw.rng.choice([-1, 1])
        bite = (side * 0.78, flaw.rng.uniform(-0.2, 0.2))
        inside = np.minimum(inside, -blob(flaw.rng, canvas, bite, flaw.rng.uniform(0.22, 0.34), 0.08))

    colour = mix(rgb(0.90, 0.82, 0.62), rgb(0.72, 0.13, 0.12), cap)
    colour = mix(colour, colour * 0.6, 0.8 * np.exp(-((np.clip(u - 0.02, 0, 1) / 0.03) ** 2)) * (1 - cap))
    colour = mix(colour, rgb(0.17, 0.16, 0.25), _imprint(canvas, flaw))

    nx, ny = dx / radius, v / radius
    nz = np.sqrt(np.clip(1 - nx**2 - ny**2, 0, 1))
    diffuse = 0.45 + 0.6 * np.clip(0.85 * nz - 0.35 * ny - 0.25 * nx, 0, 1)
    gloss = 0.45 * np.clip(0.80 * nz - 0.58 * ny - 0.1 * nx, 0, 1) ** 30
    colour = np.clip(colour * diffuse[..., None] + gloss[..., None], 0, 1)
    colour = damage(colour, canvas, flaw, place(flaw, 0.5, 0.14))

    paper = (0.78 + 0.008 * clouds(look, u, 5))[..., None] * rgb(0.98, 1.0, 1.02)
    shadow = np.hypot(u - 0.05 - np.clip(u - 0.05, -0.48, 0.48), v - 0.09)
    paper = paper * (1 - 0.4 * edge(0.30 - shadow, 0.09))[..., None]
    return mix(paper, colour, edge(inside))


def _imprint(canvas: Canvas, flaw: Flaw | None) -> Field:
    """Coverage of the printed digits; the defect "missing_imprint" removes one of them."""
    missing = flaw.rng.integers(len(_DIGITS)) if flaw is not None and flaw.kind == "missing_imprint" else None
    cover = np.zeros_like(canvas.u)
    for index, digit in enumerate(_DIGITS):
        if index != missing:
            points = [(x + 0.24 + 0.27 * index, y) for x, y in digit]
            cover = np.maximum(cover, edge(to_line(canvas, points, [0.022] * (len(points) - 1))))
    return cover


Painter = Callable[[Canvas, Generator, Flaw | None], Field]

CATEGORIES: dict[str, tuple[Painter, tuple[str, ...]]] = {
    "capsule": (_capsule, ("broken", "hole", "missing_imprint", "scratch")),
    "fabric": (_fabric, ("hole", "missing_thread", "scratch", "stain")),
    "gear": (_gear, ("crack", "missing_tooth", "scratch", "stain")),
    "wood": (_wood, ("crack", "hole", "scratch", "stain")),
}


# --- files ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    category: str
    split: str
    kind: str
    number: int

    @property
    def files(self) -> list[str]:
        """Image and, for a defective one, ground truth."""
        picture = f"{self.category}/{self.split}/{self.kind}/{self.number:03d}.png"
        truth = f"{self.category}/ground_truth/{self.kind}/{self.number:03d}_mask.png"
        return [picture] if self.kind == "good" else [picture, truth]


def _jobs(train: int, test_good: int, test_bad: int) -> Iterator[_Job]:
    for category, (_, kinds) in CATEGORIES.items():
        yield from (_Job(category, "train", "good", number) for number in range(train))
        yield from (_Job(category, "test", "good", number) for number in range(test_good))
        for index in range(test_bad):
            yield _Job(category, "test", kinds[index % len(kinds)], index // len(kinds))


def _check(**numbers: int) -> None:
    lowest = {"train": 1, "size": _MIN_SIZE}
    for name, number in numbers.items():
        if number < lowest.get(name, 0):
            raise UserError(name, f"{number} is too small", f"give at least {lowest.get(name, 0)}")


def _refuse_other_files(root: Path, ours: set[str]) -> None:
    present = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    others = sorted(name for name in present - ours if not Path(name).name.startswith("."))
    if others:
        raise UserError(root / others[0], "not part of the dataset to generate", "empty the folder first")
