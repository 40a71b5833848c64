"""ELPV, electroluminescence images of solar cells, from the package elpv-dataset."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

from drdc.data.reader import Reader
from drdc.data.samples import NORMAL, Sample, choose, smallest_hashes
from drdc.runtime.errors import UserError

_PACKAGE = "elpv_dataset"
_TEST_SHARE = 0.2


def read_elpv(root: Path, categories: Sequence[str] | None = None) -> list[Sample]:
    """List the cells. Categories are the cell types "mono" and "poly".

    Defect probability 0 is normal, 1 anomalous ("defective"); the uncertain 1/3 and 2/3 are left out. ELPV
    has no split: the 20 % of each type's normal images whose file names have the smallest SHA-256 are test
    images. There are no masks.

    Raises:
        UserError: labels.csv is missing or malformed, or a category is unknown.
    """
    cells = _labels(root / "labels.csv")
    samples: list[Sample] = []
    for category in choose(categories, sorted({kind for _, _, kind in cells}), root):
        normal = [path for path, probability, kind in cells if kind == category and probability == 0]
        defective = [path for path, probability, kind in cells if kind == category and probability == 1]
        test = smallest_hashes([Path(path).name for path in normal], _TEST_SHARE)
        for path in normal:
            samples.append(Sample(path, category, "test" if Path(path).name in test else "train", 0, NORMAL))
        samples.extend(Sample(path, category, "test", 1, "defective") for path in defective)
    return samples


def package_root() -> Path:
    """The package's data folder, found without importing it: its loader would decode every image.

    Raises:
        UserError: it is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(
            "", "dataset 'elpv' needs a package that is not installed", "pip install elpv-dataset"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _labels(table: Path) -> list[tuple[str, float, str]]:
    """Rows (image path, defect probability in [0, 1], cell type) of ELPV's whitespace-separated table."""
    if not table.is_file():
        raise UserError(table, "the label table of ELPV is missing", "pip install elpv-dataset")
    rows: list[tuple[str, float, str]] = []
    for number, line in enumerate(table.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            path, probability, kind = line.split()
            rows.append((path, float(probability), kind))
        except ValueError as error:
            fix = "write 'image probability type' there"
            raise UserError(f"{table}, line {number}", f"'{line}' is not a label", fix) from error
    return rows


# Counts: of 2,624 cells 1,508 are normal and 715 defective (Table 1 of the paper), split as above.
READER = Reader(
    name="elpv",
    title="ELPV",
    home="https://github.com/zae-bayern/elpv-dataset",
    licence="CC BY-NC-SA 4.0",
    citation="Deitsch et al., Automatic classification of defective photovoltaic module cells in "
    "electroluminescence images, Solar Energy 185, 2019",
    tested="the whole dataset",
    by_hand="leave the root out to use the installed package, or name the folder of labels.csv",
    counts={"mono": (470, 118, 313), "poly": (736, 184, 402)},
    read=read_elpv,
    find_root=package_root,
)
