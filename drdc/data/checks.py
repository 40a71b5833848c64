"""All problems of a dataset at once: of its file names, and of the contents of its files."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drdc.config.names import category_fault, path_fault, printable
from drdc.data.decoding import may_be_deep
from drdc.data.depth import Deep, Ranges
from drdc.data.images import decode_file, decode_mask, pixel_digest, read_content, read_decoded
from drdc.data.mask_checks import Coverage, coverage, inverted, mask_problems
from drdc.data.problems import Kind, Problem
from drdc.data.samples import Sample
from drdc.runtime.batching import in_order
from drdc.runtime.errors import UserError

#: One training image is held out and one is left.
FEWEST_TRAINING_IMAGES = 2
#: Below it the held-out share is a single image.
FEW_TRAINING_IMAGES = 20
#: Images are resized to one square; if sides or proportions differ by more, the results look different.
SIDES_APART, PROPORTIONS_APART = 2.0, 1.25


@dataclass(frozen=True)
class Facts:
    """Facts on the files of one image; `size` (width, height) is None where the image cannot be read.

    `digest` is of the pixels, `sha256` of the file; of the `stored` bits of its values `bits` are in use;
    `covered` is None without a mask.
    """

    sample: Sample
    size: tuple[int, int] | None = None
    digest: str = ""
    sha256: str = ""
    stored: int = 0
    bits: int = 0
    problems: tuple[Problem, ...] = ()
    covered: Coverage | None = None


def training_ranges(samples: Sequence[Sample], root: Path, bits: int | None, workers: int) -> Ranges:
    """The ranges of training images of more than 8 bits; what cannot be read is left to `inspect`."""

    def own(sample: Sample) -> int | None:
        path = root / sample.path
        try:
            decoded = read_decoded(path) if may_be_deep(path) else None
        except UserError:
            return None
        return decoded.bits if isinstance(decoded, Deep) else None

    training = [sample for sample in samples if sample.split == "train"]
    found = zip(training, in_order(own, training, workers), strict=True)
    return Ranges.measured(((sample.category, own) for sample, own in found if own), bits)


def inspect(sample: Sample, root: Path, ranges: Ranges) -> tuple[Facts, NDArray[np.bool_] | None]:
    """Facts on one image's files, and its mask (H, W); None where it has none or nothing can be read."""
    try:
        content = read_content(root / sample.path)
        decoded = decode_file(root / sample.path, content)
    except UserError as error:
        return Facts(sample, problems=(_unreadable(sample, sample.path, error),)), None
    bits = ranges.bits(decoded, sample.category)
    image, sha256 = decoded.rgb(bits), hashlib.sha256(content).hexdigest()
    mask, covered, problems = (
        _mask(sample, root, image.size, decoded.turned) if sample.mask else (None, None, [])
    )
    for kind, note in ranges.notes(decoded, sample.category).items():
        fix = "set dataset.bits if that is wrong"
        problems.append(Problem(kind, sample.category, sample.path, note, fix))
    facts = Facts(
        sample=sample,
        size=image.size,
        digest=pixel_digest(image),
        sha256=sha256,
        stored=decoded.stored,
        bits=bits,
        problems=tuple(problems),
        covered=covered,
    )
    return facts, mask


def copies(facts: Iterable[Facts]) -> dict[Sample, Sample]:
    """Images with the same pixels as another one, whatever their files' format, names and categories.

    Each with this other one, which is a training image if one of them is, of the first category, and has the
    shortest path: `1.png` rather than `1 (1).png`.
    """
    first: dict[str, Sample] = {}
    found: dict[Sample, Sample] = {}
    seen = [(fact.sample, fact.digest) for fact in facts if fact.digest]
    for own, digest in sorted(seen, key=lambda one: _originals_first(one[0])):
        if (other := first.setdefault(digest, own)) is not own:
            found[own] = other
    return found


def _originals_first(own: Sample) -> tuple[bool, str, int, str]:
    return own.split == "test", own.category, len(own.path), own.path


def without_copies(samples: Sequence[Sample], root: Path, bits: int | None, workers: int) -> list[Sample]:
    """The images without the training images that have the same pixels as another one."""
    ranges = training_ranges(samples, root, bits, workers)
    training = [sample for sample in samples if sample.split == "train"]
    copied = copies(in_order(lambda own: inspect(own, root, ranges)[0], training, workers))
    return [sample for sample in samples if sample not in copied]


def conclude(facts: Sequence[Facts]) -> list[Problem]:
    """Problems of names and numbers of images, of files, of sizes, and duplicate images."""
    samples, copied = [fact.sample for fact in facts], copies(facts)
    files = [problem for fact in facts for problem in fact.problems]
    masks = [(fact.sample, fact.covered) for fact in facts if fact.covered]
    seen = [*files, *inverted(masks), *_sizes(facts), *_depths(facts), *_twice(copied)]
    return [*_names(samples), *_numbers(samples, copied), *seen]


