"""`drdc detect`: finds defects in images with a trained method, and writes the results."""

from __future__ import annotations

import argparse
import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from drdc.config.names import printable
from drdc.runtime.arguments import natural, positive
from drdc.runtime.devices import claim_gpus
from drdc.runtime.endings import UNUSABLE, say, tell
from drdc.runtime.errors import UserError, enough_memory
from drdc.runtime.files import atomic, not_written
from drdc.runtime.locks import lock
from drdc.tools.inputs import about_left_out, find_images, total_left_out
from drdc.tools.options import add_model, add_rate

if TYPE_CHECKING:
    from drdc.data.pictures import Picture
    from drdc.detection.detector import Detection, Detector
    from drdc.tools.results_page import Results

RESULTS = "results.jsonl"
#: What is printed of an image, and above all of them.
LINE = "{:>9}  {:>7}  {:<9}  {:>7}  {:>6}  {:<10}  {}"
HEAD = LINE.format("score", "p-value", "decision", "regions", "area", "category", "image")
ANOMALY = 1  # exit code of nothing else
Named = tuple[Path, Path]  # an image, and the name of its results


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "images", nargs="+", metavar="IMAGE", help="files, folders (with everything below) or patterns"
    )
    add_model(parser)
    parser.add_argument(
        "--output", required=True, type=Path, help="folder for the results; open index.html in it"
    )
    add_rate(parser)
    parser.add_argument(
        "--threshold",
        type=float,
        metavar="SCORE",
        help="threshold for image scores, in place of the calibrated one",
    )
    parser.add_argument(
        "--added",
        type=float,
        default=0.0,
        metavar="SCORE",
        help="add this to each calibrated threshold (the number at the slider of index.html)",
    )
    parser.add_argument(
        "--category",
        help="compare with the normal images of this category, or with `all` (default: with those of the "
        "category that the image is most like)",
    )
    parser.add_argument(
        "--bits", type=_bits, help="bit depth of files of more than 8 bits (default: as the training images)"
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="one timestep instead of all; what that costs in accuracy is printed (DRDC only)",
    )
    parser.add_argument(
        "--heatmap",
        choices=("png", "npy"),
        default="png",
        help="heatmaps as 16-bit PNG, or as float32 arrays (default: %(default)s)",
    )
    parser.add_argument("--batch", type=positive, help="images at a time (default: the experiment's)")
    parser.add_argument("--threads", type=positive, help="CPU threads (default: all)")
    parser.add_argument("--gpu", type=natural, default=0, help="GPUs to claim (default: any visible)")
    parser.add_argument("--fail-on-anomaly", action="store_true", help="exit code 1 if an image is anomalous")


def run(
    *,
    images: list[str],
    model: str,
    output: Path,
    threads: int | None,
    gpu: int,
    heatmap: str,
    fail_on_anomaly: bool,
    batch: int | None,
    bits: int | None,
    **options: Any,
) -> int:
    """Write score, decision, heatmap and overlay of each image, and a JSON line in `results.jsonl`.

    At the end `results.csv` and the page `index.html` have all of them. An image that cannot be read has a
    line that says why, and all others are done.

    Args:
        bits: of `drdc.detection.detector.Detector.read`.
        options: `false_alarm_rate`, `threshold`, `added`, `category` and `fast` of
            `drdc.detection.detector.Detector.detect_many`.

    Returns:
        2 if an input was unusable, else 1 if an image is anomalous and `fail_on_anomaly`, else 0.

    Raises:
        UserError: no argument names an image; the model or an option is wrong; nothing can be written.
    """
    named, empty, left_out = find_images(images, output)
    if left_out:
        tell(printable(about_left_out(left_out)))
    if not named:
        raise UserError(
            printable(", ".join(images)), "no image there", "name image files, folders or patterns"
        )
    detector = _load(model, threads, gpu)
    _announce(detector, **options)
    from drdc.tools.results_page import Results

    results = Results(detector, options, output)
    with _Writer(output, heatmap, results) as writer, results:
        for argument in empty:
            writer.unusable(Path(argument), f"{argument}: no image there; name a file, a folder or a pattern")
        _detect(detector, named, writer, batch, bits, options)
        results.write()
    say(writer.summary(total_left_out(left_out)))
    if writer.failed:
        return UNUSABLE
    return ANOMALY if writer.anomalous and fail_on_anomaly else 0


