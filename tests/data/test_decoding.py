"""Image files of every depth, colour, alignment and kind, damaged ones and such of several pages."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from drdc.data import decoding
from drdc.data.checks import training_ranges
from drdc.data.decoding import decode
from drdc.data.depth import Deep, Ranges
from drdc.data.images import pixel_digest, read_rgb, to_square
from drdc.data.pictures import read_picture
from drdc.data.samples import Sample
from drdc.runtime.errors import UserError

DEPTHS = (8, 10, 12, 14, 16)
GREY = np.random.default_rng(0).integers(0, 256, (6, 9)).astype(np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (6, 9, 3)).astype(np.uint8)
GREY[0, 0] = COLOUR[0, 0, 0] = 255  # a picture that uses its range


def deep(picture: np.ndarray, bits: int) -> np.ndarray:
    """8-bit values spread over a range of `bits`."""
    return np.round(picture * ((2**bits - 1) / 255)).astype(np.uint16)


def tiff(values: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    options = {"photometric": "rgb" if values.ndim == 3 else "minisblack"} | options
    tifffile.imwrite(file, values, metadata=None, **options)
    return file.getvalue()


def pillow(picture: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(file, kind, **options)
    return file.getvalue()


def with_sbit(png: bytes, bits: int, channels: int) -> bytes:
    """A PNG with a chunk that tells its significant bits, after the header's chunk."""
    body = b"sBIT" + bytes([bits] * channels)
    chunk = struct.pack(">I", channels) + body + struct.pack(">I", imagecodecs.zlib_crc32(body))
    return png[:33] + chunk + png[33:]


def packed(values: np.ndarray, bits: int, photometric: int) -> bytes:
    """A TIFF whose values of `bits` bits follow each other without a gap in each row."""
    rows = values.reshape(len(values), -1)
    pixels = np.packbits(
        (rows[..., None] >> np.arange(bits)[::-1] & 1).reshape(len(rows), -1), axis=1
    ).tobytes()
    channels = values.shape[2] if values.ndim == 3 else 1
    after = struct.pack("<3H", *[bits] * 3)
    fields = {256: values.shape[1], 257: values.shape[0], 258: bits, 259: 1, 262: photometric, 277: channels}
    fields |= {273: 0, 278: values.shape[0], 279: len(pixels)}
    start = 8 + 2 + 12 * len(fields) + 4
    fields |= {273: start + len(after)} | ({258: start} if channels == 3 else {})
    entries = [
        struct.pack("<HHII", tag, 3 if tag == 258 else 4, channels if tag == 258 else 1, value)
        for tag, value in sorted(fields.items())
    ]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(fields))
    return head + b"".join(entries) + b"\0" * 4 + after + pixels


def pnm(values: np.ndarray, white: int, text: bool = False) -> bytes:
    kind = (2 if text else 5) + (values.ndim == 3)
    head = b"P%d # comment\n# one more\n%d %d\n%d\n" % (kind, values.shape[1], values.shape[0], white)
    return head + (b" ".join(b"%d" % v for v in values.ravel()) if text else values.astype(">u2").tobytes())


