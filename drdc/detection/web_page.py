"""The page of `drdc serve`: drop images, see which are anomalous, and of each its heatmap and outline.

It works without a network: nothing on it comes from elsewhere, and the browser may load nothing else.
"""

from __future__ import annotations

import html
import io
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import resources
from math import ceil, prod, sqrt
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image
from tifffile import TiffFile

from drdc.config.names import ALL
from drdc.data.listing import EXTENSIONS
from drdc.data.tiff import only_page
from drdc.detection.backends import FAST
from drdc.detection.detector import Detection, Detector, judgement
from drdc.evaluation.calibration import RATE, smallest_rate
from drdc.evaluation.self_check import sentence
from drdc.reporting.browser import data_url
from drdc.runtime.errors import UserError, out_of_memory

IMAGES = 100  # of a drop
MEGABYTES = 20  # of a file
MEGAPIXELS = 50  # of an image: a small file may hold a picture that fills the memory
SHOWN = 2**20  # pixels of what is shown
THUMBNAIL = 128  # pixels of the longer side in the list
WAITING = 16  # drops in the queue
TOLD_EVERY = 0.5  # seconds between two states of the list while it grows
#: The choices of what an image is compared with, besides each category, and what `Detector` calls them.
LIKE, TOGETHER = "the category it is most like", "all categories"
CHOICES = {LIKE: None, TOGETHER: ALL}
STYLE = resources.files("drdc.reporting").joinpath("templates/serve.css")
#: Runs in the browser when an image of the list is pressed.
CHOOSE = """
element.addEventListener("click", ({ target }) => {
  const card = target.closest("button[data-image]");
  if (!card) return;
  element.querySelector("[aria-current]")?.removeAttribute("aria-current");
  card.setAttribute("aria-current", "true");
  trigger("select", { index: Number(card.dataset.image) });
  document.getElementById("view").scrollIntoView({ behavior: "smooth", block: "nearest" });
});
"""


@dataclass(frozen=True)
class Seen:
    """An image of a visitor's last drop. Its pictures are on the disk, so that many take little memory.

    Attributes:
        upload: the file, which stays until the next drop.
        fast: whether it was looked at in the fast mode.
        said: the verdict, or why the image cannot be used.
        pictures: file of image and heatmap, reduced to `SHOWN`; None where the image cannot be used.
        detection: the rest of what was found; None likewise.
        thumbnail: data URL of the outlined image.
    """

    upload: Path
    fast: bool
    said: str
    pictures: Path | None = None
    detection: Detection | None = None
    thumbnail: str = ""

    @classmethod
    def of(cls, upload: Path, fast: bool, detection: Detection) -> Seen:
        """With the pictures of a detection written to the disk."""
        own = reduced(detection, sqrt(SHOWN / prod(detection.image.size)))
        with tempfile.NamedTemporaryFile(suffix=".npz", delete=False) as file:
            np.savez(file, image=np.asarray(own.image), heatmap=own.heatmap)
        return cls(upload, fast, "", Path(file.name)).judged(own)

    def judged(self, whole: Detection) -> Seen:
        """The same with the verdict of a detection."""
        bare = replace(whole, image=Image.new("RGB", (1, 1)), heatmap=np.zeros((1, 1), np.float32))
        thumbnail = _jpeg(reduced(whole, THUMBNAIL / max(whole.image.size)).outlined())
        return replace(self, said=whole.verdict, detection=bare, thumbnail=thumbnail)

    def whole(self) -> Detection:
        """What was found, with its pictures.

        Raises:
            UserError: they were deleted meanwhile.
        """
        assert self.detection is not None
        assert self.pictures is not None
        try:
            with np.load(self.pictures, allow_pickle=False) as own:
                return replace(self.detection, image=Image.fromarray(own["image"]), heatmap=own["heatmap"])
        except FileNotFoundError:
            raise UserError(self.upload.name, "was deleted meanwhile", "drop it here again") from None

    def forget(self) -> None:
        """Delete its pictures."""
        if self.pictures is not None:
            self.pictures.unlink(missing_ok=True)


Drop = Sequence[Seen]