def _load(model: str, threads: int | None, gpu: int) -> Detector:
    claim_gpus(gpu)  # before torch is imported
    import torch

    from drdc.detection.detector import Detector

    if threads:
        torch.set_num_threads(threads)
    return Detector.load(model)


def _announce(detector: Detector, *, category: str | None, **others: Any) -> None:
    """Print which model it is and what it decides; bad options are refused before anything is written."""
    whole = detector.reference(category=category, **others)  # which refuses wrong options
    where, rate, about = f"a score of {whole.threshold:.4g}", whole.rate, whole.about
    if category is None and detector.groups is not None:
        each = {name: detector.reference(name, **others) for name in detector.categories}
        limits = {name: f"{own.threshold:.4g}" for name, own in each.items()}
        rate = max(own.rate for own in each.values())
        where = _differing(limits)
        if len({own.about for own in each.values()}) > 1:
            counts = ", ".join(f"{name} {len(own.scores)}" for name, own in each.items())
            about = f"the held-out normal images of that category and those that join it ({counts})"
    if detector.recommended:
        compared = ", ".join(f"{name} {100 * own:.1f} %" for name, own in detector.recommended.items())
        say(f"Model: {detector.method}, recommended by the self-check (image AUROC {compared}).")
    say(
        f"An image is anomalous above {where}; a normal one exceeds it with a probability of "
        f"{100 * rate:.3g} % at most. Calibrated on {about}."
    )
    if not detector.self_check.empty:
        from drdc.evaluation.self_check import sentence

        say(f"Self-check: it {sentence(detector.self_check)}.")
    if others["fast"]:
        say(f"Fast: {detector.about_fast}.")
    say(HEAD)


def _differing(limits: dict[str, str]) -> str:
    """The thresholds of all categories in words."""
    if len(set(limits.values())) == 1:
        return f"a score of {next(iter(limits.values()))}"
    listed = ", ".join(f"{name} {limit}" for name, limit in limits.items())
    return f"the threshold of the category that it is most like ({listed})"


def _detect(
    detector: Detector,
    named: list[Named],
    writer: _Writer,
    batch: int | None,
    bits: int | None,
    options: dict[str, Any],
) -> None:
    """Read, compute and write all images, a batch at a time."""
    size = batch or detector.batch_size
    read = partial(detector.read, category=options["category"], bits=bits)
    pictures = _pictures(iter(named), read, writer)
    while group := list(islice(pictures, size)):
        with enough_memory("--batch"):
            found = detector.detect_many([picture for _, picture in group], batch_size=size, **options)
            for (own, _), detection in zip(group, found, strict=True):
                writer.write(own, detection)


def _pictures(
    named: Iterator[Named], read: Callable[[Path], Picture], writer: _Writer
) -> Iterator[tuple[Named, Picture]]:
    """The images that can be read; the writer is told of the others."""
    for own in named:
        try:
            picture = read(own[0])
        except UserError as error:
            writer.unusable(own[0], str(error))
            continue
        yield own, picture


