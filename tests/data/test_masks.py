"""What counts as marked, for masks as annotation tools, resizing and lossy formats leave them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from drdc.data.images import decode_mask, resize_mask
from drdc.data.masks import NOISE, Mask, binarise
from drdc.data.regions import regions_after, vanished, write_regions
from drdc.data.samples import Sample
from drdc.runtime.errors import UserError

Marks = NDArray[np.bool_]


def blob(height: int, width: int, y: float, x: float, radius: float) -> Marks:
    rows, columns = np.mgrid[:height, :width]
    wave = 1 + 0.2 * np.sin(5 * np.arctan2(rows - y, columns - x))
    return (rows - y) ** 2 + (columns - x) ** 2 < (radius * wave) ** 2


def crack(height: int, width: int, seed: int, thick: int) -> Marks:
    """A thin line that wanders from left to right."""
    steps = np.random.default_rng(seed).integers(-1, 2, width).cumsum() + height // 2
    mask = np.zeros((height, width), bool)
    for column, row in enumerate(steps[4:-4].clip(8, height - 9), start=4):
        mask[row : row + thick, column] = True
    return mask


@st.composite
def drawn(draw: st.DrawFn) -> Marks:
    height, width = draw(st.integers(48, 90)), draw(st.integers(48, 90))
    kind = draw(st.sampled_from(["blob", "crack", "both"]))
    mask = np.zeros((height, width), bool)
    if kind != "crack":
        place = [draw(st.floats(15, side - 15)) for side in (height, width)]
        mask |= blob(height, width, *place, draw(st.floats(5, 14)))
    if kind != "blob":
        mask |= crack(height, width, draw(st.integers(0, 99)), draw(st.integers(2, 4)))
    return mask


def grey(mask: Marks, value: int = 255) -> Image.Image:
    return Image.fromarray(mask.astype(np.uint8) * np.uint8(value))


def coloured(mask: Marks, colour: tuple[int, int, int]) -> Image.Image:
    return Image.fromarray(mask[..., None] * np.uint8(colour))


def stored(image: Image.Image, kind: str, **options: Any) -> Mask:
    file = io.BytesIO()
    image.save(file, kind, **options)
    with Image.open(file) as read:
        read.load()
        return binarise(read)


def differs(found: Mask, mask: Marks) -> float:
    """How much larger or smaller the marked area is."""
    return abs(int(found.marked.sum()) / int(mask.sum()) - 1)


@given(drawn(), st.sampled_from(["JPEG", "WEBP"]), st.sampled_from([50, 75, 90, 98]))
@settings(max_examples=60, deadline=None)
def test_a_mask_stored_with_loss_keeps_its_area(mask: Marks, kind: str, quality: int) -> None:
    found = stored(grey(mask), kind, quality=quality)
    assert differs(found, mask) < 0.02
    assert not found.marked[~ndimage.binary_dilation(mask, iterations=2)].any(), "ringing is marked"


@given(
    drawn(),
    st.sampled_from([(255, 255, 255), (255, 0, 0), (0, 255, 0), (255, 255, 0), (255, 0, 255)]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([75, 90]),
)
@settings(max_examples=40, deadline=None)
def test_so_does_a_coloured_one_with_any_subsampling(
    mask: Marks, colour: tuple[int, int, int], subsampling: int, quality: int
) -> None:
    found = stored(coloured(mask, colour), "JPEG", quality=quality, subsampling=subsampling)
    assert differs(found, mask) < 0.1
    assert not found.marked[~ndimage.binary_dilation(mask, iterations=2)].any()


@given(
    drawn(), st.sampled_from([Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
)
@settings(max_examples=40, deadline=None)
def test_resized_edges_are_cut_in_the_middle(mask: Marks, how: Image.Resampling) -> None:
    large = np.kron(mask, np.ones((2, 2), bool))
    soft = grey(mask).resize(large.shape[::-1], how)
    deep = Image.fromarray(np.asarray(soft).astype(np.uint16) * 257)
    whole = Image.fromarray(np.asarray(soft).astype(np.float32) / np.float32(255))
    files = [(image, "PNG") for image in (soft, deep, Image.merge("RGB", [soft] * 3))]
    for image, kind in [*files, (whole, "TIFF")]:
        found = stored(image, kind)
        assert found.coding == "soft"
        assert differs(found, large) < 0.08


def test_a_mask_with_loss_saved_again_without_is_still_cut_at_half() -> None:
    mask = crack(64, 80, 1, 3) | blob(64, 80, 20, 60, 9)
    file = io.BytesIO()
    grey(mask, 128).save(file, "JPEG", quality=50)
    with Image.open(file) as lossy:
        found = stored(lossy.convert("L"), "PNG")
    assert found.coding == "soft"
    assert differs(found, mask) < 0.05


@given(st.lists(st.integers(1, 250), min_size=2, max_size=12, unique=True), st.integers(1, 6), st.booleans())
@settings(max_examples=50, deadline=None)
def test_labels_count_above_zero_also_if_they_touch_or_are_thin(
    labels: list[int], thick: int, touching: bool
) -> None:
    values = np.zeros((90, 60), np.uint8)
    step = thick if touching else 7
    for place, label in enumerate(labels):
        values[3 + place * step :][:thick, 4 + place : 50] = label
    if touching and thick < 4 and max(labels) > NOISE:  # thin steps may as well be a soft edge
        return
    for image in (Image.fromarray(values), Image.fromarray(values.astype(np.uint16))):
        assert np.array_equal(stored(image, "PNG").marked, values > 0)
    assert np.array_equal(stored(Image.fromarray(values), "WEBP", lossless=True).marked, values > 0)


@pytest.mark.parametrize("quality", [5, 20, 50, 75, 95])
@pytest.mark.parametrize("level", [0, 1, 3])
def test_a_mask_of_nothing_but_ringing_is_empty(level: int, quality: int) -> None:
    noise = np.random.default_rng(0).integers(0, level + 1, (40, 56), dtype=np.uint8)
    found = stored(Image.fromarray(noise), "JPEG", quality=quality)
    assert not found.marked.any()


@pytest.mark.parametrize("value", [1, 30, 128, 200])
def test_a_small_mark_stored_with_loss_is_found_or_empty(value: int) -> None:
    mask = blob(64, 80, 30, 40, 15)
    found = stored(grey(mask, value), "JPEG", quality=75)
    assert found.coding == "soft"
    if value == 1:
        assert not found.marked.any()
    else:
        assert differs(found, mask) < 0.08


COLOURS = [((120, 120, 120), (6, 230, 230)), ((255, 255, 255), (0, 0, 0)), ((0, 0, 0), (128, 0, 0))]


@pytest.mark.parametrize("colours", COLOURS)
@pytest.mark.parametrize(
    ("kind", "options"),
    [("TIFF", {}), ("BMP", {})]
    + [("PNG", some) for some in ({}, {"bits": 1}, {"transparency": 0}, {"transparency": b"\x00\x80"})],
)
def test_a_palette_means_its_indices(
    colours: tuple[tuple[int, ...], ...], options: dict[str, Any], kind: str
) -> None:
    mask = blob(20, 31, 9, 14, 5)
    image = Image.fromarray(mask.astype(np.uint8), "P")
    image.putpalette([channel for colour in colours for channel in colour])
    assert np.array_equal(stored(image, kind, **options).marked, mask)


def test_a_palette_of_many_labels_means_its_indices() -> None:
    values = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4), np.ones((8, 8), np.uint8))
    image = Image.fromarray(values, "P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    assert np.array_equal(stored(image, "PNG").marked, values > 0)


@pytest.mark.parametrize(("outer", "inner"), [(255, 5), (3, 12), (250, 251)])
def test_an_index_around_another_is_no_soft_edge(outer: int, inner: int) -> None:
    mask = blob(20, 31, 9, 14, 6)
    values = np.where(blob(20, 31, 9, 14, 4), inner, outer) * mask  # as Pascal VOC's border of 255
    image = Image.fromarray(values.astype(np.uint8), "P")
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    assert np.array_equal(stored(image, "PNG").marked, mask)


@pytest.mark.parametrize("colour", [0, 90, 255])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_the_alpha_of_one_colour_is_the_mask(mode: str, kind: str, colour: int) -> None:
    mask = blob(20, 31, 9, 14, 5)
    parts = [np.full(mask.shape, colour, np.uint8)] * (len(mode) - 1) + [mask.astype(np.uint8) * 255]
    image = Image.fromarray(np.dstack(parts), mode)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert np.array_equal(stored(image, kind, **options).marked, mask)


def test_what_is_transparent_is_background_whatever_its_colour() -> None:
    mask = blob(20, 31, 9, 14, 5)
    left = mask & (np.arange(31) < 14)
    white, red, blue = (np.uint8(c) for c in ([255] * 3, [255, 0, 0], [0, 0, 255]))
    colours = np.where(left[..., None], red, np.where(mask[..., None], blue, white))
    image = Image.fromarray(np.dstack([colours, mask.astype(np.uint8) * 255]))
    assert np.array_equal(stored(image, "PNG").marked, mask)
    paint = np.where(mask[..., None], red, np.uint8([0, 0, 0]))
    assert np.array_equal(
        stored(Image.fromarray(np.dstack([paint, mask.astype(np.uint8) * 255])), "PNG").marked, mask
    )


@pytest.mark.parametrize("alpha", [1, 128, 255])
def test_an_alpha_that_is_the_same_everywhere_says_nothing(alpha: int) -> None:
    mask = blob(20, 31, 9, 14, 5)
    parts = [mask.astype(np.uint8) * 255] * 3 + [np.full(mask.shape, alpha, np.uint8)]
    assert np.array_equal(stored(Image.fromarray(np.dstack(parts)), "PNG").marked, mask)


def test_all_transparent_is_empty() -> None:
    image = Image.new("RGBA", (9, 7), (255, 255, 255, 0))
    assert not stored(image, "PNG").marked.any()


@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_a_transparent_colour_is_background(mode: str) -> None:
    mask = blob(20, 31, 9, 14, 5)
    image = grey(~mask).convert(mode)
    white: Any = (255, 255, 255) if mode == "RGB" else 255 if mode == "L" else 1
    assert np.array_equal(stored(image, "PNG", transparency=white).marked, mask)


@pytest.mark.parametrize("values", [(255, 65535), (1, 300), (256, 512), (7, 7)])
@pytest.mark.parametrize(
    ("kind", "channels"), [("png", 1), ("png", 2), ("png", 3), ("png", 4), ("tif", 1), ("tif", 3), ("tif", 4)]
)
def test_no_value_of_sixteen_bits_is_lost(
    tmp_path: Path, kind: str, channels: int, values: tuple[int, int]
) -> None:
    """Two regions; Pillow alone drops the lower eight bits of colours and alpha."""
    first, second = blob(40, 31, 9, 14, 5), blob(40, 31, 30, 14, 5)
    pixels = (first * np.uint16(values[0]) + second * np.uint16(values[1])).astype(np.uint16)
    opaque = [np.full_like(pixels, 65535)] * (channels % 2 == 0)
    path = write_deep(tmp_path / f"mask.{kind}", [pixels] * (channels - len(opaque)) + opaque)
    assert np.array_equal(decode_mask(path, (31, 40)).marked, first | second)


def test_a_mask_of_sixteen_bits_that_is_transparent_in_places_is_refused(tmp_path: Path) -> None:
    mask = blob(20, 31, 9, 14, 5) * np.uint16(65535)
    for alpha in (mask, np.zeros_like(mask)):
        path = write_deep(tmp_path / "mask.png", [mask, mask, mask, alpha])
        with pytest.raises(UserError, match="16 bits and transparent pixels; save it with 8 bits"):
            decode_mask(path, (31, 20))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_where_white_is_zero_the_white_pixels_are_marked(tmp_path: Path, depth: type[np.integer]) -> None:
    mask = blob(20, 31, 9, 14, 5)
    stored_as = np.where(mask, 0, np.iinfo(depth).max).astype(depth)
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, stored_as, photometric="miniswhite")
    assert np.array_equal(decode_mask(path, (31, 20)).marked, mask)


def write_deep(path: Path, channels: list[NDArray[np.uint16]]) -> Path:
    """A PNG or TIFF of 16 bits: grey or RGB, with alpha as the last of two or four channels."""
    pixels = np.dstack(channels) if len(channels) > 1 else channels[0]
    if path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(pixels))
    else:
        colours = "rgb" if len(channels) > 2 else "minisblack"
        extra = ["unassalpha"] if len(channels) % 2 == 0 else None
        tifffile.imwrite(path, pixels, photometric=colours, extrasamples=extra, planarconfig="contig")
    return path


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (0, 0.5)])
def test_float_masks_are_read_and_nan_refused(tmp_path: Path, values: tuple[float, float]) -> None:
    mask = blob(20, 31, 9, 14, 5)
    path = tmp_path / "mask.tif"
    pixels = np.where(mask, values[1], values[0]).astype(np.float32)
    Image.fromarray(pixels).save(path)
    assert np.array_equal(decode_mask(path, (31, 20)).marked, mask)
    pixels[0, 0] = np.nan
    Image.fromarray(pixels).save(path)
    with pytest.raises(UserError, match="NaN or infinite"):
        decode_mask(path, (31, 20))


def test_a_mask_that_fits_only_the_stored_image_is_refused_with_that_hint(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    grey(blob(20, 31, 9, 14, 5)).save(path)
    with pytest.raises(UserError, match=r"31 x 20 pixels and fits its image \(20 x 31\) only as stored"):
        decode_mask(path, (20, 31), turned=6)
    with pytest.raises(UserError, match="31 x 20 pixels but its image is 20 x 31"):
        decode_mask(path, (20, 31), turned=3)


@pytest.mark.parametrize("kind", ["tif", "png", "webp"])
def test_a_mask_of_several_pages_is_refused(tmp_path: Path, kind: str) -> None:
    pages = [grey(blob(20, 31, 9, x, 5)) for x in (10, 20)]
    path = tmp_path / f"mask.{kind}"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match="contains 2 images"):
        decode_mask(path, (31, 20))


# --- regions -------------------------------------------------------------------------------------------


def test_what_resizing_makes_of_regions() -> None:
    mask = np.zeros((80, 80), bool)
    mask[3, 3] = True  # vanishes: every tenth pixel from 5 on is looked at
    mask[14:17, 14:17] = True  # stays
    for column in range(80):
        mask[45 + (column // 10) % 2 * 4, column] = True  # every second piece of a crooked line is hit
    mask[44:50, 9:80:10] = mask[44:50, 9:80:10] | mask[45:46, 9:80:10]
    found = regions_after(mask, 8)
    assert found.regions == ndimage.label(mask, np.ones((3, 3)))[1]
    assert found.left == ndimage.label(resize_mask(mask, 8), np.ones((3, 3)))[1]
    assert found.vanished == 1


def test_regions_split_and_merge() -> None:
    dumbbell = np.zeros((40, 40), bool)
    dumbbell[4:8, 2:38] = True
    dumbbell[5, 12:28] = False
    dumbbell[4, 12:28] = dumbbell[6:8, 12:28] = False
    dumbbell[3, 10:30] = True  # a bridge between the two ends that no looked-at pixel hits
    dumbbell[20:30, 4:13] = dumbbell[20:30, 14:24] = True  # a gap of one pixel
    assert regions_after(dumbbell, 10) == (3, 0, 1, 2, 3)


@given(drawn(), st.integers(4, 100))
@settings(max_examples=30, deadline=None)
def test_no_region_is_lost_from_the_count(mask: Marks, size: int) -> None:
    found = regions_after(mask, size)
    assert found.left == ndimage.label(resize_mask(mask, size), np.ones((3, 3)))[1]
    assert 0 <= found.vanished + found.split <= found.regions
    assert regions_after(np.zeros_like(mask), size) == (0, 0, 0, 0, 0)


def test_regions_are_written_and_a_mask_without_a_pixel_left_is_told(tmp_path: Path) -> None:
    line = np.zeros((64, 64), bool)
    line[30] = True
    samples = [Sample(f"{i}.png", "nut", "test", 1, "bent", f"{i}_mask.png") for i in range(2)]
    found = [(samples[0], regions_after(line, 4)), (samples[1], regions_after(~line, 4))]
    unmasked, good = Sample("x.png", "nut", "test", 1, "bent"), Sample("g.png", "nut", "test", 0, "good")
    (problem,) = vanished(found, 4)
    assert (problem.kind, problem.file) == ("mask-vanishes", "0_mask.png")
    write_regions([*found, (unmasked, None), (good, None)], tmp_path / "regions.csv")
    lines = (tmp_path / "regions.csv").read_text().splitlines()
    assert lines == [
        "path,category,defect_type,regions,vanished,split,merged,left",
        "0.png,nut,bent,1,1,0,0,0",
        "1.png,nut,bent,2,0,0,2,1",
        "x.png,nut,bent,,,,,",
    ]
