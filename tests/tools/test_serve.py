"""`drdc serve` as somebody uses it: a real server, a real browser, good pictures and broken ones."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium
from PIL import Image

from drdc.detection.detector import Detector
from drdc.detection.model_file import load_model_file, save_model_file

FIRST_RATE = 0.08  # where the page's slider stands: the smallest that 12 held-out images allow


@pytest.fixture(scope="module")
def model(exported: Path) -> Path:
    """The folder of a tiny trained and exported experiment, calibrated on 12 held-out images."""
    return exported


@contextmanager
def serving(
    *options: str, temporary: Path, end: signal.Signals = signal.SIGINT
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """(address, process) of `drdc serve` with its temporary files in a folder; ended by a signal."""
    process = subprocess.Popen(
        [sys.executable, "-m", "drdc", "serve", "--port", "0", *options],
        env=os.environ | {"TMPDIR": str(temporary)},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # which `nohup` ignores
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        found = re.match(r"http://\S+", process.stdout.readline())
        assert found, process.communicate(timeout=60)
        urllib.request.urlopen(found[0], timeout=120).close()  # it answers
        yield found[0], process
    finally:
        process.send_signal(end)
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def address(model: Path, uploads: Path) -> Iterator[str]:
    with serving("--model", str(model), temporary=uploads) as (address, _):
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    with opened(browser, address) as page:
        yield page


@contextmanager
def opened(browser: Any, address: str) -> Iterator[Any]:
    """The page; at the end it may have asked this server alone, and nothing may have broken."""
    foreign: list[str] = []
    faults: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    inside = (address, "data:", "blob:")
    page.on("request", lambda request: request.url.startswith(inside) or foreign.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address)
    field(page).wait_for(state="attached")
    yield page
    context.close()
    assert foreign == []
    assert faults == []


@pytest.fixture(scope="module")
def good(model: Path) -> Path:
    return next((model / "dataset/wood/test").glob("*/*.png"))


def field(page: Any) -> Any:
    return page.locator("#upload input[type=file]")


def drop(page: Any, *paths: Path) -> str:
    """What the page says of files, once it has looked at them: a list, or the verdict of a single image."""
    page.evaluate("document.querySelectorAll('.summary, .verdict').forEach(own => own.dataset.old = 1)")
    field(page).set_input_files(paths)
    page.wait_for_function(ENDED, timeout=60_000)
    said = page.locator("#found").inner_text().strip()
    return said or page.locator("#verdict").inner_text()


#: Nothing is there of before or on its way, and the best image is shown large, or there is none.
ENDED = """() => {
  const found = document.querySelector("#found");
  const ended = found.querySelector("[aria-current], .problem:only-child") || !found.innerText.trim();
  const passing = document.querySelector("[data-old], [data-testid=status-tracker] .progress-text");
  return ended && !passing && document.querySelector("#verdict dl, .problem");
}"""


def facts(page: Any) -> dict[str, float]:
    """The numbers under the verdict."""
    pairs = page.locator("#verdict dl div").all()
    return {pair.locator("dt").inner_text(): float(pair.locator("dd").inner_text()) for pair in pairs}


def pixels_shown(page: Any, name: str) -> list[int]:
    """Width and height of a picture on the page."""
    shown = page.locator(f"#{name} img")
    shown.wait_for()
    return shown.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])")


def test_an_image_gives_the_detectors_score_and_an_overlay(page: Any, model: Path, good: Path) -> None:
    said = drop(page, good)
    expected = Detector.load(model).detect(good, false_alarm_rate=FIRST_RATE)
    assert said.startswith(f"{expected.verdict}\n{good.name}\n")
    assert f"p-value: {expected.p_value_in_words}." in said
    found = facts(page)
    assert found["score"] == pytest.approx(expected.score, rel=1e-3)
    assert found["threshold"] == pytest.approx(expected.threshold, rel=1e-3)
    assert found["p-value"] == pytest.approx(expected.p_value, abs=1e-3)
    for name in ("image", "outline", "heatmap", "overlay"):
        assert pixels_shown(page, name) == [64, 64]


def names(page: Any) -> list[str]:
    """Of the images in the list."""
    return page.locator(".cards bdi").all_inner_texts()


def defective(folder: Path, good: Path, side: int) -> Path:
    """A good image with a bright square of this side."""
    image = Image.open(good).convert("RGB")
    image.paste((255, 0, 200), (8, 8, 8 + side, 8 + side))
    image.save(folder / f"blot{side}.png")
    return folder / f"blot{side}.png"


def test_many_images_are_listed_with_their_verdicts_the_most_anomalous_first(
    page: Any, model: Path, tmp_path: Path, good: Path
) -> None:
    unusable(tmp_path, "cut.png", good)
    files = [good, tmp_path / "cut.png", *(defective(tmp_path, good, side) for side in (12, 30))]
    said = drop(page, *files)
    usable = [path for path in files if path.name != "cut.png"]
    found = Detector.load(model).detect_many(usable, false_alarm_rate=FIRST_RATE)
    expected = dict(zip(usable, found, strict=True))
    order = sorted(usable, key=lambda path: expected[path].threshold - expected[path].score)
    assert names(page) == [path.name for path in order]
    assert page.locator(".cards strong").all_inner_texts() == [expected[path].verdict for path in order]
    assert said.startswith(f"{sum(one.anomalous for one in expected.values())} anomalous, ")
    assert "1 unusable. The most anomalous first" in said
    assert "cut.png: not a readable image" in said
    assert page.locator("#verdict strong").inner_text() == expected[order[0]].verdict
    for path in reversed(order):
        page.locator(".cards button", has=page.get_by_text(path.name, exact=True)).click()
        page.locator("#verdict bdi", has_text=path.name).wait_for()
        assert facts(page)["score"] == pytest.approx(expected[path].score, rel=1e-3)
        assert page.locator(".cards [aria-current] bdi").inner_text() == path.name


def test_the_rate_judges_every_image_of_the_list(page: Any, model: Path, tmp_path: Path, good: Path) -> None:
    files = [good, defective(tmp_path, good, 30)]
    drop(page, *files)
    page.locator("#rate input[type=range]").press("End")
    page.wait_for_function("() => document.querySelector('#verdict').innerText.includes('at most 50 %')")
    found = Detector.load(model).detect_many(files, false_alarm_rate=0.5)
    assert sorted(page.locator(".cards strong").all_inner_texts()) == sorted(one.verdict for one in found)


def test_more_images_than_are_taken_at_once_are_left_out_by_name(
    page: Any, tmp_path: Path, good: Path
) -> None:
    """Ninety-nine of them are damaged, which takes no time."""
    files = [good, *(tmp_path / f"{number:03}.png" for number in range(101))]
    for path in files[1:]:
        path.write_bytes(f"no picture {path.name}".encode())
    said = drop(page, *files)
    assert "1 normal, 101 unusable" in said or "1 anomalous, 101 unusable" in said
    assert said.count("not a readable image") == 99
    assert "100.png: is left out, because only 100 images are taken at once; drop it afterwards" in said


def test_nothing_is_cut_off_on_a_narrow_screen(page: Any, tmp_path: Path, good: Path) -> None:
    page.set_viewport_size({"width": 400, "height": 800})
    unusable(tmp_path, "cut.png", good)
    drop(page, good, tmp_path / "cut.png", defective(tmp_path, good, 30))
    wide = """() => [...document.querySelectorAll("#found *, #view *")].filter(own => own.checkVisibility()
      && own.getBoundingClientRect().right > innerWidth).map(own => own.outerHTML)"""
    assert page.evaluate(wide) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 400


def test_the_slider_moves_the_threshold_and_not_the_score(page: Any, model: Path, good: Path) -> None:
    drop(page, good)
    before = facts(page)
    slider = page.locator("#rate input[type=range]")
    slider.focus()
    slider.press("End")
    page.wait_for_function("() => document.querySelector('#verdict').innerText.includes('at most 50 %')")
    after = facts(page)
    expected = Detector.load(model).detect(good, false_alarm_rate=0.5)
    assert after["threshold"] == pytest.approx(expected.threshold, rel=1e-3) != before["threshold"]
    assert after["score"] == before["score"]


def test_category_and_fast_mode_are_used(page: Any, model: Path, good: Path) -> None:
    drop(page, good)
    page.locator("#rate input[type=range]").press("End")
    compare(page, "wood")
    told(page, "category wood")
    page.locator("#fast input").check()
    options = {"category": "wood", "false_alarm_rate": 0.5, "fast": True}
    expected = Detector.load(model).detect(good, **options)
    told(page, f"{expected.score:.4g}")
    assert facts(page)["threshold"] == pytest.approx(expected.threshold, rel=1e-3)


def compare(page: Any, category: str) -> None:
    """Choose with what images are compared."""
    page.locator("#category input").click()
    page.get_by_role("option", name=category, exact=True).click()


def told(page: Any, text: str) -> None:
    """Wait until the verdict says this."""
    page.wait_for_function("text => document.querySelector('#verdict')?.innerText.includes(text)", arg=text)


def test_an_image_is_read_with_the_range_of_the_category_that_is_chosen(
    browser: Any, model: Path, tmp_path: Path, good: Path
) -> None:
    """Where they differ an image of 16 bits can only be used once one is chosen, and again for another."""
    _, tensors, about = load_model_file(model)
    ranges = {"setting": None, "categories": {"capsule": 16, "wood": 12}}
    save_model_file(tmp_path / "deep.safetensors", tensors, about | {"ranges": ranges})
    detector, photo = Detector.load(tmp_path / "deep.safetensors"), tmp_path / "deep.png"
    Image.fromarray(np.asarray(Image.open(good).convert("L")).astype(np.uint16) * 16).save(photo)
    options = {"false_alarm_rate": FIRST_RATE}
    found = {name: detector.detect(photo, category=name, **options) for name in ("wood", "capsule")}
    assert found["wood"].score != pytest.approx(found["capsule"].score, rel=1e-2)
    model_options = "--model", str(tmp_path / "deep.safetensors")
    with serving(*model_options, temporary=tmp_path) as (address, _), opened(browser, address) as page:
        assert "deep.png: the range of its grey values depends on the category" in drop(page, photo)
        for name, expected in found.items():
            compare(page, name)
            told(page, f"{expected.score:.4g}")
            assert page.locator("#verdict strong").inner_text() == expected.verdict


def awkward(folder: Path, name: str) -> Path:
    """A picture file of an uncommon kind."""
    pixels = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
    path = folder / name
    if name == "deep.png":
        Image.fromarray(pixels[..., 0].astype(np.uint16) << 8).save(path)
    elif name == "clear.png":
        Image.fromarray(np.dstack([pixels, pixels[..., :1]])).save(path)
    elif name == "turned.jpg":
        exif = Image.Exif()
        exif[0x0112] = 6  # stored lying on its side
        Image.fromarray(pixels).save(path, exif=exif)
    else:
        Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("deep.png", [96, 48]),
        ("clear.png", [96, 48]),
        ("turned.jpg", [48, 96]),
        ("film.TIF", [96, 48]),
        ("<img src=x onerror=alert(1)>${1} {{7}}.webp", [96, 48]),
    ],
)
def test_uncommon_pictures_are_looked_at(page: Any, tmp_path: Path, name: str, size: list[int]) -> None:
    said = drop(page, awkward(tmp_path, name))
    assert said.startswith(("Anomalous", "Looks normal")), said
    assert pixels_shown(page, "overlay") == size


def unusable(folder: Path, name: str, good: Path) -> Path:
    """A file that the page cannot look at."""
    path = folder / name
    if name == "cut.png":
        path.write_bytes(good.read_bytes()[:200])
    elif name == "text.png":
        path.write_text("no picture", encoding="utf-8")
    elif name == "empty.jpg":
        path.touch()
    elif name == "large.bmp":
        path.write_bytes(os.urandom(21 * 2**20))
    else:
        path.write_bytes(large_png(*((10_000, 6_000) if name == "wide.png" else (30_000, 30_000))))
    return path


def large_png(width: int, height: int) -> bytes:
    """A file of a few bytes that says it holds a picture of this size."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b""))]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in [*parts, (b"IEND", b"")]
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_the_field_is_freed_at_the_beginning_of_a_drop_alone(model: Path, good: Path, tmp_path: Path) -> None:
    """Freed later, it would lose what was dropped meanwhile."""
    import gradio as gr

    from drdc.detection import web_page

    visit = web_page.Visit(Detector.load(model))
    paths = [shutil.copy(good, tmp_path / f"{number}.png") for number in range(2)]
    first, *others = [field for field, *_ in visit.new(paths, (), 0.1, web_page.LIKE, False)]
    assert first is None
    assert others
    assert all(field == gr.skip() for field in others)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("cut.png", "cut.png: not a readable image"),
        ("text.png", "text.png: not a readable image"),
        ("empty.jpg", "empty.jpg: not a readable image"),
        ("wide.png", "wide.png: has 10000 x 6000 pixels, more than 50 million; resize it"),
        ("bomb.png", "bomb.png: has 30000 x 30000 pixels, more than 50 million; resize it"),
        ("large.bmp", "large.bmp: is larger than 20 MB; reduce it, or use `drdc detect`"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_and_the_page_goes_on(
    page: Any, tmp_path: Path, good: Path, uploads: Path, name: str, sentence: str
) -> None:
    said = drop(page, unusable(tmp_path, name, good))
    assert sentence in said
    assert str(uploads) not in page.content(), "no path of the server is told"
    assert "Traceback" not in page.content()
    assert page.locator("#overlay img").count() == 0
    assert drop(page, good).startswith(("Anomalous", "Looks normal"))


def test_another_kind_of_file_is_refused_by_name(page: Any, tmp_path: Path) -> None:
    (tmp_path / "page.svg").write_text("<svg/>", encoding="utf-8")
    field(page).set_input_files(tmp_path / "page.svg")
    page.get_by_text("Invalid file type").first.wait_for()


def test_two_visitors_at_once_both_get_their_own_result(browser: Any, address: str, model: Path) -> None:
    pictures = sorted((model / "dataset").glob("*/test/*/*.png"))[:2]
    pages = [browser.new_page() for _ in pictures]
    for page in pages:
        page.goto(address)
        field(page).wait_for(state="attached")
    for page, picture in zip(pages, pictures, strict=True):
        field(page).set_input_files(picture)
    for page, picture in zip(pages, pictures, strict=True):
        page.locator("#verdict dl").wait_for()
        expected = Detector.load(model).detect(picture, false_alarm_rate=FIRST_RATE)
        assert facts(page)["score"] == pytest.approx(expected.score, rel=1e-3)
        page.close()


def test_an_upload_is_deleted_when_the_next_one_comes(
    page: Any, tmp_path: Path, good: Path, uploads: Path
) -> None:
    first = tmp_path / "first-of-two.png"
    first.write_bytes(good.read_bytes() + b"x")  # another content: uploads are stored by content
    before = set(uploads.rglob("*.npz"))  # pictures of other visitors
    drop(page, first)
    assert list(uploads.rglob("first-of-two.png"))
    pictures = set(uploads.rglob("*.npz")) - before
    assert len(pictures) == 1
    drop(page, good)
    assert not list(uploads.rglob("first-of-two.png"))
    assert not any(path.exists() for path in pictures)
    assert drop(page, good, first).count(".png") == 2, "dropped again"


def test_only_this_computer_is_answered(address: str) -> None:
    """Not another of its addresses, nor a foreign name that a browser was told stands for it."""
    port = int(address.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/", headers={"Host": "elsewhere.example"})
    assert connection.getresponse().status == 400
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_no_other_file_of_this_computer_is_given_out(address: str, model: Path) -> None:
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    for path in ("/etc/passwd", str(model / "detectors/drdc.safetensors"), __file__):
        connection.request("GET", f"/gradio_api/file={path}")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 403


def test_a_caller_can_name_no_file_and_no_address(address: str) -> None:
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    for path in ("/etc/passwd", "http://127.0.0.1:1/x"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = json.dumps({"data": [file, None, 0.1, "wood", False], "fn_index": 0, "session_hash": "x"})
        connection.request("POST", "/gradio_api/queue/join", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 403


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_when_it_is_ended_it_leaves_no_upload(
    model: Path, tmp_path: Path, browser: Any, good: Path, end: signal.Signals
) -> None:
    with serving("--model", str(model), temporary=tmp_path, end=end) as (address, process):
        page = browser.new_page()
        page.goto(address)
        field(page).wait_for(state="attached")
        drop(page, good)
        page.close()
        assert list(tmp_path.rglob(good.name))
    assert process.returncode == 0
    assert not list(tmp_path.iterdir())
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()


@pytest.mark.long
def test_other_computers_are_let_in_only_with_a_warning(model: Path, tmp_path: Path) -> None:
    with serving("--model", str(model), "--host", "0.0.0.0", temporary=tmp_path) as (_, process):
        pass
    assert process.stderr is not None
    assert "warning: everyone who can reach 0.0.0.0" in process.stderr.read()


def refused(*options: str, **environment: str) -> str:
    """What `drdc serve` says before it ends with exit code 2."""
    done = subprocess.run(
        [sys.executable, "-m", "drdc", "serve", *options],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.long
def test_what_cannot_be_served_is_one_sentence(model: Path, tmp_path: Path) -> None:
    assert "detectors/drdc.safetensors: is missing" in refused("--model", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert "cannot listen there" in refused("--model", str(model), "--port", port)
    (tmp_path / "gradio.py").write_text("raise ImportError", encoding="utf-8")
    said = refused("--model", str(model), PYTHONPATH=str(tmp_path))
    assert "run `pip install -e '.[serve]'`" in said