def check(
    samples: Sequence[Sample],
    root: Path,
    workers: int = 1,
    progress: Callable[[], object] = lambda: None,
    bits: int | None = None,
) -> list[Problem]:
    """All problems of the images and masks of a dataset.

    Args:
        samples: the images, as a reader or `drdc.data.datasets.scan` lists them.
        root: the folder that their paths are relative to.
        workers: threads that read and decode.
        progress: called after each image.
        bits: `dataset.bits`.
    """
    facts, ranges = [], training_ranges(samples, root, bits, workers)
    for fact in in_order(lambda sample: inspect(sample, root, ranges)[0], samples, workers):
        facts.append(fact)
        progress()
    return conclude(facts)


def _names(samples: Sequence[Sample]) -> Iterator[Problem]:
    categories = sorted({sample.category for sample in samples})
    for name in categories:
        if fault := category_fault(name):
            yield Problem("category-name", name, "", f"a category's name {fault}", "rename the folder")
    for _, same in groupby(sorted(categories, key=str.casefold), str.casefold):
        first, *others = same
        for name in others:
            problem = f"differs from category {first} only in upper and lower case"
            fix = "rename one: some file systems treat both as one folder"
            yield Problem("categories-differ-in-case", name, "", problem, fix)
    for sample in samples:
        for path in filter(None, (sample.path, sample.mask)):
            if fault := path_fault(path):
                yield Problem("file-name", sample.category, path, f"its name {fault}", "rename it")


def _numbers(samples: Sequence[Sample], copied: Collection[Sample]) -> Iterator[Problem]:
    for category in sorted({sample.category for sample in samples}):
        own = [sample for sample in samples if sample.category == category]
        test = [sample for sample in own if sample.split == "test"]
        anomalous = [sample for sample in test if sample.label]
        listed = [sample for sample in own if sample.split == "train"]
        train = sum(sample not in copied for sample in listed)
        found = f"{train} training image{'s' * (train != 1)}{' besides copies' * (train < len(listed))}"
        if listed and train < FEWEST_TRAINING_IMAGES:
            fix = "give at least two: one is held out"
            lacking: Kind = "one-training-image" if train else "no-training-images"
            yield Problem(lacking, category, "", f"has {found}", fix)
        elif 0 < train < FEW_TRAINING_IMAGES:
            fix = "add some for usable results"
            yield Problem("few-training-images", category, "", f"has only {found}", fix)
        if not test:
            fix = "it is trained on and predicted, not scored"
            yield Problem("no-test-images", category, "", "has no test images", fix)
        elif len({sample.label for sample in test}) == 1:
            kind: Kind = "only-anomalous-test-images" if anomalous else "only-normal-test-images"
            yield Problem(kind, category, "", f"has {kind.replace('-', ' ')}", "no AUROC is defined")
        if anomalous and not any(sample.mask for sample in anomalous):
            yield Problem("no-masks", category, "", "has no masks", "only image metrics are computed")


def _mask(
    sample: Sample, root: Path, size: tuple[int, int], turned: int
) -> tuple[NDArray[np.bool_] | None, Coverage | None, list[Problem]]:
    """A mask, how much of it is marked, and what is wrong with it; None where it cannot be read."""
    try:
        mask = decode_mask(root / sample.mask, size, turned)
    except UserError as error:
        return None, None, [_unreadable(sample, sample.mask, error)]
    covered = coverage(mask.marked)
    return mask.marked, covered, list(mask_problems(sample, mask, covered, turned))


def _unreadable(sample: Sample, path: str, error: UserError) -> Problem:
    return Problem("unreadable", sample.category, path, error.problem, error.fix)


def _sizes(facts: Sequence[Facts]) -> Iterator[Problem]:
    sizes: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
    for fact in facts:
        if fact.size:
            sizes[fact.sample.category].add(fact.size)
    for category, own in sizes.items():
        sides = [side for axis in zip(*own, strict=True) for side in [max(axis) / min(axis)]]
        proportions = [width / height for width, height in own]
        if max(sides) > SIDES_APART or max(proportions) / min(proportions) > PROPORTIONS_APART:
            small, large = ("{} x {}".format(*pick(own, key=np.prod)) for pick in (min, max))
            problem = f"images differ strongly in size or proportions, {small} to {large} pixels"
            yield Problem("sizes-differ", category, "", problem, "crop them alike: all become squares")


def _depths(facts: Sequence[Facts]) -> Iterator[Problem]:
    for category in sorted({fact.sample.category for fact in facts}):
        own = [fact.stored for fact in facts if fact.sample.category == category and fact.size]
        deep = sum(stored > 8 for stored in own)
        if 0 < deep < len(own):
            problem = f"{deep} of its {len(own)} images have more than 8 bits a value, the others 8"
            fix = "make sure that they are equally bright, or save them alike"
            yield Problem("depths-differ", category, "", problem, fix)


def _twice(copied: Mapping[Sample, Sample]) -> Iterator[Problem]:
    for sample, first in copied.items():
        kind: Kind = "same-pixels"
        problem = f"has the same pixels as {printable(first.path)}"
        if first.split != sample.split:
            kind, problem = "test-image-in-training", f"this test image {problem}, a training image"
        elif sample.split == "train":
            problem += ", which alone is used"
        yield Problem(kind, sample.category, sample.path, problem, "remove one of them")