def page(detector: Detector, seconds_kept: int) -> gr.Blocks:
    """The page for one model; it computes one image at a time and forgets it after `seconds_kept`."""
    with gr.Blocks(analytics_enabled=False, title=f"drdc: {detector.experiment}") as blocks:
        gr.HTML(_heading(detector), padding=False)
        drop = gr.State((), time_to_live=seconds_kept)
        chosen = gr.State(None, time_to_live=seconds_kept)  # place in the drop
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=280):
                upload = gr.File(
                    label="Drop images here",
                    file_count="multiple",
                    file_types=sorted(EXTENSIONS),
                    height=150,
                    elem_id="upload",
                )
                rate = gr.Slider(**_rates(detector), label="False-alarm rate, at most", elem_id="rate")
                category = gr.Dropdown(
                    [*CHOICES, *detector.categories], value=LIKE, label="Compare with", elem_id="category"
                )
                fast = gr.Checkbox(
                    label="Fast mode",
                    info=detector.about_fast,
                    elem_id="fast",
                    visible=FAST in detector.modes,
                )
            with gr.Column(scale=2, min_width=280):
                found = gr.HTML(_hint(), elem_id="found", padding=False, js_on_load=CHOOSE)
                with gr.Column(visible=False, elem_id="view") as view:
                    verdict = gr.HTML(elem_id="verdict", padding=False)
                    with gr.Row():
                        image, outline = _picture("image", "Image"), _picture("outline", "Outline")
                    with gr.Row():
                        heatmap, overlay = _picture("heatmap", "Heatmap"), _picture("overlay", "Overlay")
        looking, options = Visit(detector), [rate, category]
        shown = [chosen, view, verdict, image, outline, heatmap, overlay]
        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        alone = quiet | {"concurrency_limit": 1, "concurrency_id": "model", "trigger_mode": "multiple"}
        last = quiet | {"trigger_mode": "always_last"}
        looked = [drop, found, chosen, view]
        new = upload.upload(looking.new, [upload, drop, *options, fast], [upload, *looked], **alone)
        computed, judged = [fast.input], [rate.change]
        (computed if detector.ranges.depend(detector.categories) else judged).append(category.input)
        again = gr.on(computed, looking.again, [drop, *options, fast], looked, **alone)
        for then in (new.then, again.then, *judged):
            then(looking.judged, [drop, chosen, *options], [drop, found, *shown], **last)
        found.select(looking.chosen, drop, shown, **last)
    return blocks.queue(max_size=WAITING)


