"""A trained method in one file, ready for any image.

    from drdc import Detector
    detector = Detector.load("results/demo")
    result = detector.detect("results/demo/dataset/wood/test/hole/000.png")

The file is what `drdc export` writes (`drdc.stages.export`), for DRDC or another method: all networks,
settings and the calibration. It is safetensors, plain numbers and text, so that loading it runs no code from
it and downloads nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from drdc.config.names import ALL
from drdc.config.optimisation import Precision
from drdc.config.variants import FULL
from drdc.data.depth import Ranges
from drdc.data.pictures import Picture, Source, read_picture
from drdc.detection.backends import FAST, Backend, backends
from drdc.detection.model_file import load_model_file, read_calibration, read_groups
from drdc.detection.regions import Region, regions
from drdc.evaluation.calibration import Calibration, Reference, p_value
from drdc.evaluation.groups import embedding
from drdc.methods.registry import method_class
from drdc.runtime.errors import UserError, out_of_memory

STRANGE = (
    "is unlike all training images (nearest: {}): a large defect, or another product, camera or light, for "
    "which the score means little"
)
AUROCS = {"image_auroc": "image AUROC", "pixel_auroc": "pixel AUROC"}


@dataclass(frozen=True, eq=False)
class Detection:
    """What was found in one image.

    Attributes:
        score: anomaly score of the image, higher = more anomalous.
        p_value: upper bound of the probability that a normal image scores as high (`p_value`).
        most_like: the category that the image is most like; None where the model file has no groups.
        category: the one with whose held-out images it is compared; "all" for all of them.
        threshold: the image is anomalous above it.
        anomalous: whether the score exceeds the threshold.
        heatmap: (H, W) float32 at the image's own size (upright), higher = more anomalous.
        pixel_threshold: a normal image has a pixel above it with probability `false_alarm_rate` at most.
        seconds: time for this image, from pixels to heatmap; the mean over its batch.
        false_alarm_rate: the rate that both thresholds stand for; the image threshold alone, where it was
            given or something was added to it.
        calibrated_on: the held-out images that gave them, in words.
        held_out: their number.
        lowest: smallest score of those held-out images.
        usual: value of a normal pixel.
        image: the image itself, RGB.
        notes: on how the image was read, and whether it resembles any training image, in words.
    """

    score: float
    p_value: float
    most_like: str | None
    category: str
    threshold: float
    anomalous: bool
    heatmap: NDArray[np.float32] = field(repr=False)
    pixel_threshold: float
    seconds: float
    false_alarm_rate: float
    calibrated_on: str
    held_out: int
    lowest: float = field(repr=False)
    usual: float = field(repr=False)
    image: Image.Image = field(repr=False)
    notes: tuple[str, ...] = ()

    def overlay(self) -> Image.Image:
        """The image with its heatmap in colours and an outline of pixels above the pixel threshold, RGB."""
        from drdc.reporting.overlay import overlay

        return overlay(self.image, self.heatmap, self.usual, self.pixel_threshold)

    def outlined(self) -> Image.Image:
        """The image with that outline alone, RGB."""
        from drdc.reporting.overlay import outlined

        return outlined(self.image, self.heatmap, self.pixel_threshold)

    def coloured(self) -> Image.Image:
        """The heatmap alone in the colours of `overlay`, RGB."""
        from drdc.reporting.gallery import coloured
        from drdc.reporting.overlay import heat_of

        return Image.fromarray(coloured(heat_of(self.heatmap, self.usual, self.pixel_threshold)))

    @cached_property
    def regions(self) -> list[Region]:
        """What exceeds the pixel threshold, the largest first."""
        return regions(self.heatmap, self.pixel_threshold)

    @property
    def area(self) -> float:
        """Percentage of the image that exceeds the pixel threshold."""
        return 100 * sum(one.area for one in self.regions) / self.heatmap.size

    @property
    def verdict(self) -> str:
        """The decision in plain words, as "Anomalous: 2 regions, 1.3 % of the image"."""
        if not self.regions:
            return "Anomalous as a whole: no single region stands out" if self.anomalous else "Looks normal"
        regions = "1 region" if len(self.regions) == 1 else f"{len(self.regions)} regions"
        share = f"{self.area:.1f}" if self.area >= 0.1 else "less than 0.1"
        decision = "Anomalous" if self.anomalous else "Looks normal, but with an outline"
        return f"{decision}: {regions}, {share} % of the image"

    @property
    def p_value_in_words(self) -> str:
        """What the p-value says, without a full stop."""
        as_high = round(self.p_value * (self.held_out + 1)) - 1
        images = f"{self.held_out} held-out normal images"
        if as_high:
            return f"{as_high} of {images} score as high or higher"
        return f"none of {images} scores as high, and {self.held_out} images allow no smaller p-value"


@dataclass(frozen=True, eq=False)
class Mode:
    """One way to compute heatmaps, with its calibration and accuracy.

    Attributes:
        backend: gives heatmaps and image scores.
        calibration: scores of held-out normal images.
        accuracy: mean AUROCs over the categories' test images, by metric; empty where there were none.
    """

    backend: Backend
    calibration: Calibration
    accuracy: dict[str, float]


class Detector:
    """Finds and outlines what differs from the normal images of the training.

    Attributes:
        experiment: name of the experiment that it was trained in.
        method: `drdc`, or the name of another method.
        categories: what it was trained on.
        image_size: height and width in pixels at which images are compared.
        modes: `full`, and of DRDC `fast`.
        groups: what tells which category an image is most like, and whether it is like none; None where a
            file has none.
        ranges: of grey values in the training images of more than 8 bits.
        self_check: what it finds of synthetic defects, by category and over "all"
            (`drdc.evaluation.self_check.summary`); empty where that was not tried.
        recommended: where it is the best of its experiment's methods, the image AUROC of each in the
            self-check, best first; else empty.
        provenance: code, settings, data and device of the training.
    """

    def __init__(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        """From the content of a model file; `Detector.load` reads one."""
        self.experiment, self.method = about["experiment"], about.get("name", "drdc")
        self.categories, self.image_size = list(about["categories"]), about["image_size"]
        self.ranges = Ranges(**about["ranges"])
        self.provenance: dict[str, str] = about["provenance"]
        self.self_check = pd.DataFrame.from_dict(about.get("self_check", {}), orient="index")
        compared: dict[str, float] = about.get("recommended", {})
        self.recommended = dict(sorted(compared.items(), key=lambda own: -own[1]))
        self.modes = {
            name: Mode(
                backend,
                read_calibration(tensors, name, self.categories),
                about["modes"][name]["accuracy"],
            )
            for name, backend in backends(tensors, about).items()
        }
        held_out = self.modes[FULL].calibration.groups
        self.groups = read_groups(tensors, held_out, self.categories)

    @classmethod
    def load(cls, model: str | Path, *, precision: Precision | None = None) -> Detector:
        """Read a model file, on the GPU where there is one.

        Args:
            model: the file, or the folder of an experiment, like `results/demo`: its recommended detector,
                or where there is none that of DRDC.
            precision: of DRDC's networks, in place of the experiment's: `auto`, `fp32` or `bf16`.

        Raises:
            UserError: the file is missing, damaged, not a model file, written by a newer version, or of a
                method that is not installed, or there is no such precision.
        """
        known = get_args(Precision)
        if precision not in (None, *known):
            raise UserError("precision", f"no value {precision!r}", f"give one of {', '.join(known)}")
        path, tensors, about = load_model_file(model)
        _refuse_unknown_method(path, about)
        for network in ("base", "diffusion") if precision and "method" not in about else ():
            about[network]["precision"] = precision
        try:
            return cls(tensors, about)
        except Exception as error:  # whatever is in the file, and whatever a method does with it
            if out_of_memory(error):
                raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise UserError(path, f"its parts do not fit together ({reason})", "export it again") from None

    def detect(
        self,
        image: Source,
        *,
        category: str | None = None,
        false_alarm_rate: float | None = None,
        fast: bool = False,
        threshold: float | None = None,
        added: float = 0.0,
        bits: int | None = None,
    ) -> Detection:
        """`detect_many` for one image."""
        options: dict[str, Any] = {"false_alarm_rate": false_alarm_rate, "fast": fast, "bits": bits}
        return next(self.detect_many([image], category=category, threshold=threshold, added=added, **options))

    def detect_many(
        self,
        images: Iterable[Source],
        *,
        category: str | None = None,
        false_alarm_rate: float | None = None,
        fast: bool = False,
        threshold: float | None = None,
        added: float = 0.0,
        batch_size: int | None = None,
        bits: int | None = None,
    ) -> Iterator[Detection]:
        """One `Detection` for each image, in their order.

        It depends on the image alone: not on its batch or the order, up to rounding.

        Args:
            images: see `read_picture`; taken a batch at a time.
            category: compare with the held-out images of this category; "all" for those of all categories;
                None for those that are most like the same category as the image (`drdc.evaluation.groups`).
                Categories with too few images for the rate join.
            false_alarm_rate: probability, at most, with which a normal image is called anomalous; None: 5 %,
                or the smallest that the held-out images allow.
            fast: one timestep instead of all, where there is such a mode; `about_fast` tells the loss.
            threshold: of image scores, in place of the calibrated one.
            added: to the threshold.
            batch_size: images in one batch; default: `batch_size` of the experiment's `sampling`, or of the
                other method's settings.
            bits: see `read`.

        Raises:
            UserError: an unknown category, a rate that the held-out images are too few for, a threshold that
                is not finite, `fast` where there is no such mode; when its turn comes, an image that cannot
                be read.
        """
        mode = self._mode(fast)
        options: dict[str, Any] = {"false_alarm_rate": false_alarm_rate, "fast": fast}
        options |= {"threshold": threshold, "added": added}
        reference_of = cache(partial(self.reference, category=category, **options))
        self.reference(category=category, **options)  # which refuses wrong options
        pictures = (self.read(image, category=category, bits=bits) for image in images)
        return self._batches(pictures, mode, reference_of, batch_size or self.batch_size)

    def read(self, image: Source, *, category: str | None = None, bits: int | None = None) -> Picture:
        """Read an image as the training images were read.

        Args:
            image: see `read_picture`.
            category: of the image. It gives the range of grey values of a file of more than 8 bits; without
                it, or with "all", the range is the one that all categories with such training images have.
            bits: bit depth of a file of more than 8 bits, whatever that of the training images.

        Raises:
            UserError: the image cannot be read, or the categories' ranges differ and neither is given.
        """
        return read_picture(image, self.ranges, category=_named(category), bits=bits)

    def reference(
        self,
        group: str | None = None,
        *,
        category: str | None = None,
        false_alarm_rate: float | None = None,
        fast: bool = False,
        threshold: float | None = None,
        added: float = 0.0,
    ) -> Reference:
        """The held-out images that `detect_many` compares with for these options, and its thresholds.

        `group`: the category that the image is most like, where `category` is None; None: compare with all.
        """
        own = group if category is None else None
        found = self._mode(fast).calibration.reference(false_alarm_rate, _named(category), own)
        return found.moved(threshold, added)

    @property
    def batch_size(self) -> int:
        """Default number of images that are computed together."""
        return self.modes[FULL].backend.predictor.batch_size

    @property
    def about_fast(self) -> str:
        """What `fast` saves and loses, in one sentence; or that there is no such mode."""
        if FAST not in self.modes:
            return f"{self.method} has no fast mode, which only DRDC has"
        full, fast = self.modes[FULL], self.modes[FAST]
        cost = (
            f"{fast.backend.predictor.calls} U-Net calls an image instead of {full.backend.predictor.calls}"
        )
        both = [name for name in AUROCS if name in full.accuracy and name in fast.accuracy]
        if not both:
            return f"{cost}; loss of accuracy not measured: add 1 to evaluation.sweeps.steps and run again"
        parts = [
            f"{AUROCS[name]} {100 * fast.accuracy[name]:.1f} % instead of {100 * full.accuracy[name]:.1f} %"
            for name in both
        ]
        return f"{cost}; {', '.join(parts)} on the test images of {self.experiment}"

    def _mode(self, fast: bool) -> Mode:
        if fast and FAST not in self.modes:
            raise UserError("", self.about_fast, "leave `fast` out")
        return self.modes[FAST if fast else FULL]

    def _batches(
        self,
        pictures: Iterator[Picture],
        mode: Mode,
        reference_of: Callable[[str | None], Reference],
        batch_size: int,
    ) -> Iterator[Detection]:
        while batch := list(islice(pictures, batch_size)):
            yield from self._detect(batch, mode, reference_of)

    @torch.inference_mode()
    def _detect(
        self, pictures: list[Picture], mode: Mode, reference_of: Callable[[str | None], Reference]
    ) -> list[Detection]:
        started = time.perf_counter()
        features = mode.backend.features_of(pictures)
        maps, scores = mode.backend.find(pictures, features)
        groups, notes = self._groups_of(pictures, features)
        if not (np.isfinite(maps).all() and np.isfinite(scores).all()):
            raise UserError("", "the model returns NaN or infinity", "train and export it again")
        heatmaps = [_resized(own, picture) for own, picture in zip(maps, pictures, strict=True)]
        seconds = (time.perf_counter() - started) / len(pictures)
        return [
            Detection(
                score=score,
                heatmap=heatmap,
                seconds=seconds,
                most_like=group,
                **judgement(score, reference_of(group)),
                usual=mode.backend.usual,
                image=picture.image,
                notes=(*picture.notes, *own),
            )
            for score, heatmap, picture, group, own in zip(
                scores.tolist(), heatmaps, pictures, groups, notes, strict=True
            )
        ]

    def _groups_of(
        self, pictures: list[Picture], features: Tensor | None
    ) -> tuple[Sequence[str | None], list[list[str]]]:
        """The category that each picture is most like, and a note where it is like none of them."""
        if self.groups is None or features is None:
            return [None] * len(pictures), [[] for _ in pictures]
        known, familiar = self.groups
        groups, distances = known.nearest(embedding(features.cpu().numpy()))
        notes: list[list[str]] = []
        for group, distance in zip(groups.tolist(), distances.tolist(), strict=True):
            notes.append([STRANGE.format(group)] if familiar.strange(group, distance) else [])
        return groups.tolist(), notes


def _named(category: str | None) -> str | None:
    """The one category that is meant; None for all of them, or for whichever it is."""
    return None if category == ALL else category


def judgement(score: float, reference: Reference) -> dict[str, Any]:
    """The fields of a `Detection` that follow from what its score is compared with."""
    return {
        "p_value": p_value(reference.scores, score),
        "category": reference.category,
        "threshold": reference.threshold,
        "anomalous": score > reference.threshold,
        "pixel_threshold": reference.pixel_threshold,
        "false_alarm_rate": reference.rate,
        "calibrated_on": reference.about,
        "held_out": len(reference.scores),
        "lowest": float(np.min(reference.scores)),
    }


def _refuse_unknown_method(path: Path, about: dict[str, Any]) -> None:
    """Raise UserError, with the registry's advice, where a method or its package is not installed."""
    if isinstance(method := about.get("method"), str):
        try:
            method_class(method)
        except UserError as error:
            raise error.within(path) from None


def _resized(heatmap: NDArray[np.float32], picture: Picture) -> NDArray[np.float32]:
    """(h, w) at the size of the picture, (H, W): bilinear, never above the largest value."""
    width, height = picture.image.size
    whole = torch.from_numpy(heatmap)[None, None]
    return F.interpolate(whole, (height, width), mode="bilinear")[0, 0].numpy()