class _Writer:
    """The results of one call: files of each image, a line in `results.jsonl`, a line on the terminal."""

    def __init__(self, output: Path, heatmap: str, results: Results) -> None:
        self.output, self.heatmap, self.results = output, heatmap, results
        self.done = self.anomalous = self.failed = 0
        self.seconds = 0.0
        self._lines: BinaryIO
        self._whole = 0  # bytes of whole lines

    def __enter__(self) -> _Writer:
        """Take the folder, and remove the page and the table of an earlier call from it."""
        from drdc.tools.results_page import PAGE, TABLE

        try:
            self.output.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.output / RESULTS, os.O_RDWR | os.O_CREAT, 0o666)
            self._lines = os.fdopen(handle, "wb", buffering=0)
            if not lock(handle):
                raise UserError(
                    self.output, "another `drdc detect` is writing there", "name another folder by --output"
                )
            self._lines.truncate(0)
            for name in (PAGE, TABLE):
                (self.output / name).unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                self.output, f"cannot be written ({error.strerror})", "name another folder by --output"
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def unusable(self, image: Path, reason: str) -> None:
        self.failed += 1
        self._line({"image": str(image), "error": reason})
        self.results.unusable(image, reason)
        tell(printable(reason))

    def write(self, own: Named, found: Detection) -> None:
        image, name = own
        heatmap = name.with_name(f"{name.name}.heatmap.{self.heatmap}")
        overlay = name.with_name(f"{name.name}.overlay.png")
        with atomic(self.output / overlay) as path:
            found.overlay().save(path, "PNG")
        with atomic(self.output / heatmap) as path:
            scale = _save_heatmap(path, found.heatmap, self.heatmap)
        facts = {
            "image": str(image),
            "score": found.score,
            "p_value": found.p_value,
            "category": found.category,
            "threshold": found.threshold,
            "anomalous": found.anomalous,
            "pixel_threshold": found.pixel_threshold,
            "false_alarm_rate": found.false_alarm_rate,
            "calibrated_on": found.calibrated_on,
            "width": found.image.width,
            "height": found.image.height,
            "seconds": found.seconds,
            "regions": [own._asdict() for own in found.regions],
            "overlay": str(overlay),
            "heatmap": str(heatmap),
            "notes": list(found.notes),
        }
        self._line(facts | scale)
        self.results.add(image, found)
        self.done += 1
        self.anomalous += found.anomalous
        self.seconds += found.seconds
        for note in found.notes:
            tell(f"warning: {printable(str(image))}: {note}")
        numbers = f"{found.score:.4g}", f"{found.p_value:.3f}"
        regions = len(found.regions), f"{found.area:.1f} %" if found.regions else ""
        decision = "anomalous" if found.anomalous else "normal"
        say(LINE.format(*numbers, decision, *regions, printable(found.category), printable(str(image))))

    def summary(self, left_out: str) -> str:
        """One sentence."""
        from drdc.tools.results_page import PAGE

        place = self.output / PAGE if self.done else self.output
        speed = f", {self.seconds / self.done:.3g} s an image" if self.done else ""
        return (
            f"{self.done} images, {self.anomalous} anomalous{speed}; {self.failed} unusable; "
            f"{left_out and f'{left_out}; '}"
            f"results in {printable(str(place))}"
        )

    def _line(self, facts: dict[str, Any]) -> None:
        """Write a line completely, or not at all where the disk is full."""
        line = json.dumps(facts, allow_nan=False).encode() + b"\n"
        try:
            if self._lines.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._whole += len(line)
        except OSError as error:
            with suppress(OSError):
                self._lines.truncate(self._whole)
            raise not_written(self.output / RESULTS, error) from None


def _bits(text: str) -> int:
    if not text.isdecimal() or not 8 <= int(text) <= 16:
        raise argparse.ArgumentTypeError(f"must be an integer from 8 to 16, got {text!r}")
    return int(text)


def _save_heatmap(path: Path, heatmap: np.ndarray, kind: str) -> dict[str, Any]:
    """Write a heatmap (H, W), and return what is needed to read it.

    A PNG has 16 bits: 0 stands for the lowest value and 65535 for the highest, the two of `heatmap_scale`.
    """
    if kind == "npy":
        with path.open("wb") as file:
            np.save(file, heatmap)
        return {}
    low, high = float(heatmap.min()), float(heatmap.max())
    unit = (heatmap.astype(np.float64) - low) / ((high - low) or 1.0)
    Image.fromarray(np.round(65535 * unit).astype(np.uint16)).save(path, "PNG")
    return {"heatmap_scale": [low, high]}
