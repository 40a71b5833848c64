"""The page `gallery.html`: every test image with its heatmaps, to be browsed at any threshold.

One self-contained file: images are embedded, and its own style sheet and script are the only ones that its
Content-Security-Policy allows. Names from the dataset are untrusted text: they reach
the page only as JSON, and the script shows them as text.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from drdc.config.variants import COMPARED
from drdc.reporting.gallery import HEATMAPS, coloured
from drdc.reporting.shown_images import Shown
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic

QUALITY = 80  # of WebP
LINE, HALO = (0, 255, 255), (0, 0, 0)  # the mask's outline: cyan, which the colour map lacks, next to black
OUTLINE_SIDE = 256  # pixels: smaller masks are enlarged before they are outlined

Limits = dict[tuple[str, str], tuple[float, float]]


def write_gallery(
    images: Iterable[Shown],
    path: Path,
    *,
    title: str,
    thresholds: dict[str, float],
    calibration: str,
    limits: Limits,
) -> None:
    """Write the page; images are taken and written one at a time.

    An image is predicted anomalous when its score is greater than the threshold.

    Args:
        images: in the order in which images of equal rank are shown.
        path: the HTML file.
        title: heading of the page.
        thresholds: for each of `COMPARED`, and for each further method that the page shows,
            where the threshold's slider starts.
        calibration: what these are calibrated on, and for which rate of false alarms, in words.
        limits: for (category, kind of heatmap) the low and the high end of the colour scale.

    Raises:
        UserError: there is no image, or the file cannot be written.
        ValueError: a score, threshold or limit is absent or not finite.
    """
    environment = Environment(
        loader=PackageLoader("drdc.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    methods = [name for name in thresholds if name not in COMPARED]
    style, script = _part("gallery.css"), _part("scores.js") + _part("gallery.js")
    page = environment.get_template("gallery.html.j2").stream(
        title=title,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        methods=methods,
        calibration=calibration,
        settings=_settings(thresholds, limits, methods),
        images=_encoded(images, limits, methods),
    )
    with atomic(path) as part:
        page.dump(str(part), encoding="utf-8")


def _part(name: str) -> Markup:
    """A style sheet or script of this package, put into the page as it is."""
    text = (files("drdc.reporting") / "templates" / name).read_text(encoding="utf-8")
    return Markup(text)


def _hash(text: str) -> str:
    """The hash by which the Content-Security-Policy knows an inline style sheet or script."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _settings(thresholds: dict[str, float], limits: Limits, methods: list[str]) -> dict[str, Any]:
    """The data of the script other than the images."""
    ends: dict[str, dict[str, list[float]]] = {}
    for (category, kind), pair in limits.items():
        ends.setdefault(category, {})[kind] = [
            _finite(end, f"limits of {category!r}, {kind}") for end in pair
        ]
    return {
        "thresholds": _of_each((*COMPARED, *methods), thresholds, "threshold"),
        "limits": ends,
        "colour_bar": _webp(coloured(np.tile(np.linspace(0.0, 1.0, 256), (8, 1)))),
    }


def _encoded(
    images: Iterable[Shown], limits: Limits, methods: list[str]
) -> Iterator[dict[str, dict[str, Any]]]:
    """For each image its facts and its pictures, ready for JSON."""
    empty = True
    for shown in images:
        empty = False
        facts = {
            "path": shown.path,
            "category": shown.category,
            "defect_type": shown.defect_type,
            "label": int(shown.label),
            "scores": _of_each((*COMPARED, *methods), shown.scores, f"score of {shown.path!r}"),
        }
        yield {"facts": facts, "pictures": _pictures(shown, limits, (*HEATMAPS, *methods))}
    if empty:
        raise UserError("", "There is no image to show in the gallery page", "the dataset needs a test image")


def _pictures(shown: Shown, limits: Limits, kinds: Sequence[str]) -> dict[str, str | None]:
    """Every picture as a data URL; no outline where nothing is marked."""
    pictures: dict[str, str | None] = {
        "image": _webp(shown.image),
        "reconstruction": _webp(shown.reconstruction),
        "outline": _outline(shown.mask) if shown.mask.any() else None,
    }
    for kind in kinds:
        if (shown.category, kind) not in limits:
            raise ValueError(f"limits has no entry ({shown.category!r}, {kind!r})")
        low, high = limits[shown.category, kind]
        unit = (shown.heatmaps[kind].astype(np.float64) - low) / max(high - low, np.finfo(float).tiny)
        pictures[kind] = _webp(coloured(np.clip(unit, 0.0, 1.0)))
    return pictures


def _of_each(methods: Sequence[str], numbers: dict[str, float], name: str) -> dict[str, float]:
    absent = [method for method in methods if method not in numbers]
    if absent:
        raise ValueError(f"{name}: the method {', '.join(absent)} is absent")
    return {method: _finite(numbers[method], f"{name}, {method}") for method in methods}


def _finite(number: float, name: str) -> float:
    if not isfinite(number):
        raise ValueError(f"{name}: must be finite, but it is {number}")
    return float(number)


def _webp(pixels: NDArray[np.uint8]) -> str:
    """(H, W, 3) as a data URL."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "WEBP", quality=QUALITY)
    return _data_url("image/webp", content)


def _outline(mask: NDArray[np.bool_]) -> str:
    """The rim of (H, W) as a transparent image: a bright line inside of it, a dark one outside."""
    from scipy.ndimage import binary_dilation, binary_erosion

    factor = max(1, OUTLINE_SIDE // max(mask.shape))
    large = mask.repeat(factor, axis=0).repeat(factor, axis=1)
    thickness = max(1, round(max(large.shape) / 128))
    colours = np.zeros(large.shape, np.uint8)
    colours[large & ~binary_erosion(large, iterations=thickness)] = 1
    colours[~large & binary_dilation(large, iterations=thickness)] = 2
    picture = Image.fromarray(colours)
    picture.putpalette((0, 0, 0, *LINE, *HALO))
    content = io.BytesIO()
    picture.save(content, "PNG", transparency=0, optimize=True)
    return _data_url("image/png", content)


def _data_url(kind: str, content: io.BytesIO) -> str:
    return f"data:{kind};base64,{b64encode(content.getvalue()).decode()}"
