"""Figure 3: image by image the input, the ground truth, the three heatmaps and the reconstruction."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from drdc.reporting.declared import figure
from drdc.reporting.figures import DPI, new_figure, no_figure, save
from drdc.reporting.formats import FAILED
from drdc.reporting.shown_images import Floats, Rgb, Shown, ShownImages
from drdc.runtime.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = {
    "input": "input",
    "ground\ntruth": "truth",
    "base\nheatmap": "base",
    "diffusion\nheatmap": "diffusion",
    "fused\nheatmap": "fused",
    "recon-\nstruction": "reconstr.",
}  # heading of a wide panel: of a narrow one
HEATMAPS = ("base", "diffusion", "drdc")
COLOUR_MAP = "inferno"  # perceptually even
TINT = np.array([255.0, 64.0, 64.0])
WIDTH, MAX_HEIGHT = 1200, 2400  # pixels
LABEL, HEAD, FOOT, GAP, BREAK = (
    180,
    64,
    120,
    4,
    14,
)  # pixels: row labels, headings, colour bar, between rows, categories
LETTERS, BAR = 7.0, (480, 20)  # points at most; pixels: width and height of the colour bar
ENDS = (1.0, 99.8)  # percentiles: ends of the colours
SMALLEST, NARROWEST = 60, 960  # pixels: panels, figure


Group = list[Shown]


@figure(
    "fig3",
    of="predictions",
    heading="Figure 3: what the models see.",
    section="paper",
    caption="""
    Input, ground truth (anomalous pixels in red), heatmaps of the base model, of the diffusion model and
    of their fusion (Eq. 17), and the reconstruction by inpainting (Eq. 8). The rows are chosen by rule:
    of each category the anomalous images with the lowest, the median and the highest image score, and the
    normal image with the median score. Look at the lowest: such defects are missed first. Colours run
    from the 1st to the 99.8th percentile of the rows shown, for each category and each kind of heatmap
    separately. The overview has the medians alone.
    """,
    further={
        "overview": "Overview: an image of each category",
        "fig3-{category}": "Figure 3: what the models see, {category}",
    },
)
def fig3(images: ShownImages, path: Path) -> None:
    """Draw Figure 3: the images that `choose` names, all together and category by category.

    Next to `path`, the PNG: `overview.png`, the median image of each category, and `fig3-<category>.png`.
    """
    groups = chosen(images)
    gallery(list(groups.values()), path)
    gallery([[median_of(items)] for items in groups.values()], path.with_name("overview.png"))
    for category, items in groups.items():
        gallery([items], path.with_name(f"fig3-{category}.png"))
    for category in images.untested:
        no_figure(f"{category} has no test images to show.", path.with_name(f"fig3-{category}.png"))
    for category in images.failed:
        no_figure(f"{category} has no scores: {FAILED}.", path.with_name(f"fig3-{category}.png"))


def chosen(images: ShownImages) -> dict[str, Group]:
    """The images of each category that Figure 3 shows."""
    groups = {}
    for category, about in images.scores.groupby("category"):
        places = choose(about["drdc"].to_numpy(), about["label"].to_numpy(), about["defect_type"].tolist())
        rows = about.index[places].tolist()
        shown = dict(zip(sorted(rows), images.shown(rows), strict=True))
        groups[str(category)] = [shown[row] for row in rows]
    return groups


def choose(scores: Floats, labels: NDArray[np.integer], defect_types: Sequence[str]) -> list[int]:
    """Which test images of one category are shown: by a rule, which excludes cherry-picking.

    The anomalous images with the lowest (worst found), the median and the highest (best found) fused image
    score, then the normal image with the median score; of two medians the lower. Ties are broken by defect
    type, then by position. Returns up to four different positions.

    `scores`: (N,) finite; `labels`: (N,) 0 normal, 1 anomalous; `defect_types`: N names. Raises `ValueError`
    for unequal lengths or scores that are not finite.
    """
    if not len(scores) == len(labels) == len(defect_types):
        raise ValueError("scores, labels and defect_types must have the same length")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    ranked = sorted(range(len(scores)), key=lambda i: (float(scores[i]), defect_types[i], i))
    anomalous = [i for i in ranked if labels[i]]
    normal = [i for i in ranked if not labels[i]]
    places = [anomalous[i] for i in (0, (len(anomalous) - 1) // 2, -1)] if anomalous else []
    places += [normal[(len(normal) - 1) // 2]] if normal else []
    return list(dict.fromkeys(places))


def median_of(group: Group) -> Shown:
    """Of the images that `choose` gives, the anomalous one with the median score; else a normal one."""
    anomalous = [one for one in group if one.label]
    return anomalous[(len(anomalous) - 1) // 2] if anomalous else group[0]


def gallery(items: Sequence[Sequence[Shown]], path: Path) -> None:
    """Draw one row per item, grouped by category, as a PNG at most 1200 pixels wide and 2400 high.

    `items`: one list per category. Each kind of heatmap has one colour scale per category, from the 1st to
    the 99.8th percentile of the rows shown. Panels shrink from 170 to 60 pixels to fit, and many categories
    stand in two blocks side by side; if that is not enough (about 70 rows), only the first rows of each
    category are shown and the figure says so. Raises `UserError` when there is no item.
    """
    groups = [list(group) for group in items if group]
    if not groups:
        raise UserError("", "There is no image to show in the gallery", "choose at least one test image")
    blocks, side = _fit(groups)
    canvas, places = _compose(blocks, side)
    height, width, _ = canvas.shape
    figure = new_figure(width / DPI, height / DPI, layout=None)
    figure.figimage(canvas, origin="upper", zorder=-1)
    _label(figure, places, len(blocks), side)
    colour_bar(figure, "kind of heatmap")
    if len(places) < sum(map(len, groups)):
        words = f"{len(places)} of {sum(map(len, groups))}\nrows shown"
        text_at(figure, width - 8, height - FOOT / 2, words, "right")
    save(figure, path)


def _fit(groups: list[Group]) -> tuple[list[list[Group]], int]:
    """The rows that fit, in one or two blocks of categories, and the side of their panels in pixels."""
    for depth in range(max(map(len, groups)), 0, -1):
        shown = [group[:depth] for group in groups]
        half = (len(shown) + 1) // 2
        layouts: list[list[list[Group]]] = [[shown]]
        if len(shown) > 1:
            layouts.append([shown[:half], shown[half:]])
        blocks = max(layouts, key=_side)
        if _side(blocks) >= SMALLEST:
            break
    return blocks, max(_side(blocks), SMALLEST)


def _side(blocks: list[list[Group]]) -> int:
    """The largest panel side in pixels that the width and the height of the figure allow."""
    across = (WIDTH // len(blocks) - LABEL) // len(COLUMNS) - GAP
    down = [(MAX_HEIGHT - HEAD - FOOT - BREAK * len(block)) // sum(map(len, block)) - GAP for block in blocks]
    return min(across, *down)


def _compose(blocks: list[list[Group]], side: int) -> tuple[Rgb, list[tuple[int, int, Shown]]]:
    """The picture without its text, (height, width, 3), and every row's left and top edge in pixels."""
    tall = max(sum(map(len, block)) * (side + GAP) + BREAK * len(block) for block in blocks)
    wide = max(NARROWEST, (len(blocks) - 1) * WIDTH // 2 + _left(len(COLUMNS), side))
    canvas = np.full((HEAD + tall + FOOT, wide, 3), 255, np.uint8)
    places = []
    for index, block in enumerate(blocks):
        start, top = index * WIDTH // 2, HEAD
        for group in block:
            for item, panels in zip(group, _panels(group, side), strict=True):
                for column, panel in enumerate(panels):
                    left = start + _left(column, side)
                    canvas[top : top + side, left : left + side] = panel
                places.append((start, top, item))
                top += side + GAP
            top += BREAK
    return canvas, places


def _panels(group: Group, side: int) -> Iterator[list[Rgb]]:
    """The six panels of every row of one category, each (side, side, 3)."""
    limits = {kind: limits_of(group, kind) for kind in HEATMAPS}
    for item in group:
        maps = [heatmap_panel(item.heatmaps[kind], limits[kind], side) for kind in HEATMAPS]
        yield [resized(item.image, side), marked(item, side), *maps, resized(item.reconstruction, side)]


def limits_of(group: Group, kind: str) -> Floats:
    """Ends of the colour scale of one kind of heatmap of one category."""
    values = np.concatenate([np.asarray(item.heatmaps[kind], np.float64).ravel() for item in group])
    return np.percentile(values, ENDS)


def heatmap_panel(values: Floats, limits: Floats, side: int) -> Rgb:
    """A heatmap in colours, (side, side, 3)."""
    low, high = limits
    unit = np.clip((np.asarray(values, np.float64) - low) / max(high - low, np.finfo(float).tiny), 0.0, 1.0)
    resized = Image.fromarray(unit.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    return coloured(np.asarray(resized, np.float64))


def coloured(unit: Floats) -> Rgb:
    """Values in [0, 1] as colours: (..., 3) uint8."""
    import matplotlib as mpl

    return np.asarray(mpl.colormaps[COLOUR_MAP](unit, bytes=True)[..., :3], np.uint8)


def resized(image: Rgb, side: int) -> Rgb:
    """An image as (side, side, 3)."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def marked(item: Shown, side: int) -> Rgb:
    """The image in dim grey with the anomalous pixels filled in red."""
    image = resized(item.image, side).astype(np.float64)
    grey = 0.55 * image.mean(axis=2, keepdims=True).repeat(3, axis=2)
    cover = resized(item.mask.astype(np.uint8) * 255, side)[..., None] / 255.0
    return np.round(grey * (1.0 - cover) + (0.25 * grey + 0.75 * TINT) * cover).astype(np.uint8)


def _left(column: int, side: int) -> int:
    return LABEL + column * (side + GAP)


def _label(figure: Figure, places: list[tuple[int, int, Shown]], blocks: int, side: int) -> None:
    """Headings and row labels."""
    size = min(LETTERS, side / 5 * 72 / DPI)  # five lines in the height of a panel
    for start in range(0, blocks * WIDTH // 2, WIDTH // 2):
        for column, (long, short) in enumerate(COLUMNS.items()):
            words = long if side > 130 else short
            text_at(figure, start + _left(column, side) + side / 2, HEAD / 2, words, "center", size)
    for start, top, item in places:
        title = f"{item.category}: {item.defect_type}"
        lines = [*_wrapped(title)[:3], f"score {item.scores['drdc']:#.3g}"]
        text_at(figure, start + 8, top + side / 2, "\n".join(lines), size=size)


def colour_bar(figure: Figure, each: str) -> None:
    """What the colours mean, in the lowest `FOOT` pixels; `each`: what has a scale of its own."""
    from matplotlib.cm import ScalarMappable

    width, height = figure.get_size_inches() * DPI
    place = 0.5 - BAR[0] / 2 / width, (FOOT - BAR[1] - 10) / height, BAR[0] / width, BAR[1] / height
    bar = figure.colorbar(ScalarMappable(cmap=COLOUR_MAP), figure.add_axes(place), orientation="horizontal")
    bar.set_ticks([0, 1], labels=[f"{ENDS[0]:g}st percentile", f"{ENDS[1]:g}th percentile"])
    bar.ax.tick_params(labelsize=LETTERS, length=2, pad=2)
    bar.set_label(f"anomaly score of a pixel; a scale for each category and {each}", size=LETTERS)
    bar.outline.set_visible(False)


def _wrapped(title: str) -> list[str]:
    """The title in lines that fit next to the panels, broken at spaces, hyphens and underscores."""
    return [line.replace("_ ", "_") for line in textwrap.wrap(title.replace("_", "_ "), 14)]


def text_at(
    figure: Figure, x: float, y: float, words: str, align: str = "left", size: float = LETTERS
) -> None:
    """Words at `x`, `y` pixels from the upper left corner, vertically centred."""
    width, height = figure.get_size_inches() * DPI
    figure.text(x / width, 1.0 - y / height, words, ha=align, va="center", size=size, parse_math=False)
