"""The reader of datasets in the folder layout of MVTec AD (Bergmann et al., CVPR 2019)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from os.path import lexists
from pathlib import Path
from typing import Literal
from unicodedata import normalize

import yaml

from drdc.config.names import sounds_good
from drdc.data.listing import below, called_image, entries, folders, images, same_form, why_left_out
from drdc.data.natural import commands
from drdc.data.problems import Kind, Problem
from drdc.data.samples import NORMAL, Sample, choose
from drdc.runtime.errors import UserError

LAYOUT = "<category>/train/good, <category>/test/<defect> and <category>/ground_truth/<defect>"
_PARTS = ("train", "test", "ground_truth")


@dataclass(frozen=True)
class Tree:
    """A dataset in this layout.

    Attributes:
        root: its folder.
        good: names of folders of normal images; upper and lower case and spaces around them do not matter.
        asks: whether folders with similar names are a problem.
    """

    root: Path
    good: frozenset[str]
    asks: bool

    def read(self, categories: Sequence[str] | None) -> Iterator[Sample | Problem]:
        """The images of the wanted categories (None: all), and the problems of names and missing files.

        Raises:
            UserError: there is no category, or a wanted one is missing.
        """
        found = self._categories()
        chosen = choose(categories, list(found), self.root)
        for category, folder in chosen.items():
            yield from self._category(category, found[folder])
        wanted = set(map(same_form, chosen))
        yield from _forms(self.root, "", [p for name, p in found.items() if same_form(name) in wanted])
        if categories is None and self.root not in found.values():
            yield from self._left_out(self.root, "", found, called_image)

    def _categories(self) -> dict[str, Path]:
        if any(self._good(part) or sounds_good(part.name) for part in folders(self.root / "train")):
            return {self.root.resolve().name: self.root}
        found = [p for p in folders(self.root) if (p / "train").is_dir() or (p / "test").is_dir()]
        if not found:
            fix = "correct the root"
            if natural := commands(self.root):
                fix = f"if its images are normal ones, run {natural}"
            raise UserError(self.root, f"no category in the layout {LAYOUT} was found", fix)
        return {folder.name: folder for folder in found}

    def _good(self, folder: Path) -> bool:
        return _key(folder.name) in map(_key, self.good)

    def _sounds_good(self, folder: Path) -> bool:
        return self.asks and not self._good(folder) and sounds_good(folder.name)

    def _category(self, category: str, folder: Path) -> Iterator[Sample | Problem]:
        truth, defects = folder / "ground_truth", folders(folder / "test")
        yield from self._train(category, folder / "train")
        for defect in defects:
            if self._good(defect):
                yield from self._normal(category, defect, "test")
            else:
                yield from self._anomalous(category, defect, truth)
        yield from _forms(self.root, category, defects)
        known = {same_form(defect.name) for defect in defects}
        masks = [p.name for p in folders(truth) if same_form(p.name) in known or self._good(p)]
        yield from self._left_out(folder / "test", category, [defect.name for defect in defects])
        yield from self._left_out(truth, category, masks)
        yield from self._left_out(folder, category, _PARTS, called_image)

    def _train(self, category: str, train: Path) -> Iterator[Sample | Problem]:
        good = [folder for folder in folders(train) if self._good(folder)]
        alike = [folder for folder in folders(train) if self._sounds_good(folder)]
        for folder in good:
            yield from self._normal(category, folder, "train")
        if not any(map(images, good)):
            yield from (self._asked(category, folder) for folder in alike)
            if not alike:
                problem = f"category '{category}' has no training images"
                yield self._problem("no-training-images", category, train / NORMAL, problem, "add some")
        yield from self._left_out(train, category, [folder.name for folder in good])

    def _normal(
        self, category: str, folder: Path, split: Literal["train", "test"]
    ) -> Iterator[Sample | Problem]:
        own = images(folder)
        yield from (Sample(self._relative(image), category, split, 0, NORMAL) for image in own)
        yield from self._among(category, folder, own)

    def _anomalous(self, category: str, folder: Path, truth: Path) -> Iterator[Sample | Problem]:
        """The images of one defect type, with their masks."""
        own = images(folder)
        yield from self._among(category, folder, own)
        if own and self._sounds_good(folder):
            yield self._asked(category, folder)
        beside = [p for p in folders(truth) if same_form(p.name) == same_form(folder.name)]
        masks = _by_stem(mask for one in beside for mask in images(one))
        for one in beside:
            yield from self._left_out(one, category, [mask.name for mask in images(one)])
        for stem, same in _by_stem(own).items():
            mine = [*masks.pop(f"{stem}_mask", []), *masks.pop(stem, [])]
            mask = self._relative(mine[0]) if mine else ""
            for image in same:
                yield Sample(self._relative(image), category, "test", 1, folder.name, mask)
            yield from self._pairs(category, same, mine)
            if not mine and truth.is_dir():
                yield from (self._no_mask(category, image, truth / folder.name) for image in same)
        for lost in (mask for same in masks.values() for mask in same):
            problem = "this mask has no image"
            yield self._problem("mask-without-image", category, lost, problem, "add or remove it")

    def _among(self, category: str, folder: Path, own: Sequence[Path]) -> Iterator[Problem]:
        """Problems of the files in a folder of images."""
        stems = _by_stem(own)
        for stem in stems:
            if stem.endswith("_mask") and stem.removesuffix("_mask") in stems:
                problem = "has the name of an image's mask, but is among the images"
                fix = "move it to ground_truth"
                yield self._problem("mask-among-images", category, stems[stem][0], problem, fix)
        yield from self._left_out(folder, category, [image.name for image in own])

    def _pairs(self, category: str, images: Sequence[Path], masks: Sequence[Path]) -> Iterator[Problem]:
        """Problems of the images and masks of one stem: one of each belong together."""
        if masks and len(images) > 1:
            problem = f"has the name of another image of this mask, {_names(images[1:])}"
            yield self._problem("images-of-one-mask", category, images[0], problem, "rename all but one")
        if len(masks) > 1:
            problem = f"has {len(masks)} masks, {_names(masks)}"
            yield self._problem("masks-of-one-image", category, images[0], problem, "keep only the right one")

    def _no_mask(self, category: str, image: Path, folder: Path) -> Problem:
        problem = f"its ground-truth mask {folder / f'{image.stem}_mask.png'} is missing"
        return self._problem("mask-missing", category, image, problem, "add it or remove the image")

    def _asked(self, category: str, folder: Path) -> Problem:
        problem = "is named like a folder of normal images, but is not read as one"
        fix = f"set dataset.good: {_flow([folder.name])} if its images are normal, dataset.good: [] if not"
        return self._problem("good-by-another-name", category, folder, problem, fix)

    def _left_out(
        self, folder: Path, category: str, read: Iterable[str], counts: Callable[[Path], bool] = lexists
    ) -> Iterator[Problem]:
        """The contents of a folder that are not read, if they are or contain files of the user's."""
        for path in entries(folder, but=set(read)):
            files = sum(map(counts, below(path))) if path.is_dir() else int(counts(path))
            if files:
                holds = f" with {files} file{'s' * (files > 1)}" if path.is_dir() else ""
                problem = f"is left out: {why_left_out(path)}{holds}"
                yield self._problem("left-out", category, path, problem, f"see the layout {LAYOUT}")

    def _problem(self, kind: Kind, category: str, path: Path, problem: str, fix: str) -> Problem:
        return Problem(kind, category, self._relative(path), problem, fix)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _key(name: str) -> str:
    return normalize("NFKC", name).strip().casefold()


def _by_stem(files: Iterable[Path]) -> dict[str, list[Path]]:
    stems: defaultdict[str, list[Path]] = defaultdict(list)
    for file in files:
        stems[same_form(file.stem)].append(file)
    return dict(stems)


def _names(files: Iterable[Path]) -> str:
    return " and ".join(file.name for file in files)


def _flow(names: Iterable[str]) -> str:
    """A list as YAML writes it on one line."""
    return yaml.safe_dump(list(names), default_flow_style=True, allow_unicode=True, width=2**31).strip()


def _forms(root: Path, category: str, same: Iterable[Path]) -> Iterator[Problem]:
    """Folders whose names differ in their Unicode form alone, so that they cannot be told apart."""
    forms: defaultdict[str, list[Path]] = defaultdict(list)
    for folder in same:
        forms[same_form(folder.name)].append(folder)
    for first, *others in forms.values():
        for folder in others:
            path = folder.relative_to(root).as_posix()
            problem = f"has the name of another folder, {first.name}, in another Unicode form"
            yield Problem("names-differ-in-form", category, path, problem, "put both into one folder")