class Visit:
    """The actions of the page's controls; each returns what it changes."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def new(
        self, uploads: list[str] | None, before: Drop, rate: float, category: str, fast: bool
    ) -> Iterator[tuple]:
        """Look at the images of a drop. The former ones are deleted, and the field is free for the next."""
        paths = list(dict.fromkeys(map(Path, uploads or [])))
        for one in before:
            one.forget()
        for path in {one.upload for one in before} - set(paths) | set(paths[IMAGES:]):
            path.unlink(missing_ok=True)
        fault = f"is left out, because only {IMAGES} images are taken at once; drop it afterwards"
        others = [Seen(path, fast, f"{path.name}: {fault}") for path in paths[IMAGES:]]
        field: Any = None  # freed at once and never again: that could take away what is dropped meanwhile
        for looked in self._look(paths[:IMAGES], others, rate, category, fast):
            yield field, *looked
            field = gr.skip()

    def again(self, drop: Drop, rate: float, category: str, fast: bool) -> Iterator[tuple]:
        """Look at the images of the last drop in the other mode, or as images of another category."""
        for one in drop:
            one.forget()
        there = [one for one in drop if one.detection or one.upload.exists()]
        others = [one for one in drop if one not in there]
        yield from self._look([one.upload for one in there], others, rate, category, fast)

    def _look(
        self, paths: list[Path], others: list[Seen], rate: float, category: str, fast: bool
    ) -> Iterator[tuple]:
        """The images so far and their list, again and again; at first none of them is shown large.

        `others`: images of the drop that cannot be used.
        """
        drop = list(others)
        closed: tuple = None, gr.Column(visible=False)
        told = -TOLD_EVERY
        for number, path in enumerate(paths, start=1):
            if time.monotonic() - told > TOLD_EVERY:
                progress = f"Looking at image {number} of {len(paths)}."
                yield tuple(drop), _listed(drop, progress), *closed
                closed, told = (gr.skip(), gr.skip()), time.monotonic()
            drop.append(self._seen(path, rate, category, fast))
        yield tuple(drop), _listed(drop), *closed

    def _seen(self, path: Path, rate: float, category: str, fast: bool) -> Seen:
        options: dict[str, Any] = {"false_alarm_rate": rate, "fast": fast}
        try:
            check_size(path)
            own = CHOICES.get(category, category)
            return Seen.of(path, fast, self.detector.detect(path, category=own, **options))
        except UserError as error:
            return Seen(path, fast, _without_folder(error, path))
        except Exception as error:
            if not out_of_memory(error):
                raise
            return Seen(path, fast, f"{path.name}: needs more memory than there is; resize it")

    def chosen(self, drop: Drop, event: gr.EventData) -> tuple:
        """Show the image that was pressed."""
        return _view(drop, event.index)

    def judged(self, drop: Drop, chosen: int | None, rate: float, category: str) -> tuple:
        """Judge the images by a rate and by held-out images, without the model.

        The most anomalous one is shown large, unless the visitor has chosen another.
        """
        drop = tuple(self._judged(one, rate, category) for one in drop)
        if chosen is None:
            chosen = next((place for place in _order(drop) if drop[place].detection), None)
        return drop, _listed(drop, chosen=chosen), *_view(drop, chosen)

    def _judged(self, seen: Seen, rate: float, category: str) -> Seen:
        if seen.detection is None:
            return seen
        options: dict[str, Any] = {"false_alarm_rate": rate, "fast": seen.fast}
        own = CHOICES.get(category, category)
        try:
            whole = seen.whole()
            reference = self.detector.reference(whole.most_like, category=own, **options)
        except UserError as error:
            return Seen(seen.upload, seen.fast, str(error))
        return seen.judged(replace(whole, **judgement(whole.score, reference)))


def check_size(path: Path) -> None:
    """Raise UserError for a file or an image that is larger than the page accepts, before it is decoded."""
    if not path.exists():
        raise UserError(path, "was deleted meanwhile", "drop it here again")
    if path.stat().st_size > MEGABYTES * 2**20:
        raise UserError(path, f"is larger than {MEGABYTES} MB", "reduce it, or use `drdc detect`")
    width, height = _sides(path)
    if width * height > MEGAPIXELS * 1_000_000:
        raise UserError(path, f"has {width} x {height} pixels, more than {MEGAPIXELS} million", "resize it")


def _sides(path: Path) -> tuple[int, int]:
    """Width and height by the file's header; 0 where it has none: the reader says what is wrong with it."""
    with suppress(OSError, ValueError, SyntaxError), Image.open(path) as image:
        return image.size
    with suppress(Exception), TiffFile(path) as tiff:  # damaged files raise many kinds
        page = only_page(tiff)
        return page.imagewidth, page.imagelength
    return 0, 0


def reduced(detection: Detection, share: float) -> Detection:
    """The same with the sides of image and heatmap times `share`, never enlarged: it takes little memory."""
    if share >= 1:
        return detection
    image = detection.image.resize([max(1, round(own * share)) for own in detection.image.size])
    heatmap = Image.fromarray(detection.heatmap).resize(image.size, Image.Resampling.BILINEAR)
    return replace(detection, image=image, heatmap=np.asarray(heatmap))


def _view(drop: Drop, chosen: int | None) -> tuple:
    """The chosen image, in large: its place, whether it is shown, its verdict and its four pictures."""
    if chosen is None or not 0 <= chosen < len(drop) or drop[chosen].detection is None:
        return None, gr.Column(visible=False), "", *(None,) * 4
    try:
        own = drop[chosen].whole()
    except UserError as error:
        return chosen, gr.Column(visible=True), _problem(str(error)), *(None,) * 4
    pictures = own.image, own.outlined(), own.coloured(), own.overlay()
    return chosen, gr.Column(visible=True), _verdict(own, drop[chosen].upload.name), *pictures


def _rates(detector: Detector) -> dict[str, Any]:
    """Ends of the slider and its first value, in hundredths."""
    images = min(len(mode.calibration.scores) for mode in detector.modes.values())
    smallest = ceil(100 * smallest_rate(images)) / 100
    return {
        "minimum": smallest,
        "maximum": max(0.5, smallest),
        "value": max(RATE, smallest),
        "step": 0.01,
    }


def _picture(name: str, label: str) -> gr.Image:
    return gr.Image(
        label=label,
        elem_id=name,
        interactive=False,
        format="png",
        buttons=["download", "fullscreen"],
    )


