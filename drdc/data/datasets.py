"""Readers that list the images of a dataset without opening them.

A reader takes the dataset's folder and the wanted categories (None: all) and returns a list of samples.
To add a dataset, write one such function and add one line to ``READERS``.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shlex
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from drdc.config.problems import Problem, accepted
from drdc.config.sections import DOWNLOADS
from drdc.data.samples import NORMAL, Sample, choose
from drdc.data.tree import LAYOUT, Tree
from drdc.data.visa import read_visa
from drdc.runtime.errors import UserError

_ELPV_PACKAGE = "elpv_dataset"
_ELPV_TEST_SHARE = 0.2


Reader = Callable[[Path, Sequence[str] | None], list[Sample]]


def read_mvtec(root: Path, categories: Sequence[str] | None = None) -> list[Sample]:
    """List a dataset in the folder layout of MVTec AD (Bergmann et al., CVPR 2019).

    Layout: ``<category>/train/good``, ``<category>/test/<defect>`` and, optional for a whole category,
    ``<category>/ground_truth/<defect>/<stem>_mask.png`` (the image's own stem and other image
    extensions are accepted too). A category may lack test images, never training images. A root that holds
    ``train/good`` itself is one category of the folder's name.

    Raises:
        UserError: no category in this layout, an unknown category, or an error that `scan` tells.
    """
    return _without_errors("mvtec", root, categories)


def read_btad(root: Path, categories: Sequence[str] | None = None) -> list[Sample]:
    """List BeanTech AD (Mishra et al., ISIE 2021): categories 01, 02 and 03 in MVTec's layout.

    Normal images lie in folders called ``ok``, anomalous ones in ``ko``; masks have the image's own stem, as
    .bmp or .png. Raises as `read_mvtec`.
    """
    return _without_errors("btad", root, categories)


def read_elpv(root: Path, categories: Sequence[str] | None = None) -> list[Sample]:
    """List ELPV, electroluminescence images of solar cells (Deitsch et al., Solar Energy 2019).

    Categories are the cell types "mono" and "poly". Defect probability 0 is normal, 1 anomalous
    ("defective"); the uncertain 1/3 and 2/3 are left out. ELPV has no split: the 20 % of each type's
    normal images whose file names have the smallest SHA-256 are test images. There are no masks.

    Raises:
        UserError: labels.csv is missing or malformed, or a category is unknown.
    """
    cells = _elpv_labels(root / "labels.csv")
    samples: list[Sample] = []
    for category in choose(categories, sorted({kind for _, _, kind in cells}), root):
        normal = [path for path, probability, kind in cells if kind == category and probability == 0]
        defective = [path for path, probability, kind in cells if kind == category and probability == 1]
        test = smallest_hashes([Path(path).name for path in normal], _ELPV_TEST_SHARE)
        for path in normal:
            samples.append(Sample(path, category, "test" if Path(path).name in test else "train", 0, NORMAL))
        samples.extend(Sample(path, category, "test", 1, "defective") for path in defective)
    return samples


def scan(
    name: str, root: Path, categories: Sequence[str] | None = None, good: Collection[str] | None = None
) -> tuple[list[Sample], list[Problem]]:
    """Images and problems of a dataset, as far as the names of its files tell; no file is opened.

    Args:
        name: a key of `READERS`; layouts other than MVTec AD's have no problems of names.
        root: its folder.
        categories: the wanted ones; None for all.
        good: names of folders of normal images beside the usual one; None to ask where a name sounds so.

    Raises:
        UserError: there is no category, or not the wanted one.
    """
    if name not in _NORMAL_FOLDERS:
        return READERS[name](root, categories), []
    tree = Tree(root, frozenset({NORMAL, _NORMAL_FOLDERS[name], *(good or ())}), good is None)
    found = list(tree.read(categories))
    return [x for x in found if isinstance(x, Sample)], [x for x in found if isinstance(x, Problem)]


#: Datasets in MVTec AD's layout, and how their folders of normal images are called.
_NORMAL_FOLDERS = {"synthetic": NORMAL, "mvtec": NORMAL, "btad": "ok"}

READERS: dict[str, Reader] = {
    "synthetic": read_mvtec,
    "mvtec": read_mvtec,
    "btad": read_btad,
    "visa": read_visa,
    "elpv": read_elpv,
}

_WHERE_TO_GET = {
    "synthetic": "generate the made dataset there first",
    "mvtec": "download MVTec AD from www.mvtec.com/company/research/datasets/mvtec-ad and unpack it there, "
    f"so that it holds {LAYOUT}",
    "btad": "download BTAD from where github.com/pankajmishra000/VT-ADL says and unpack it there, so that it "
    "holds 01/train/ok, 01/test/ok, 01/test/ko and 01/ground_truth/ko",
    "visa": "download VisA from where github.com/amazon-science/spot-diff says and unpack it there, so that "
    "it holds candle/Data/Images and split_csv/1cls.csv",
    "elpv": "leave the root out to use the installed package, or name the folder that holds labels.csv",
}


def dataset_root(name: str, root: str | Path | None = None) -> Path:
    """Return the existing folder of a dataset; "elpv" needs no root when its package is installed.

    Raises:
        UserError: unknown dataset, no root given, or the folder is missing (with where to get the data).
    """
    if name not in READERS:
        raise UserError(
            "", f"dataset name '{name}' is unknown", f"choose one of {', '.join(sorted(READERS))}"
        )
    if root is None and name == "elpv":
        return _elpv_package_root()
    if root is None:
        raise UserError(
            "dataset root", f"dataset '{name}' needs a folder", _WHERE_TO_GET.get(name, "name it")
        )
    folder = Path(root)
    if not folder.is_dir():
        mend = _WHERE_TO_GET.get(name, "put the dataset there or correct the root")
        if name in DOWNLOADS:
            mend = f"run `drdc download {name} --to {shlex.quote(str(folder))}`, or {mend}"
        raise UserError(folder, f"the folder of dataset '{name}' does not exist", mend)
    return folder


def smallest_hashes(keys: Collection[str], fraction: float) -> set[str]:
    """Choose round(fraction * n) of n keys, those with the smallest SHA-256: random-like, free of order.

    At least one key is chosen if fraction > 0 and n >= 2, and at least one is always left.
    """
    if fraction <= 0 or len(keys) < 2:
        return set()
    count = min(max(1, round(fraction * len(keys))), len(keys) - 1)
    return set(sorted(keys, key=lambda key: hashlib.sha256(os.fsencode(key)).hexdigest())[:count])


def _without_errors(name: str, root: Path, categories: Sequence[str] | None) -> list[Sample]:
    samples, problems = scan(name, root, categories)
    accepted(problems, (), root)
    return samples


def _elpv_package_root() -> Path:
    """The package's data folder, found without importing it: its loader would decode every image."""
    spec = importlib.util.find_spec(_ELPV_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "", "dataset 'elpv' needs a package that is not installed", "pip install elpv-dataset"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _elpv_labels(table: Path) -> list[tuple[str, float, str]]:
    """Rows (image path, defect probability in [0, 1], cell type) of ELPV's whitespace-separated table."""
    if not table.is_file():
        raise UserError(table, "the label table of ELPV is missing", "pip install elpv-dataset")
    rows: list[tuple[str, float, str]] = []
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            path, probability, kind = line.split()
            rows.append((path, float(probability), kind))
        except ValueError as error:
            mend = "write 'image probability type' there"
            raise UserError(f"{table}, line {number}", f"'{line}' is not a label", mend) from error
    return rows
