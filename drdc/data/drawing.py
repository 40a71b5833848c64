"""Drawing by formula: smooth noise, edges, lines, and defects that any surface can have.

All fields are (S, S) float arrays over a canvas, colours (S, S, 3) in [0, 1]; lengths are in units of half
the picture's side, so that 0.016 is one pixel of a picture of 128. They have double precision, because the
last digits of a sine or a power depend on the processor: those of single precision reach a picture's bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float64]
Point = tuple[float, float]


@dataclass(frozen=True)
class Flaw:
    """A kind of defect, and the random numbers that shape and place it."""

    kind: str
    rng: Generator


@dataclass(frozen=True)
class Canvas:
    """Coordinates u (right) and v (down), each (S, S), of every pixel in the posed plane [-1, 1]^2."""

    u: Field
    v: Field


def clouds(rng: Generator, like: Field, cells: int) -> Field:
    """Smooth noise of about unit amplitude over the image, with about this many maxima across."""
    coarse = Image.fromarray(rng.normal(0, 1, (cells + 3, cells + 3)).astype(np.float32))
    return np.asarray(coarse.resize(like.shape[::-1], Image.Resampling.BICUBIC), dtype=np.float64)


def strip(rng: Generator, where: Field, step: float) -> Field:
    """Smooth one-dimensional noise of about unit amplitude, evaluated at ``where``; ``step`` is its grain."""
    knots = np.arange(-2, 2, step)
    return np.interp(where, knots, rng.normal(0, 1, len(knots)))


def rgb(red: float, green: float, blue: float) -> Field:
    """A colour as an array (3,) that broadcasts over a picture."""
    return np.array([red, green, blue])


def edge(distance: Field, softness: float = 0.012) -> Field:
    """Coverage in [0, 1] from a signed distance, positive inside."""
    t: Field = np.clip(distance / (2 * softness) + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def mix(below: Field, above: Field, cover: Field) -> Field:
    """Blend ``above`` over ``below`` (S, S, 3) with coverage (S, S)."""
    return below + (above - below) * cover[..., None]


def to_line(canvas: Canvas, points: list[Point], widths: list[float]) -> Field:
    """Signed distance into a polyline whose segments have these half-widths, positive inside."""
    inside: Field = np.full_like(canvas.u, -np.inf)
    for ((x0, y0), (x1, y1)), width in zip(pairwise(points), widths, strict=True):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((canvas.u - x0) * dx + (canvas.v - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        gap = np.hypot(canvas.u - x0 - along * dx, canvas.v - y0 - along * dy)
        inside = np.maximum(inside, width - gap)
    return inside


# --- flaws that any surface can have -------------------------------------------------------------------


def _path(rng: Generator, at: Point, length: float, joints: int, jitter: float) -> list[Point]:
    """A polyline through ``at`` in a random direction, with its joints displaced."""
    angle = rng.uniform(0, math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    steps = [length * (i / (joints - 1) - 0.5) for i in range(joints)]
    aside = [rng.normal(0, jitter) for _ in steps]
    return [(at[0] + s * cos - a * sin, at[1] + s * sin + a * cos) for s, a in zip(steps, aside, strict=True)]


def blob(rng: Generator, canvas: Canvas, at: Point, radius: float, ragged: float) -> Field:
    """Signed distance-like field of an uneven round patch, positive inside."""
    squeeze = rng.uniform(0.75, 1.3)
    distance: Field = np.hypot((canvas.u - at[0]) * squeeze, (canvas.v - at[1]) / squeeze)
    return radius * (1 + ragged * clouds(rng, canvas.u, 14)) - distance


def _scratch(colour: Field, canvas: Canvas, rng: Generator, at: Point) -> Field:
    """A groove: a bright line with its own shadow."""
    points = _path(rng, at, rng.uniform(0.55, 0.95), 4, 0.035)
    width = rng.uniform(0.027, 0.035)
    shadow = [(x + 0.018, y + 0.022) for x, y in points]
    dented = mix(colour, colour * 0.45, edge(to_line(canvas, shadow, [width] * 3)))
    bright = 0.2 * colour + 0.8
    return mix(dented, bright, edge(to_line(canvas, points, [width * 0.8, width, width * 0.7])))


def _crack(colour: Field, canvas: Canvas, rng: Generator, at: Point) -> Field:
    """A jagged dark line, thin at its ends."""
    joints = 8
    points = _path(rng, at, rng.uniform(0.7, 1.0), joints, 0.04)
    widths = [0.014 + 0.020 * math.sin(math.pi * (i + 0.7) / joints) for i in range(joints - 1)]
    return mix(colour, colour * 0.15, edge(to_line(canvas, points, widths), 0.016))


def _stain(colour: Field, canvas: Canvas, rng: Generator, at: Point) -> Field:
    """A stain: soft-edged, translucent, a little darker towards its rim."""
    inside = blob(rng, canvas, at, rng.uniform(0.2, 0.32), 0.13)
    hue = rgb(*(shade + rng.normal(0, 0.03) for shade in (0.62, 0.45, 0.30)))
    rim = 1 - 0.18 * np.exp(-((inside / 0.05 - 0.8) ** 2))
    return mix(colour, colour * hue * rim[..., None], edge(inside, 0.045))


def _hole(colour: Field, canvas: Canvas, rng: Generator, at: Point) -> Field:
    """A dark opening with a worn edge; some light falls on its far lower wall."""
    inside = blob(rng, canvas, at, rng.uniform(0.11, 0.17), 0.1)
    worn = mix(colour, colour * 0.6, edge(inside + 0.03, 0.03))
    lit: Field = np.clip((canvas.u - at[0]) + (canvas.v - at[1]), 0, 1)
    wall = (0.07 + 0.25 * lit)[..., None] * rgb(1, 0.9, 0.8)
    return mix(worn, wall, edge(inside, 0.015))


_SURFACE_FLAWS = {"scratch": _scratch, "crack": _crack, "stain": _stain, "hole": _hole}


def damage(colour: Field, canvas: Canvas, flaw: Flaw | None, at: Point) -> Field:
    """Apply a surface defect at a position; a defect that the category draws itself is left alone."""
    if flaw is None or flaw.kind not in _SURFACE_FLAWS:
        return colour
    return _SURFACE_FLAWS[flaw.kind](colour, canvas, flaw.rng, at)


def place(flaw: Flaw | None, reach_u: float, reach_v: float) -> Point:
    """A random position around the origin; draws no random numbers if there is no defect."""
    if flaw is None:
        return 0.0, 0.0
    return float(flaw.rng.uniform(-reach_u, reach_u)), float(flaw.rng.uniform(-reach_v, reach_v))