Form = Callable[[np.ndarray, int], bytes]
#: Files whose range follows from the file alone.
FORMS: dict[str, Form] = {
    "png right": lambda p, b: imagecodecs.png_encode(deep(p, b)),
    "png right, sBIT": lambda p, b: with_sbit(imagecodecs.png_encode(deep(p, b)), b, 1 if p.ndim == 2 else 3),
    "png left, sBIT": lambda p, b: with_sbit(
        imagecodecs.png_encode(deep(p, b) << (16 - b)), b, 1 if p.ndim == 2 else 3
    ),
    "png alpha": lambda p, b: imagecodecs.png_encode(
        np.dstack([deep(p, b), np.full(p.shape[:2], 2**b - 1, "u2")])
    ),
    "tiff right": lambda p, b: tiff(deep(p, b)),
    "tiff left": lambda p, b: tiff(deep(p, b) << (16 - b)),
    "tiff tagged": lambda p, b: tiff(deep(p // 4, b), extratags=[(281, 3, 1, 2**b - 1, True)]),
    "tiff big-endian lzw": lambda p, b: tiff(deep(p, b), byteorder=">", compression="lzw", predictor=True),
    "tiff tiled deflate": lambda p, b: tiff(deep(p, b), tile=(16, 16), compression="zlib"),
    "tiff packed": lambda p, b: (
        packed(deep(p, b), b, 2 if p.ndim == 3 else 1) if b < 16 else tiff(deep(p, b))
    ),
    "pnm": lambda p, b: pnm(deep(p, b), 2**b - 1) if b > 8 else pillow(p, "PPM"),
    "pnm text": lambda p, b: pnm(deep(p, b), 2**b - 1, text=True),
    "jp2": lambda p, b: imagecodecs.jpeg2k_encode(
        deep(p, b) if b > 8 else p, level=0, bitspersample=b, reversible=True
    ),
}


@given(form=st.sampled_from(sorted(FORMS)), bits=st.sampled_from(DEPTHS), colour=st.booleans())
@settings(max_examples=150, deadline=None)
def test_the_same_picture_at_any_depth_in_any_file_has_the_same_8_bits(
    form: str, bits: int, colour: bool
) -> None:
    picture = COLOUR if colour else GREY
    wanted = (picture // 4 if form == "tiff tagged" else picture).astype(int)
    found = np.asarray(decode(FORMS[form](picture, bits)).rgb()).astype(int)
    assert np.abs(found - (wanted if colour else wanted[..., None])).max() <= 1


@pytest.mark.parametrize("bits", [1, 8, *range(9, 17)])
def test_white_is_zero_at_any_depth(bits: int) -> None:
    picture = (GREY > 99) * np.uint8(255) if bits == 1 else GREY
    stored = 2**bits - 1 - deep(picture, bits)
    content = packed(stored, bits, 0) if bits < 16 else tiff(stored, photometric="miniswhite")
    assert np.abs(np.asarray(decode(content).rgb())[..., 0].astype(int) - picture).max() <= 1


def test_white_is_zero_follows_the_range_of_the_training_images() -> None:
    decoded = decode(tiff(4095 - deep(GREY // 8 + 224, 12), photometric="miniswhite"))  # fits in 10 bits
    assert decoded.bits == 10
    assert np.abs(np.asarray(decoded.rgb(12))[..., 0].astype(int) - (GREY // 8 + 224)).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_images_are_turned_as_shallow_ones(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    shallow = decode(pillow(GREY, "PNG", exif=exif)).rgb()
    for file in (
        pillow(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG", exif=exif),
        tiff(GREY.astype(np.uint16) * 257, extratags=[(274, 3, 1, orientation, True)]),
    ):
        assert pixel_digest(decode(file).rgb()) == pixel_digest(shallow)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_any_file_says_how_it_was_turned(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode(pillow(GREY, kind, exif=exif)).turned == orientation


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (GREY.astype(np.float32), "type float32"),
        (GREY.astype(np.float16), "type float16"),
        (GREY.astype(np.uint32) * 70000, "outside 16 bits"),
        (GREY.astype(np.int16) - 300, "outside 16 bits"),
    ],
)
def test_values_without_a_known_range_are_refused(values: np.ndarray, text: str) -> None:
    with pytest.raises(UserError, match=text):
        decode(tiff(values))
    with pytest.raises(UserError, match="neither grey nor RGB"):
        decode(tiff(np.dstack([deep(COLOUR, 16), GREY]), photometric="separated"))


def test_signed_values_above_zero_are_read() -> None:
    decoded = decode(tiff(deep(GREY, 12).astype(np.int16)))
    assert decoded.bits == 12
    assert np.array_equal(decode(tiff((GREY // 2).astype(np.int8))).rgb(), np.dstack([GREY // 2] * 3))


@pytest.mark.parametrize("kind", [np.int8, np.int16])
def test_negative_values_are_refused(kind: type) -> None:
    with pytest.raises(UserError, match="has values from -1 to 100"):
        decode(tiff(np.array([[-1, 100]], kind)))


@pytest.mark.parametrize(("kind", "bits"), [("PPM", 8), ("JPEG2000", 8), ("PNG", 8), ("PNG", 16)])
def test_the_range_of_a_category_is_that_of_its_images_of_more_than_8_bits(
    kind: str, bits: int, tmp_path: Path
) -> None:
    picture = GREY if bits == 8 else Image.fromarray(deep(GREY, 16))
    (tmp_path / "1.x").write_bytes(pillow(picture, kind))
    sample = Sample("1.x", "nut", "train", 0, "good")
    expected = {} if bits == 8 else {"nut": 16}
    assert training_ranges([sample], tmp_path, None, 1).categories == expected


# --- the range of a category -----------------------------------------------------------------------------


def test_the_range_holds_all_training_images_of_a_category() -> None:
    ranges = Ranges.measured([("nut", 10), ("nut", 12), ("cap", 16), ("nut", 8)])
    assert ranges.categories == {"nut": 12, "cap": 16}
    dark = decode(tiff(deep(GREY // 8, 12)))
    assert (dark.bits, ranges.bits(dark, "nut"), ranges.notes(dark, "nut")) == (10, 12, {})
    assert Ranges.measured([("nut", 12)], setting=14).bits(dark, "nut") == 14


def test_categories_that_differ_need_a_name() -> None:
    dark = decode(tiff(deep(GREY, 12)))
    assert Ranges(categories={"nut": 12, "cap": 12}).bits(dark, None) == 12
    with pytest.raises(UserError, match=r"cap 16, nut 12\); give the category"):
        Ranges(categories={"nut": 12, "cap": 16}).bits(dark, None)
    for certain in (pnm(deep(GREY, 12), 4095), pillow(GREY, "PNG")):
        Ranges(categories={"nut": 12, "cap": 16}).bits(decode(certain), None)


def test_what_is_beyond_the_range_is_told_and_white() -> None:
    ranges, bright = Ranges(categories={"nut": 12}), decode(tiff(deep(GREY, 14)))
    assert "are beyond 12 bits and were clipped" in ranges.notes(bright, "nut")["beyond-range"]
    assert np.asarray(bright.rgb(12)).max() == 255


def test_a_model_of_8_bit_images_tells_that_it_guesses() -> None:
    guessed = Ranges().notes(decode(tiff(deep(GREY, 12))), None)
    assert "read as 12 bits by this image alone" in guessed["range-guessed"]
    assert Ranges().notes(decode(pillow(GREY, "PNG")), None) == {}


# --- pictures from Python --------------------------------------------------------------------------------


def test_the_key_follows_the_pixels_not_the_file(tmp_path: Path) -> None:
    keys = set()
    for name, content in {
        "a.png": pillow(COLOUR, "PNG"),
        "b.png": pillow(COLOUR, "PNG", compress_level=1),
        "c.bmp": pillow(COLOUR, "BMP"),
        "d.webp": pillow(COLOUR, "WEBP", lossless=True),
        "e.png": imagecodecs.png_encode(COLOUR.astype(np.uint16) * 257),
    }.items():
        (tmp_path / name).write_bytes(content)
        keys.add(read_picture(tmp_path / name).key)
    keys |= {read_picture(COLOUR).key, read_picture(Image.fromarray(COLOUR)).key}
    keys |= {read_picture(deep(COLOUR, 12)).key, read_picture(deep(COLOUR, 14), bits=14).key}
    assert len(keys) == 1
    assert read_picture(GREY).key == read_picture(Image.fromarray(deep(GREY, 12)), bits=12).key


# --- several pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP", "MPO"])
def test_a_second_page_is_refused(kind: str) -> None:
    other = Image.fromarray(255 - COLOUR)
    with pytest.raises(UserError, match="contains 2 images; save each in a file of its own"):
        decode(pillow(COLOUR, kind, save_all=True, append_images=[other]))


def test_stacks_are_refused() -> None:
    stack = np.stack([GREY] * 3)
    file = io.BytesIO()
    tifffile.imwrite(file, stack.astype(np.uint16), imagej=True)
    for content in (
        file.getvalue(),
        tiff(stack, photometric="minisblack"),
        tiff(stack, photometric="minisblack", volumetric=True, tile=(1, 16, 16)),
    ):
        with pytest.raises(UserError, match="contains 3 images"):
            decode(content)


@pytest.mark.parametrize(("kind", "first"), [(1, True), (1, False), (4, False)])
@pytest.mark.parametrize("scale", [1, 257])
def test_thumbnails_and_masks_are_no_page(kind: int, first: bool, scale: int) -> None:
    """Wherever they lie in the file: as its first page a thumbnail is not taken for the image."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for small in (first, not first):
            if small and kind == 4:
                writer.write(GREY > 99, subfiletype=kind, photometric="minisblack")
            elif small:
                writer.write(GREY[::2, ::2], subfiletype=kind)
            else:
                writer.write(GREY.astype(np.uint16) * 257 if scale > 1 else GREY)
    assert np.array_equal(np.asarray(decode(file.getvalue()).rgb())[..., 0], GREY)


def test_previews_of_phones_are_no_page() -> None:
    image = Image.fromarray(np.kron(COLOUR, np.ones((8, 8, 1), np.uint8)))
    preview = image.resize((36, 24))
    found = decode(pillow(image, "MPO", save_all=True, append_images=[preview]))
    assert found.rgb().size == image.size


def test_a_thumbnail_that_nothing_marks_is_refused() -> None:
    with pytest.raises(UserError, match="contains 2 images"):
        decode(pillow(GREY[::2, ::2], "TIFF", save_all=True, append_images=[Image.fromarray(GREY)]))


# --- damage ----------------------------------------------------------------------------------------------

SHADES = np.random.default_rng(2).normal(128, 20, (96, 96, 3)).clip(0, 255).astype(np.uint8)
ENCODINGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 4},
    "full colour": {"subsampling": 0, "quality": 100},
    "optimised": {"optimize": True, "quality": 30},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_cut_jpeg_with_an_end_mark_is_refused_and_a_whole_one_not(encoding: str, mode: str) -> None:
    whole = pillow(Image.fromarray(SHADES).convert(mode), "JPEG", **ENCODINGS[encoding])
    padding = whole[:-2] + b"\0\0\xff\xff\xd9"
    for good in (whole, whole + b"after the end", whole + whole, padding):
        assert np.asarray(decode(good).rgb()).shape == SHADES.shape
    for part in (0.5, 0.7, 0.95):
        with pytest.raises(UserError, match=r"not a readable image \(damaged inside"):
            decode(whole[: int(part * len(whole))] + b"\xff\xd9")
        with pytest.raises(UserError, match="not a readable image"):
            decode(whole[: int(part * len(whole))])


def test_a_jpeg_with_damaged_pixels_is_refused() -> None:
    whole = bytearray(pillow(SHADES, "JPEG"))
    for i in range(len(whole) // 2, len(whole) // 2 + 60):
        whole[i] = (whole[i] + 37) % 255
    with pytest.raises(UserError, match="damaged inside"):
        decode(bytes(whole))


@pytest.mark.parametrize("before", ["fill bytes", "revision", "both"])
def test_damage_is_found_behind_what_is_harmless(before: str) -> None:
    whole = pillow(SHADES, "JPEG")
    if before != "fill bytes":
        whole = whole.replace(b"JFIF\0\1", b"JFIF\0\3")
    if before != "revision":  # which some cameras write, here before two markers
        for marker in (b"\xff\xda", b"\xff\xc4"):
            whole = whole.replace(marker, b"\0\0\0" + marker, 1)
    assert np.array_equal(np.asarray(decode(whole).rgb()), np.asarray(decode(pillow(SHADES, "JPEG")).rgb()))
    damaged = bytearray(whole)
    for i in range(len(whole) // 2, len(whole) // 2 + 60):
        damaged[i] = (damaged[i] + 37) % 255
    with pytest.raises(UserError, match="damaged inside"):
        decode(bytes(damaged))


@pytest.mark.parametrize("form", ["png right", "tiff right", "tiff tiled deflate", "jp2", "pnm", "pnm text"])
def test_cut_deep_files_are_refused(form: str) -> None:
    whole = FORMS[form](np.kron(COLOUR, np.ones((9, 9, 1), np.uint8)), 12)
    with pytest.raises(UserError, match="replace or remove the file"):
        decode(whole[: len(whole) * 2 // 3])


# --- sizes and kinds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1)])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_line_scans_are_read_and_resized(tmp_path: Path, size: tuple[int, int], kind: type) -> None:
    path = tmp_path / "line.tif"
    path.write_bytes(tiff(np.full(size, 200 * (257 if kind is np.uint16 else 1), kind)))
    image = read_rgb(path)
    assert image.size == size[::-1]
    assert np.all(to_square(image, 16) == 200)


def test_large_images_are_read_up_to_a_limit_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Image.MAX_IMAGE_PIXELS is None  # Pillow's limit
    monkeypatch.setattr(decoding, "LARGEST", 50)
    for content in (pillow(GREY, "PNG"), tiff(deep(GREY, 16))):
        with pytest.raises(UserError, match="has 9 x 6 pixels, more than"):
            decode(content)


@pytest.mark.parametrize("kind", ["PPM", "JPEG2000", "PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("mode", ["1", "L", "RGB"])
def test_shallow_files_of_each_kind(kind: str, mode: str) -> None:
    if (kind, mode) == ("JPEG2000", "1"):
        return
    image = Image.fromarray(COLOUR).convert(mode)
    options = {"irreversible": False} if kind == "JPEG2000" else {}
    assert pixel_digest(decode(pillow(image, kind, **options)).rgb()) == pixel_digest(image.convert("RGB"))


@pytest.mark.parametrize("kind", ["GIF", "ICO", "PDF"])
def test_other_kinds_are_refused(kind: str) -> None:
    with pytest.raises(UserError, match="it is not one of PNG, JPEG"):
        decode(pillow(COLOUR, kind))


def test_a_deep_file_is_no_shallow_one() -> None:
    assert isinstance(decode(tiff(deep(GREY, 16))), Deep)