def _heading(detector: Detector) -> str:
    kinds = ", ".join(detector.categories)
    method = "" if detector.method == "drdc" else f", by {detector.method}"
    checked = ""
    if not detector.self_check.empty:
        checked = f"<p>Self-check: the model {html.escape(sentence(detector.self_check))}.</p>"
    return (
        f"<h1>{html.escape(detector.experiment + method)}: defects in images</h1>"
        f"<p>Trained on good images alone: {html.escape(kinds)}. "
        "Images that you drop here are sent nowhere else and deleted after use.</p>" + checked
    )


def _hint() -> str:
    return (
        '<div class="verdict">Drop images to see which of them differ from the good ones, and where: up to '
        f"{IMAGES} at once, of {MEGABYTES} MB and {MEGAPIXELS} million pixels each.</div>"
    )


def _problem(sentence: str) -> str:
    return f'<div class="verdict problem" role="alert">{html.escape(sentence)}</div>'


def _order(drop: Drop) -> list[int]:
    """Places in a drop, the most anomalous image first, and those that cannot be used last."""

    def excess(place: int) -> float:
        own = drop[place].detection
        return -np.inf if own is None else own.score - own.threshold

    return sorted(range(len(drop)), key=excess, reverse=True)


def _listed(drop: Drop, progress: str = "", chosen: int | None = None) -> str:
    """How many are anomalous, and all of them with their verdicts."""
    if not (drop or progress):
        return _hint()
    if chosen is not None and len(drop) == 1:
        return ""  # it is shown large
    cards = "".join(_card(drop[place], place, place == chosen) for place in _order(drop))
    return (
        f'<div class="summary" role="status">{progress} {_counted(drop)}</div><ol class="cards">{cards}</ol>'
    )


def _counted(drop: Drop) -> str:
    usable = [one.detection.anomalous for one in drop if one.detection]
    counts = {
        "anomalous": sum(usable),
        "normal": len(usable) - sum(usable),
        "unusable": len(drop) - len(usable),
    }
    each = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    order = ". The most anomalous first; click one to see where." if len(usable) > 1 else ""
    return f"<strong>{each}</strong>{order}"


def _card(seen: Seen, place: int, chosen: bool) -> str:
    if seen.detection is None:
        return f'<li class="problem" role="alert">{html.escape(seen.said)}</li>'
    kind = "anomalous" if seen.detection.anomalous else "normal"
    return (
        f'<li><button type="button" class="{kind}" data-image="{place}"'
        f'{" aria-current=true" if chosen else ""}><img src="{seen.thumbnail}" alt="">'
        f"<span><strong>{seen.said}</strong><bdi>{html.escape(seen.upload.name)}</bdi></span></button></li>"
    )


def _verdict(detection: Detection, name: str) -> str:
    """The decision in words, then score and threshold as a bar and as numbers, and what they mean."""
    kind = "anomalous" if detection.anomalous else "normal"
    full = 2 * max(detection.threshold - detection.lowest, 1e-12)
    part = 100 * min(max((detection.score - detection.lowest) / full, 0), 1)
    facts = {
        "score": f"{detection.score:.4g}",
        "threshold": f"{detection.threshold:.4g}",
        "p-value": f"{detection.p_value:.3g}",
        "seconds": f"{detection.seconds:.2f}",
    }
    cells = "".join(
        f'<div><dt>{name}</dt><dd data-fact="{name}">{text}</dd></div>' for name, text in facts.items()
    )
    notes = "".join(f"<p>Note: {html.escape(note)}.</p>" for note in detection.notes)
    rate = f"{100 * detection.false_alarm_rate:.0f} %"
    meaning = (
        f"p-value: {detection.p_value_in_words}. A normal image scores above the threshold with a "
        f"probability of at most {rate}, calibrated on {detection.calibrated_on}. The outline marks all "
        "pixels above the pixel threshold; a normal image has an outline with at most the same probability."
    )
    return (
        f'<div class="verdict {kind}" role="status"><strong>{detection.verdict}</strong>'
        f"<bdi>{html.escape(name)}</bdi>{notes}"
        f'<div class="bar" aria-hidden="true"><span style="width:{part:.1f}%"></span></div>'
        f"<dl>{cells}</dl><p>{html.escape(meaning)}</p></div>"
    )


def _jpeg(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=80)
    return data_url("image/jpeg", content.getvalue())


def _without_folder(error: UserError, path: Path) -> str:
    """The message with the file's name in place of the path of the upload."""
    about = error.subject.replace(str(path), path.name)
    return str(UserError(about, error.problem, error.fix))
