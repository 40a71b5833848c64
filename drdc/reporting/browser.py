"""A page of images with their heatmaps, to be browsed at any threshold.

`gallery.html` has an experiment's test images, and `index.html` those of a call of `drdc detect`.

One self-contained file: images are embedded, and its own style sheet and script are the only ones that its
Content-Security-Policy allows. The facts of all images and the script come first and the pictures after
them, so that a page of ten thousand images is usable while the rest of it is still read. Heatmaps are grey;
the browser colours and outlines them. Names from the dataset are untrusted text: they reach the page only as
JSON, and the script shows them as text.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from hashlib import sha256
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from drdc.config.names import ALL
from drdc.reporting.gallery import coloured
from drdc.reporting.overlay import HALO, LINE, STRENGTH, heat_of, opacity_of
from drdc.reporting.shown_images import Facts, Floats, Scales, Shown
from drdc.runtime.errors import UserError
from drdc.runtime.files import atomic

QUALITY = 70  # of JPEG
#: Pixels of a side, at most. Larger pictures are reduced by a whole factor; of larger heatmaps, which are
#: smooth, every second or third pixel is taken.
PICTURE_SIDE, HEATMAP_SIDE = 256, 128
#: Colour of an outline, and how much of a shown pixel must be inside: thin defects fill none completely.
OUTLINES = {"truth": ((124, 252, 0), 0.25), "found": (LINE, 0.5)}
STEPS = 33  # of the colour map; between them the browser interpolates

Pictures = dict[str, str | None]


def write_gallery(
    facts: Sequence[Facts],
    pictures: Iterable[Pictures],
    path: Path,
    *,
    title: str,
    methods: Mapping[str, str],
    heatmaps: Mapping[str, str],
    thresholds: dict[str, dict[str, float]],
    calibration: str | None,
    scales: Scales,
    added: float = 0.0,
    tested: bool = True,
    faults: Sequence[str] = (),
) -> None:
    """Write the page; pictures are taken and written one image at a time.

    An image is predicted anomalous when its score is greater than the threshold.

    Args:
        facts: in the order in which images of equal rank are shown.
        pictures: of each of these images what `pictures_of` gives.
        path: the HTML file.
        title: heading of the page.
        methods: whose scores are shown, and what the page calls them; the first is shown first.
        heatmaps: the same of the kinds of heatmaps.
        thresholds: of each method where the threshold starts: of the images of each group, and of "all"
            (`calibration.by_group`).
        calibration: what these are calibrated on, and for which rate of false alarms, in words; None where
            they are one given value.
        scales: of each group of images.
        added: to each threshold, as the slider of the page does.
        tested: whether it is known which images are anomalous.
        faults: why further images cannot be shown.

    Raises:
        UserError: there is no image, or the file cannot be written.
        ValueError: a score, threshold or scale is absent or not finite.
    """
    if not facts:
        raise UserError("", "There is no image to show in the gallery page", "the dataset needs a test image")
    environment = Environment(
        loader=PackageLoader("drdc.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    lines = "".join(f"--{name}-line: rgb{colour}; " for name, (colour, _) in OUTLINES.items())
    style = Markup(f":root {{ {lines}}}\n") + _part("gallery.css")
    script = _part("scores.js") + _part("gallery.js")
    page = environment.get_template("gallery.html.j2").stream(
        title=title,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        methods=methods,
        heatmaps=heatmaps,
        tested=tested,
        faults=faults,
        grouped=len(scales) > 1 and calibration is not None,
        calibration=calibration,
        added=added,
        opacity=STRENGTH,
        tables=_tables(),
        outlines=OUTLINES,
        halo=HALO,
        settings=_settings(thresholds, scales, methods, heatmaps) | {"added": added},
        facts=list(_checked(facts, list(methods))),
        pictures=pictures,
    )
    with atomic(path) as part:
        page.dump(str(part), encoding="utf-8")


def pictures_of(shown: Shown, scales: Scales) -> Pictures:
    """Every picture of an image as a data URL.

    `image` and `reconstruction` in colours; `truth`, white where the image is anomalous, None where nothing
    is; and each kind of heatmap in grey, from black at the value of a normal pixel to white at twice the
    distance of the pixel threshold, see `heat_of`.
    """
    own = {kind: (shown.heatmaps[kind], *scale) for kind, scale in scales[shown.group].items()}
    return picture_of(Image.fromarray(shown.image), own) | {
        "reconstruction": _jpeg(Image.fromarray(shown.reconstruction)),
        "truth": _png(Image.fromarray(shown.mask)) if shown.mask.any() else None,
    }


def picture_of(image: Image.Image, heatmaps: Mapping[str, tuple[Floats, float, float]]) -> Pictures:
    """The same of an image of which nothing else is known.

    `heatmaps`: of each kind the heatmap (H, W), the value of a normal pixel, and the pixel threshold.
    """
    pictures: Pictures = {"image": _jpeg(image)}
    for kind, (heatmap, usual, threshold) in heatmaps.items():
        step = -(-max(heatmap.shape) // HEATMAP_SIDE)
        grey = 255 * heat_of(heatmap[::step, ::step], usual, threshold) + 0.5
        pictures[kind] = _jpeg(Image.fromarray(grey.astype(np.uint8)))
    return pictures


def _part(name: str) -> Markup:
    """A style sheet or script of this package, put into the page as it is."""
    text = (files("drdc.reporting") / "templates" / name).read_text(encoding="utf-8")
    return Markup(text)


def _hash(text: str) -> str:
    """The hash by which the Content-Security-Policy knows an inline style sheet or script."""
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()


def _tables() -> dict[str, str]:
    """What an SVG filter needs to colour a grey heatmap as `overlay` does: red, green, blue and opacity."""
    heat = np.linspace(0.0, 1.0, STEPS)
    columns = {**dict(zip("RGB", coloured(heat).T / 255.0, strict=True)), "A": opacity_of(heat)}
    return {channel: " ".join(f"{value:.3g}" for value in values) for channel, values in columns.items()}


def _settings(
    thresholds: dict[str, dict[str, float]],
    scales: Scales,
    methods: Mapping[str, str],
    heatmaps: Mapping[str, str],
) -> dict[str, Any]:
    """The data of the script other than the images."""
    names, kinds = list(methods), list(heatmaps)
    groups = [*scales, ALL]
    limits = {
        group: _of_each(names, {name: own[group] for name, own in thresholds.items()}, "threshold")
        for group in groups
    }
    ends: dict[str, dict[str, list[float]]] = {}
    for group, own in scales.items():
        low = _of_each(kinds, {kind: usual for kind, (usual, _) in own.items()}, "scale")
        high = _of_each(kinds, {kind: 2 * top - usual for kind, (usual, top) in own.items()}, "scale")
        ends[group] = {kind: [low[kind], high[kind]] for kind in kinds}
    return {
        "thresholds": {name: {group: limits[group][name] for group in groups} for name in names},
        "scales": ends,
        "methods": dict(methods),
    }


def _checked(facts: Iterable[Facts], methods: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The facts, ready for JSON."""
    names = [field.name for field in fields(Facts)]
    for one in facts:
        scores = _of_each(methods, one.scores, f"score of {one.path!r}")
        yield {name: getattr(one, name) for name in names} | {"scores": scores}


def _of_each(methods: Sequence[str], numbers: Mapping[str, float], name: str) -> dict[str, float]:
    absent = [method for method in methods if method not in numbers]
    if absent:
        raise ValueError(f"{name}: {', '.join(absent)} is missing")
    return {method: _finite(numbers[method], f"{name}, {method}") for method in methods}


def _finite(number: float, name: str) -> float:
    if not isfinite(number):
        raise ValueError(f"{name}: must be finite, but it is {number}")
    return float(number)


def _jpeg(picture: Image.Image) -> str:
    """A picture, reduced to at most `PICTURE_SIDE`, as a data URL."""
    content = io.BytesIO()
    factor = -(-max(picture.size) // PICTURE_SIDE)
    reduced = picture if factor == 1 else picture.reduce(factor)
    reduced.save(content, "JPEG", quality=QUALITY)
    return data_url("image/jpeg", content.getvalue())


def _png(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=3)
    return data_url("image/png", content.getvalue())


def data_url(kind: str, content: bytes) -> str:
    """A file of that media type as an address, so that a page needs nothing from elsewhere."""
    return f"data:{kind};base64,{b64encode(content).decode()}"
