"""The page gallery.html in a real browser: what it counts, shows and filters, and that names stay text."""

import io
import json
import re
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import chromium
from PIL import Image

from drdc.config.variants import COMPARED
from drdc.data.synthetic import render
from drdc.reporting.browser import picture_of, pictures_of, write_gallery
from drdc.reporting.overlay import LINE, overlay
from drdc.reporting.shown_images import Facts, Scales, Shown
from drdc.runtime.errors import UserError
from drdc.stages.gallery import HEATMAPS, TITLES

HOSTILE = (
    "<img src=x onerror=\"document.title='broken'\">",
    "</script><script>document.title='broken'</script>",
    "<!--<script>",
    "line one\nline two",
    "'\"`${1}\\u003c & &lt;",
    "缺陷/ひび割れ/трещина/éß\u202egnp.png",
    "not-utf8-\udcff.png",
    "__proto__",
)
#: What Chromium says of a dialog's heading where something has the focus already.
HARMLESS = "Autofocus processing was blocked"
THRESHOLDS = {"base": 5.0, "drdc": 0.5}
SCALES: Scales = {"": dict.fromkeys(HEATMAPS, (0.0, 0.6))}  # one group of images
FACTS = [field.name for field in fields(Facts)]


def shown(number: int, category: str = "gear", defect_type: str = "good", *, size: int = 24) -> Shown:
    rng = np.random.default_rng(number)
    label = int(defect_type != "good")
    mask = np.zeros((size, size), bool)
    if label:
        mask[size // 4 : size // 2, size // 3 : size // 2] = True
    return Shown(
        path=f"{category}/test/{defect_type}/{number:03d}.png",
        category=category,
        group="",
        defect_type=defect_type,
        label=label,
        scores={"base": float(rng.normal(4 + 2 * label)), "drdc": float(rng.normal(0.4 + 0.2 * label, 0.1))},
        image=rng.integers(0, 256, (size, size, 3), dtype=np.uint8),
        reconstruction=np.full((size, size, 3), 128, np.uint8),
        mask=mask,
        heatmaps={kind: mask + 0.2 * rng.random((size, size)) for kind in HEATMAPS},
    )


def many() -> list[Shown]:
    """150 images, more than two pages of cards; two of them with equal scores, at the start threshold."""
    kinds = {"gear": ("good", "crack", "stain"), "wood": ("good", "crack"), "01": ("good", "hole")}
    pairs = [(category, kind) for category, names in kinds.items() for kind in names]
    images = [shown(number, *pairs[number % len(pairs)]) for number in range(150)]
    images[0] = replace(images[0], scores=THRESHOLDS)
    images[1] = replace(images[1], scores=THRESHOLDS)
    return images


def of_groups(thresholds: dict[str, float], **others: float) -> dict[str, dict[str, float]]:
    """Of each method those of all images, of the one group, and of others as multiples of these."""
    times = {"": 1.0, "all": 1.0} | others
    return {name: {group: own * value for group, own in times.items()} for name, value in thresholds.items()}


def write(images: list[Shown], path: Path, **changes: Any) -> Path:
    values = {"title": "Title", "thresholds": of_groups(THRESHOLDS), "scales": SCALES, **changes}
    values = {"calibration": "40 held-out normal images", "methods": TITLES, "heatmaps": HEATMAPS} | values
    write_gallery(images, (pictures_of(image, values["scales"]) for image in images), path, **values)
    return path


def facts_in(path: Path) -> list[dict[str, Any]]:
    (facts,) = blocks_in(path, "facts")
    return facts


def blocks_in(path: Path, name: str) -> list[Any]:
    pattern = rf'<script type="application/json" id="{name}">(.*?)</script>'
    return [json.loads(text) for text in re.findall(pattern, path.read_text("utf-8"))]


# --- the file -----------------------------------------------------------------------------------------


def test_same_images_give_the_same_bytes_and_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    first, again = (write(many()[:5], tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == again
    assert first != write(many()[:5], tmp_path / "c.html", title="Another").read_bytes()
    assert not re.search(rb"https?:|src=\"(?!data:)|url\((?!#)|@import", first)


def test_every_image_is_carried_with_its_facts_and_pictures(tmp_path: Path) -> None:
    images = many()[:7]
    path = write(images, tmp_path / "g.html")
    given = [{name: getattr(image, name) for name in FACTS} for image in images]
    assert facts_in(path) == json.loads(json.dumps(given))
    for index, image in enumerate(images):
        (pictures,) = blocks_in(path, f"pictures-{index}")
        assert set(pictures) == {"image", "reconstruction", "truth", *HEATMAPS}
        assert (pictures["truth"] is None) == (image.label == 0)


def test_hostile_names_leave_no_markup_in_the_file(tmp_path: Path) -> None:
    images = [replace(shown(i, name, "good"), path=name) for i, name in enumerate(HOSTILE)]
    path = write(images, tmp_path / "g.html", title="<script>alert(1)</script>")
    assert [facts["path"] for facts in facts_in(path)] == list(HOSTILE)
    text = path.read_text("utf-8")
    assert "<img src=x" not in text
    assert "<script>alert" not in text
    assert text.count("<script") == text.count("</script>") == 3 + len(images)


def test_images_are_taken_one_at_a_time(tmp_path: Path) -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def stream() -> Iterator[Shown]:
        for number in range(6):
            assert sum(reference() is not None for reference in alive) <= 1
            image = shown(number)
            alive.append(weakref.ref(image.image))
            yield image
            del image

    images = [shown(number) for number in range(6)]
    about = {"thresholds": of_groups(THRESHOLDS), "calibration": "", "scales": SCALES}
    about |= {"methods": TITLES, "heatmaps": HEATMAPS}
    pictures = (pictures_of(image, SCALES) for image in stream())
    write_gallery(images, pictures, tmp_path / "g.html", title="t", **about)
    assert len(alive) == 6


def test_an_image_of_224_pixels_takes_little_space(tmp_path: Path) -> None:
    picture, mask = render("gear", "stain", 0, split="test", seed=0, size=224)
    smooth = dict.fromkeys(HEATMAPS, mask * 0.9)
    image = replace(
        shown(0, "gear", "stain"), image=picture, reconstruction=picture, mask=mask, heatmaps=smooth
    )
    assert len(json.dumps(pictures_of(image, SCALES))) < 20_000


def test_what_cannot_be_shown_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "g.html"
    with pytest.raises(UserError, match="no image to show"):
        write([], path)
    with pytest.raises(ValueError, match=r"score of .*000.png.*, drdc: must be finite"):
        write([replace(shown(0), scores={"base": 1.0, "drdc": float("nan")})], path)
    with pytest.raises(ValueError, match="threshold: drdc is missing"):
        write([shown(0)], path, thresholds={"base": {"": 1.0, "all": 1.0}})
    with pytest.raises(ValueError, match="scale: drdc, base, diffusion is missing"):
        write([shown(0)], path, scales={"": {}})
    assert not list(tmp_path.iterdir())


# --- the page in a browser ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def gallery_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(many(), tmp_path_factory.mktemp("page") / "gallery.html", title="Made images")


@pytest.fixture
def open_page(browser: Any) -> Iterator[Any]:
    """Opens a file; at the end of the test, nothing may have been complained of or asked from a network."""
    complaints: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})

    def opened(path: Path) -> Any:
        page = context.new_page()
        page.on(
            "console", lambda message: message.text.startswith(HARMLESS) or complaints.append(message.text)
        )
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith("http") and complaints.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    context.close()
    assert complaints == []


@pytest.fixture
def page(open_page: Any, gallery_path: Path) -> Any:
    return open_page(gallery_path)


def outcome(image: Shown, method: str, threshold: float) -> str:
    predicted = image.scores[method] > threshold
    return {(1, True): "found", (1, False): "missed", (0, True): "alarm", (0, False): "passed"}[
        image.label, predicted
    ]


def counts_on(page: Any) -> dict[str, int]:
    buttons = page.locator("button[data-outcome]").all()
    return {button.get_attribute("data-outcome"): int(button.locator("b").inner_text()) for button in buttons}


def expected_counts(images: list[Shown], method: str, threshold: float) -> dict[str, int]:
    counted = Counter(outcome(image, method, threshold) for image in images)
    return {name: counted[name] for name in ("found", "missed", "passed", "alarm")}


def paths_on(page: Any) -> list[str]:
    return page.locator(".card .path").all_text_contents()


def all_paths(page: Any) -> list[str]:
    """Those of this page of images and of all that follow."""
    paths = paths_on(page)
    while page.locator("#later").is_enabled() and page.locator("#later").is_visible():
        page.locator("#later").click()
        paths += paths_on(page)
    return paths


def worst_first(image: Shown, method: str = "drdc") -> float:
    margin = image.scores[method] - THRESHOLDS[method]
    return (margin or -5e-324) if image.label else -margin


def test_counts_follow_the_threshold_for_both_methods(page: Any) -> None:
    images = many()
    for method in COMPARED:
        page.locator(f"input[name=method][value={method}]").check()
        assert counts_on(page) == expected_counts(images, method, THRESHOLDS[method])
        for quantile in (0.0, 0.2, 0.5, 0.9, 1.0):
            threshold = float(np.quantile([image.scores[method] for image in images], quantile))
            page.locator("#number").fill(repr(threshold))
            assert counts_on(page) == expected_counts(images, method, threshold)
        page.get_by_role("button", name="Reset").click()
        assert counts_on(page) == expected_counts(images, method, THRESHOLDS[method])


def test_slider_and_number_field_say_the_same(page: Any) -> None:
    slider, number = page.locator("#slider"), page.locator("#number")
    slider.focus()
    for key in ("Home", "PageUp", "ArrowRight", "End", "ArrowLeft"):
        slider.press(key)
        threshold = float(number.input_value())
        assert threshold == pytest.approx(float(slider.input_value()), abs=1e-2)
        assert counts_on(page) == expected_counts(many(), "drdc", threshold)
    slider.press("Home")
    assert counts_on(page)["missed"] == counts_on(page)["passed"] == 0
    slider.press("End")
    assert counts_on(page)["found"] == counts_on(page)["alarm"] == 0
    number.fill("")
    assert counts_on(page)["found"] == 0  # an empty field changes nothing


def test_counts_are_announced_and_quality_is_told_by_category(page: Any) -> None:
    page.locator("#quality summary").click()
    expected = {}
    for name in ("01", "gear", "wood", "all"):
        group = [image for image in many() if name in ("all", image.category)]
        counts = expected_counts(group, "drdc", 0.5)
        precision = counts["found"] / (counts["found"] + counts["alarm"])
        recall = counts["found"] / (counts["found"] + counts["missed"])
        numbers = [counts[key] for key in ("found", "missed", "alarm", "passed")]
        expected[name] = [name, f"{precision:.3f}", f"{recall:.3f}", *map(str, numbers)]
    rows = [row.locator("th, td").all_inner_texts() for row in page.locator("#rows tr").all()]
    assert rows == list(expected.values())
    told = "{3} found, {4} missed, {5} false alarms, {6} correctly passed; precision {1}, recall {2}"
    announced = page.get_by_role("status").filter(has_text="found")
    announced.wait_for(state="attached")
    assert announced.inner_text() == told.format(*expected["all"])
    page.locator("#slider").press("End")
    assert page.locator("#rows tr").last.locator("td").first.inner_text() == "n/d"


def test_filters_combine_and_counts_cover_images_without_a_card(page: Any) -> None:
    images = many()
    assert page.locator(".card").count() == 60
    page.locator("select[name=category]").select_option("gear")
    gear = [image for image in images if image.category == "gear"]
    assert counts_on(page) == expected_counts(gear, "drdc", 0.5)
    defects = page.locator("select[name=defect] option").all_inner_texts()
    assert [text.split(" ")[0] for text in defects] == ["all", "crack", "good", "stain"]
    page.locator("select[name=defect]").select_option("crack")
    cracks = [image for image in gear if image.defect_type == "crack"]
    page.locator("input[name=search]").fill("CRACK/00")
    cracks = [image for image in cracks if "crack/00" in image.path]
    assert len(cracks) > 1
    assert counts_on(page) == expected_counts(cracks, "drdc", 0.5)
    page.locator("button[data-outcome=found]").click()
    found = {image.path for image in cracks if outcome(image, "drdc", 0.5) == "found"}
    assert set(paths_on(page)) == found
    assert counts_on(page) == expected_counts(cracks, "drdc", 0.5)  # whatever the outcome asked for
    page.locator("button[data-outcome=missed]").click()
    assert set(paths_on(page)) == {image.path for image in cracks}
    page.locator("input[name=search]").fill("nothing like this")
    assert page.get_by_text("No image matches").is_visible()


def test_a_defect_type_that_a_new_category_lacks_is_dropped(page: Any) -> None:
    page.locator("select[name=defect]").select_option("stain")
    page.locator("select[name=category]").select_option("wood")
    wood = [image for image in many() if image.category == "wood"]
    assert sum(counts_on(page).values()) == len(wood)


def test_outcomes_of_shown_cards_change_with_the_threshold(page: Any) -> None:
    page.locator("button[data-outcome=alarm]").click()
    for threshold in (0.4, 0.55):
        page.locator("#number").fill(str(threshold))
        alarms = [image for image in many() if outcome(image, "drdc", threshold) == "alarm"]
        assert sorted(paths_on(page)) == sorted(image.path for image in alarms)[:60]
        assert set(page.locator(".badge").all_inner_texts()) == {"false alarm"}


@pytest.mark.parametrize("method", COMPARED)
def test_orders(page: Any, method: str) -> None:
    images, threshold = many(), THRESHOLDS[method]
    keys = {
        "falling": lambda image: -image.scores[method],
        "rising": lambda image: image.scores[method],
        "category": lambda image: (image.category, image.defect_type, image.path),
        "margin": lambda image: abs(image.scores[method] - threshold),
        "worst": lambda image: worst_first(image, method),
    }
    page.locator(f"input[name=method][value={method}]").check()
    for order, key in keys.items():
        page.locator("select[name=sort]").select_option(order)
        assert all_paths(page) == [image.path for image in sorted(images, key=key)], order


def test_misses_and_false_alarms_come_first_and_move_with_the_threshold(page: Any) -> None:
    for threshold in (0.5, 0.62):
        page.locator("#number").fill(str(threshold))
        wrong = sum(outcome(image, "drdc", threshold) in ("missed", "alarm") for image in many())
        assert 10 < wrong < 60
        badges = page.locator(".badge").all_inner_texts()
        assert set(badges[:wrong]) == {"missed", "false alarm"}
        assert not {"missed", "false alarm"} & set(badges[wrong:])


def test_pages_turn_and_take_the_focus_to_their_first_card(page: Any) -> None:
    earlier, later = page.locator("#earlier"), page.locator("#later")
    assert earlier.is_disabled()
    seen = set()
    for told, count in (("1 to 60", 60), ("61 to 120", 60), ("121 to 150", 30)):
        assert page.locator("#range").inner_text() == f"{told} of 150"
        assert page.locator(".card").count() == count
        seen |= set(paths_on(page))
        if count == 60:
            later.click()
            first = page.locator(".card").first
            assert first.evaluate("(card) => card === document.activeElement")
    assert len(seen) == 150
    assert later.is_disabled()
    earlier.click()
    assert page.locator("#range").inner_text() == "61 to 120 of 150"
    page.locator("input[name=search]").fill("gear")
    assert page.locator("#range").inner_text().startswith("1 to 60 of "), "from the start"


def test_of_many_images_only_one_page_is_drawn_and_all_are_counted(open_page: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    one = shown(0, "gear", "crack", size=8)
    scores = [{"base": float(base), "drdc": float(drdc)} for base, drdc in rng.random((3000, 2))]
    images = [replace(one, path=f"gear/{i}.png", scores=own) for i, own in enumerate(scores)]
    page = open_page(write(images, tmp_path / "g.html"))
    for threshold in (0.5, 0.1):
        page.locator("#number").fill(str(threshold))
        assert counts_on(page) == expected_counts(images, "drdc", threshold)
    for _ in range(3):
        page.locator("#later").click()
    assert page.locator(".card").count() == 60
    assert page.locator("#grid img").count() == 240
    assert page.locator("#range").inner_text() == "181 to 240 of 3000"


def test_it_is_used_before_the_pictures_are_read(open_page: Any, gallery_path: Path, tmp_path: Path) -> None:
    """What a browser has of the file in the middle of the pictures, and of one of them."""
    whole = gallery_path.read_text("utf-8")
    for last, kept in ((75, 75), (0, 0)):
        end = whole.index(f'id="pictures-{last}"') + 2000
        part = tmp_path / f"{last}.html"
        part.write_text(whole[:end], "utf-8")
        page = open_page(part)
        assert counts_on(page) == expected_counts(many(), "drdc", 0.5)
        page.locator("select[name=sort]").select_option("falling")
        ranked = sorted(range(150), key=lambda place: -many()[place].scores["drdc"])[:60]
        drawn = page.locator(".card", has=page.locator(".under:visible")).count()
        assert drawn == sum(place < kept for place in ranked)
        page.locator("#slider").press("End")
        assert counts_on(page)["found"] == 0
        page.locator(".card").first.click()
        assert page.get_by_role("dialog").is_visible()


LOADED = """async (selector) => {
  const pictures = [...document.querySelectorAll(selector)].filter((picture) => !picture.closest("[hidden]"));
  await Promise.all(pictures.map((picture) => picture.decode()));
  return pictures.map((picture) => picture.naturalWidth);
}"""


def test_pictures_load(page: Any) -> None:
    widths = page.evaluate(LOADED, ".card img")
    assert len(widths) > 180
    assert min(widths) == 24
    page.locator(".card").first.click()
    assert page.evaluate(LOADED, "dialog .stack img") == [24] * 8


def test_view_controls_change_every_card(page: Any) -> None:
    page.locator("select[name=sort]").select_option("falling")
    heat, under = page.locator(".card .heat"), page.locator(".card .under")
    for opacity in ("0", "0.75"):
        page.locator("input[name=opacity]").fill(opacity)
        styles = heat.evaluate_all("(all) => all.map((one) => getComputedStyle(one).opacity)")
        assert set(styles) == {opacity}
    sources = "(all) => all.map((one) => one.src)"
    seen = set()
    for kind in HEATMAPS:
        page.locator(f"input[name=heatmap][value={kind}]").check()
        seen.add(tuple(heat.evaluate_all(sources)))
        assert page.locator(".card .found").evaluate_all(sources) == heat.evaluate_all(sources)
    assert len(seen) == 3
    assert len(set(under.evaluate_all(sources))) == 60
    page.get_by_label("Reconstruction").check()
    assert len(set(under.evaluate_all(sources))) == 1  # all made grey


def test_outlines_are_switched_each_for_itself(page: Any) -> None:
    page.locator("select[name=sort]").select_option("falling")
    anomalous = page.locator(".card .kind").filter(has_not_text="good").count()
    assert anomalous > 0
    for truth in (True, False):
        for found in (True, False):
            page.locator("input[name=truth]").set_checked(truth)
            page.locator("input[name=found]").set_checked(found)
            visible = [page.locator(f".card .{name}:visible").count() for name in ("truth", "found")]
            assert visible == [anomalous * truth, 60 * found]


def test_a_card_is_drawn_as_the_overlay_of_detect(open_page: Any, tmp_path: Path) -> None:
    """The browser's filters against the drawing in Python, on a heatmap with a known peak."""
    rows, columns = np.mgrid[:256, :256]
    distance = np.hypot(rows - 150, columns - 90)
    heatmap = 1.4 * np.exp(-(distance**2) / 3000)
    radius = np.sqrt(3000 * np.log(1.4 / SCALES[""]["drdc"][1]))  # where it is the pixel threshold
    image = np.stack([rows, columns, np.full_like(rows, 90)], axis=2).astype(np.uint8)
    one = replace(
        shown(0),
        image=image,
        mask=np.zeros((256, 256), dtype=bool),
        heatmaps=dict.fromkeys(HEATMAPS, heatmap.astype(np.float32)),
    )
    page = open_page(write([one], tmp_path / "g.html"))
    page.evaluate(LOADED, ".card img")
    drawn = Image.open(io.BytesIO(page.locator(".card .stack").screenshot())).convert("RGB")
    expected = overlay(Image.fromarray(image), heatmap, *SCALES[""]["drdc"]).resize(drawn.size)
    difference = np.abs(np.asarray(drawn, float) - np.asarray(expected, float)).max(2)
    rim = np.asarray(Image.fromarray(np.abs(distance - radius) < 8).resize(drawn.size))
    inside = np.zeros_like(rim)
    inside[5:-5, 5:-5] = True  # the corners are round
    assert difference[inside & ~rim].max() < 25
    assert difference[inside & ~rim].mean() < 4
    line = np.abs(np.asarray(drawn, float) - LINE).max(2) < 40
    assert line[rim].sum() > 200
    assert not line[~rim].any()


def test_the_large_view_is_used_by_keyboard(page: Any) -> None:
    ranked = sorted(many(), key=worst_first)
    page.locator("input[name=found]").focus()
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.className") == "card":
            break
    assert page.locator(".card").first.evaluate("(card) => card === document.activeElement")
    page.keyboard.press("Enter")
    dialog, title = page.get_by_role("dialog"), page.locator("#large-title")
    assert title.inner_text() == ranked[0].path
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert title.inner_text() == ranked[2].path
    page.keyboard.press("ArrowLeft")
    assert title.inner_text() == ranked[1].path
    assert page.locator("#place").inner_text() == "2 of 150"
    page.keyboard.press("Escape")
    assert dialog.is_hidden()
    focused = page.locator(".card:focus")
    focused.filter(has_text=ranked[1].path).wait_for()
    page.keyboard.press("Enter")
    for _ in range(2):
        page.keyboard.press("ArrowLeft")  # round to the last, which is on another page
    page.get_by_role("button", name="Close").click()
    focused.filter(has_text=ranked[-1].path).wait_for()


def test_leaving_the_large_view_takes_no_field_from_a_user_who_is_there_already(page: Any) -> None:
    """The event of its closing comes late."""
    page.locator(".card").first.click()
    page.evaluate("byId('large').close(); fields.search.focus()")
    page.evaluate("new Promise((done) => setTimeout(done, 50))")
    assert page.evaluate("document.activeElement === fields.search")


def test_the_large_view_tells_both_scores_and_the_truth(page: Any) -> None:
    image = many()[0]  # normal, both scores equal to the thresholds: not greater, so passed
    page.locator("input[name=search]").fill(image.path)
    page.locator(".card").click()
    text = page.get_by_role("dialog").inner_text()
    assert re.search(r"DRDC: score 0\.500\d*, threshold 0\.500\d*, correctly passed", text)
    assert re.search(r"Base model: score 5\.00\d*, threshold 5\.00\d*, correctly passed", text)
    assert "nothing marked" in text
    assert "0.00" in text
    assert "1.20" in text  # the colour scale's ends


def test_hostile_names_are_shown_as_text_and_run_nothing(open_page: Any, tmp_path: Path) -> None:
    images = [replace(shown(i, name, name), path=name) for i, name in enumerate(HOSTILE)]
    page = open_page(write(images, tmp_path / "g.html", title=HOSTILE[1]))
    assert sorted(paths_on(page)) == sorted(HOSTILE)
    assert page.locator("h1").inner_text() == page.title() == HOSTILE[1]
    page.locator(".card").first.click()
    titles = []
    for _ in HOSTILE:
        titles.append(page.locator("#large-title").text_content())
        page.keyboard.press("ArrowRight")
    assert titles == paths_on(page)
    page.keyboard.press("Escape")
    page.locator("input[name=search]").fill("<SCRIPT>")
    assert set(paths_on(page)) == {HOSTILE[1], HOSTILE[2]}
    page.locator("input[name=search]").fill("")
    page.locator("select[name=category]").select_option(index=1)
    assert page.locator(".card").count() == 1
    assert page.locator("img[src=x]").count() == 0
    assert page.title() == HOSTILE[1]


def test_a_foreign_script_is_refused(browser: Any, gallery_path: Path, tmp_path: Path) -> None:
    """The policy must hold even if markup slipped through: here some is put in by hand."""
    bad = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script></body>"
    tampered = tmp_path / "tampered.html"
    tampered.write_text(gallery_path.read_text("utf-8").replace("</body>", bad), "utf-8")
    page = browser.new_page()
    refusals: list[str] = []
    page.on("console", lambda message: refusals.append(message.text))
    page.goto(tampered.as_uri())
    page.locator(".card").first.wait_for()
    assert page.title() == "Made images"
    assert sum("Content Security Policy" in refusal for refusal in refusals) >= 2
    page.close()


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.locator("#quality summary").click()
    overflow = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0
    page.locator(".card").first.click()
    assert page.locator("dialog").evaluate("(dialog) => dialog.scrollWidth - dialog.clientWidth") == 0
    assert page.evaluate(overflow) == 0


def test_every_control_has_a_name_and_a_visible_focus(page: Any) -> None:
    nameless = """() => [...document.querySelectorAll("form input, form select, form button")]
      .filter((one) => !(one.labels?.length || one.ariaLabel || one.textContent.trim()))
      .map((one) => one.outerHTML)"""
    assert page.evaluate(nameless) == []
    page.locator("input[name=method]").first.focus()
    for _ in range(12):
        page.keyboard.press("Tab")
        style = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        assert style == "solid", page.evaluate("() => document.activeElement.outerHTML")


def test_one_image_is_enough(open_page: Any, tmp_path: Path) -> None:
    page = open_page(write([replace(shown(0), scores=THRESHOLDS)], tmp_path / "g.html"))
    assert counts_on(page) == {"found": 0, "missed": 0, "passed": 1, "alarm": 0}
    page.locator("#slider").press("Home")
    assert counts_on(page)["alarm"] == 1
    page.locator(".card").click()
    page.keyboard.press("ArrowRight")
    assert page.locator("#place").inner_text() == "1 of 1"


def test_further_methods_have_scores_heatmaps_and_thresholds_of_their_own(
    open_page: Any, tmp_path: Path
) -> None:
    """Names with '-' and '_' too; the large view has a panel for each."""
    images = []
    for image in many()[:6]:
        scores = image.scores | {"one-more": 10.0 * image.label}
        images.append(replace(image, scores=scores, heatmaps=image.heatmaps | {"one-more": image.mask * 1.0}))
    thresholds = of_groups(THRESHOLDS | {"one-more": 5.0})
    scales = {"": SCALES[""] | {"one-more": (0.0, 0.5)}}
    names = {"methods": TITLES | {"one-more": "one-more"}, "heatmaps": HEATMAPS | {"one-more": "one-more"}}
    page = open_page(write(images, tmp_path / "g.html", thresholds=thresholds, scales=scales, **names))
    page.check("input[name=method][value=one-more]")
    page.check("input[name=heatmap][value=one-more]")
    anomalous = sum(image.label for image in images)
    assert page.locator("[data-outcome=found] b").inner_text() == str(anomalous)
    assert page.locator("[data-outcome=alarm] b").inner_text() == "0"
    page.locator(".card").filter(has_text="found").first.click()
    assert page.locator("figure[data-picture=one-more]").is_visible()
    assert "one-more: score 10" in page.locator("#large-one-more").inner_text()


# --- thresholds of groups -----------------------------------------------------------------------------

#: The thresholds of groups, as multiples of those of all images.
TIMES = {"gear": 1.0, "wood": 1.2, "01": 0.8}


@pytest.fixture
def grouped(open_page: Any, tmp_path: Path) -> Any:
    """Images compared within their categories: wood at 1.2 times the threshold, 01 at 0.8."""
    return open_page(write_grouped(tmp_path / "g.html"))


def write_grouped(path: Path, **changes: Any) -> Path:
    images = [replace(image, group=image.category) for image in many()]
    scales = {name: dict.fromkeys(HEATMAPS, (0.0, 0.6 * own)) for name, own in TIMES.items()}
    return write(images, path, **{"thresholds": of_groups(THRESHOLDS, **TIMES), "scales": scales} | changes)


def grouped_counts(added: float, method: str = "drdc") -> dict[str, int]:
    counts: Counter[str] = Counter()
    for image in many():
        counts[outcome(image, method, THRESHOLDS[method] * TIMES[image.category] + added)] += 1
    return {name: counts[name] for name in ("found", "missed", "passed", "alarm")}


def test_each_group_has_its_threshold_until_one_for_all_is_chosen(grouped: Any) -> None:
    for method in COMPARED:
        grouped.locator(f"input[name=method][value={method}]").check()
        assert counts_on(grouped) == grouped_counts(0.0, method)
        assert counts_on(grouped) != expected_counts(many(), method, THRESHOLDS[method])
    grouped.locator("input[name=method][value=drdc]").check()
    grouped.locator("#number").fill("0.05")
    assert counts_on(grouped) == grouped_counts(0.05)
    grouped.locator("input[name=compared][value=all]").check()
    assert counts_on(grouped) == expected_counts(many(), "drdc", 0.5)
    assert float(grouped.locator("#number").input_value()) == pytest.approx(0.5)
    grouped.locator("#number").fill("0.45")
    assert counts_on(grouped) == expected_counts(many(), "drdc", 0.45)
    grouped.locator("input[name=compared][value=own]").check()
    assert counts_on(grouped) == grouped_counts(0.0), "from its start"


def test_the_slider_starts_at_what_was_added(open_page: Any, tmp_path: Path) -> None:
    page = open_page(write_grouped(tmp_path / "g.html", added=0.05))
    number, calibrated = page.locator("#number"), page.locator("#calibrated")
    assert counts_on(page) == grouped_counts(0.05)
    assert (float(number.input_value()), float(calibrated.inner_text())) == (0.05, 0.0)
    number.fill("0.1")
    page.locator("#reset").click()
    assert counts_on(page) == grouped_counts(0.05)
    page.locator("input[name=compared][value=all]").check()
    assert counts_on(page) == expected_counts(many(), "drdc", 0.55)
    assert (float(number.input_value()), float(calibrated.inner_text())) == (0.55, 0.5)


def test_a_given_threshold_is_one_for_all_and_not_called_calibrated(open_page: Any, tmp_path: Path) -> None:
    given = of_groups({"base": 4.0, "drdc": 0.4}, **dict.fromkeys(TIMES, 1.0))
    page = open_page(write_grouped(tmp_path / "g.html", thresholds=given, calibration=None))
    assert counts_on(page) == expected_counts(many(), "drdc", 0.4)
    assert page.get_by_text("given, not calibrated: 0.4").is_visible()
    assert float(page.locator("#number").input_value()) == 0.4
    assert not page.locator("input[name=compared]").first.is_visible()


def test_with_groups_the_order_is_by_the_distance_from_the_own_threshold(grouped: Any) -> None:
    grouped.locator("select[name=sort]").select_option("falling")
    ranked = sorted(many(), key=lambda image: -(image.scores["drdc"] - 0.5 * TIMES[image.category]))
    assert all_paths(grouped) == [image.path for image in ranked]


def test_the_large_view_has_the_threshold_and_the_scale_of_the_images_group(grouped: Any) -> None:
    grouped.locator("select[name=category]").select_option("wood")
    grouped.locator(".card").first.click()
    assert "threshold 0.6" in grouped.locator("#large-drdc").inner_text()
    ends = grouped.locator("figure[data-picture=drdc] .scale i").all_inner_texts()
    assert [float(end) for end in ends] == [0.0, 1.44]


def test_of_a_single_group_there_is_nothing_to_choose(page: Any) -> None:
    assert not page.locator("input[name=compared]").first.is_visible()


# --- images of which nothing is known -----------------------------------------------------------------


def test_without_ground_truth_images_are_anomalous_or_normal_and_boxes_are_drawn(
    open_page: Any, tmp_path: Path
) -> None:
    """As `drdc detect` writes it: no outcome, defect type or reconstruction, and images of any shape."""
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (48, 96, 3), dtype=np.uint8)) for _ in range(6)]
    facts = [
        Facts(
            path=f"photos/{i}.png", category="lid", group="lid", defect_type="", label=None,
            scores={"drdc": i / 5}, size=(96, 48), boxes=((10, 20, 30, 8),) * (i % 3),
        )
        for i in range(6)
    ]  # fmt: skip
    heat = np.zeros((48, 96))
    heat[20:28, 10:40] = 1
    path = tmp_path / "index.html"
    write_gallery(
        facts, (picture_of(image, {"drdc": (heat, 0.0, 0.5)}) for image in images), path, title="t",
        methods={"drdc": "drdc"}, heatmaps={"drdc": "Heatmap"}, thresholds={"drdc": {"lid": 0.5, "all": 0.5}},
        calibration="40 held-out normal images", scales={"lid": {"drdc": (0.0, 0.5)}}, tested=False,
        faults=["<b>.png: not a readable image"],
    )  # fmt: skip
    page = open_page(path)
    assert counts_on(page) == {"anomalous": 3, "normal": 3}
    assert page.locator("#summary").inner_text() == "6 of 6 images match; 3 anomalous, 3 normal"
    assert paths_on(page) == [f"photos/{i}.png" for i in range(5, -1, -1)], "the highest score first"
    assert page.locator(".card").first.locator(".badge").inner_text() == "anomalous"
    assert page.locator(".card .boxes rect").count() == 2 + 1 + 0 + 2 + 1 + 0
    kinds = page.locator(".card .kind").all_inner_texts()
    assert kinds == [f"lid · {number} region{'s' * (number != 1)}" for number in (2, 1, 0, 2, 1, 0)]
    assert page.locator("#faults").inner_text() == "1 unusable\n<b>.png: not a readable image"
    assert not page.locator("input[name=method]").is_visible(), "there is one alone"
    frame = page.locator(".card .stack").first.bounding_box()
    box = page.locator(".card .boxes rect").first.bounding_box()
    scale = frame["width"] / 96  # fitted into a square, half as high as wide
    assert box["x"] - frame["x"] == pytest.approx(10 * scale, abs=2)
    assert box["y"] - frame["y"] == pytest.approx(frame["height"] / 4 + 20 * scale, abs=2)
    page.locator("input[name=boxes]").uncheck()
    assert page.locator(".card .boxes:visible").count() == 0
    page.locator("#number").fill("0.1")
    assert counts_on(page) == {"anomalous": 5, "normal": 1}
    page.locator("button[data-outcome=normal]").click()
    assert paths_on(page) == ["photos/0.png"]
    page.locator(".card").first.click()
    assert page.get_by_role("dialog").is_visible()
    assert page.locator("dialog figure").count() == 3
    for absent in ("select[name=defect]", "#quality", "input[name=truth]", "input[name=underlay]"):
        assert page.locator(absent).count() == 0
