"""The page of `drdc serve`: drop an image, see its score, its heatmap and the threshold.

It works without a network: nothing on it comes from elsewhere, and the browser may load nothing else.
"""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from importlib import resources
from math import ceil
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from drdc.config.names import ALL
from drdc.data.listing import EXTENSIONS
from drdc.detection.backends import FAST
from drdc.detection.detector import Detection, Detector, judgement
from drdc.evaluation.calibration import RATE, smallest_rate
from drdc.evaluation.self_check import sentence
from drdc.runtime.errors import UserError

MEGAPIXELS = 50  # of an image: a small file may hold a picture that fills the memory
SHOWN = 1024  # pixels of the longer side of what is kept and shown
WAITING = 16  # images in the queue
#: The choices of what an image is compared with, besides each category, and what `Detector` calls them.
LIKE, TOGETHER = "the category it is most alike", "all categories"
CHOICES = {LIKE: None, TOGETHER: ALL}
STYLE = resources.files("drdc.reporting").joinpath("templates/serve.css")


@dataclass(frozen=True)
class Seen:
    """The last image of one visitor.

    Attributes:
        path: the upload, on disk until the next one comes.
        detection: of it, with image and heatmap reduced.
        fast: whether in the fast mode.
    """

    path: Path
    detection: Detection
    fast: bool


def page(detector: Detector, seconds_kept: int) -> gr.Blocks:
    """The page for one model; it computes one image at a time and forgets it after `seconds_kept`."""
    with gr.Blocks(analytics_enabled=False, title=f"drdc: {detector.experiment}") as blocks:
        gr.HTML(_heading(detector), padding=False)
        seen = gr.State(None, time_to_live=seconds_kept)
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=280):
                upload = gr.File(
                    label="Drop an image here", file_types=sorted(EXTENSIONS), height=150, elem_id="upload"
                )
                rate = gr.Slider(
                    **_rates(detector), label="False alarms among normal images, at most", elem_id="rate"
                )
                category = gr.Dropdown(
                    [*CHOICES, *detector.categories], value=LIKE, label="Compare with", elem_id="category"
                )
                fast = gr.Checkbox(
                    label="Fast mode",
                    info=detector.about_fast,
                    elem_id="fast",
                    visible=FAST in detector.modes,
                )
            with gr.Column(scale=2, min_width=320):
                verdict = gr.HTML(_hint(), elem_id="verdict", padding=False)
                with gr.Row():
                    picture, overlay = _picture("image", "Image"), _picture("overlay", "Heatmap and outline")
        results = [seen, verdict, picture, overlay]
        looking = Visit(detector)
        alone: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model"}
        quiet: dict[str, Any] = {"api_visibility": "private"}
        options = [seen, rate, category]
        upload.upload(looking.new, [upload, *options, fast], [upload, *results], **alone, **quiet)
        fast.input(looking.again, [*options, fast], results, **alone, **quiet)
        last: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden"}
        gr.on([rate.change, category.input], looking.judged, options, results, **last, **quiet)
    return blocks.queue(max_size=WAITING)


class Visit:
    """The actions of the page's controls: each returns the last image, the verdict and the two pictures."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def new(self, upload: str | None, seen: Seen | None, rate: float, category: str, fast: bool) -> tuple:
        """Compute an upload; the former one is deleted, and the field is free for the next."""
        if seen is not None:
            seen.path.unlink(missing_ok=True)
        if upload is None:
            return None, None, _hint(), None, None
        try:
            return None, *self._look(Path(upload), rate, category, fast)
        except UserError as error:
            Path(upload).unlink(missing_ok=True)
            return None, None, _problem(_without_folder(error, Path(upload))), None, None

    def again(self, seen: Seen | None, rate: float, category: str, fast: bool) -> tuple:
        """Compute the last image in the other mode."""
        if seen is None:
            return None, _hint(), None, None
        if not seen.path.exists():
            return None, _problem("The image was deleted meanwhile; drop it here again."), None, None
        return self._look(seen.path, rate, category, fast)

    def judged(self, seen: Seen | None, rate: float, category: str) -> tuple:
        """Judge the last image by another rate or other held-out images, without the model."""
        if seen is None:
            return None, _hint(), None, None
        try:
            options: dict[str, Any] = {"false_alarm_rate": rate, "fast": seen.fast}
            own = CHOICES.get(category, category)
            reference = self.detector.reference(seen.detection.alike, category=own, **options)
        except UserError as error:
            return seen, _problem(str(error)), seen.detection.image, None
        detection = replace(seen.detection, **judgement(seen.detection.score, reference))
        return _shown(replace(seen, detection=detection))

    def _look(self, path: Path, rate: float, category: str, fast: bool) -> tuple:
        check_size(path)
        options: dict[str, Any] = {"false_alarm_rate": rate, "fast": fast}
        detection = self.detector.detect(path, category=CHOICES.get(category, category), **options)
        return _shown(Seen(path, small(detection), fast))


def check_size(path: Path) -> None:
    """Raise UserError for an image of more pixels than the page accepts, before they are decoded."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, ValueError, SyntaxError):
        return  # the reader says what is wrong with it
    if width * height > MEGAPIXELS * 1_000_000:
        raise UserError(path, f"has {width} x {height} pixels, more than {MEGAPIXELS} million", "resize it")


def small(detection: Detection) -> Detection:
    """The same with image and heatmap of at most `SHOWN` pixels, so that a visit takes little memory."""
    longer = max(detection.image.size)
    if longer <= SHOWN:
        return detection
    image = detection.image.resize([max(1, round(side * SHOWN / longer)) for side in detection.image.size])
    heatmap = Image.fromarray(detection.heatmap).resize(image.size, Image.Resampling.BILINEAR)
    return replace(detection, image=image, heatmap=np.asarray(heatmap))


def _shown(seen: Seen) -> tuple:
    detection = seen.detection
    return seen, _verdict(detection), detection.image, detection.overlay()


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
        height=360,
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
    return '<div class="verdict">Drop an image to see where it differs from the good ones.</div>'


def _problem(sentence: str) -> str:
    return f'<div class="verdict problem" role="alert">{html.escape(sentence)}</div>'


def _verdict(detection: Detection) -> str:
    """Decision, score and threshold as numbers and as a bar, p-value, and the meaning of the threshold."""
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
        f"A normal image scores above the threshold with a probability of at most {rate}, calibrated on "
        f"{detection.calibrated_on}. The outline marks all pixels above the pixel threshold; a normal "
        "image has an outline with at most the same probability."
    )
    return (
        f'<div class="verdict {kind}" role="status"><strong>{kind}</strong>'
        f'<div class="bar" aria-hidden="true"><span style="width:{part:.1f}%"></span></div>'
        f"<dl>{cells}</dl>{notes}<p>{html.escape(meaning)}</p></div>"
    )


def _without_folder(error: UserError, path: Path) -> str:
    """The message with the file's name in place of the path of the upload."""
    about = error.subject.replace(str(path), path.name)
    return str(UserError(about, error.problem, error.fix))
