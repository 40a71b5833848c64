"""How long a changed fusion takes at the paper's size: scoring stored maps, without any U-Net call.

    python benchmarks/scoring.py --categories 15 weight=0.8

Random maps of 224 x 224 pixels, 115 test and 24 held-out images a category (the average of MVTec AD), are
scored as one variant, all seven metrics; the variant `full` with its controls and image scores.
OMP_NUM_THREADS is the number of threads.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd

from drdc.config.fusion import Fusion
from drdc.config.variants import FULL, Stored
from drdc.data.manifest import COLUMNS
from drdc.results.layout import Layout
from drdc.results.predictions import record_type
from drdc.runtime.batching import job_threads
from drdc.runtime.digests import sha256_of
from drdc.runtime.files import stamp
from drdc.stages.score import score

SIZE, TEST, HELD_OUT, GRID_SIZES = 224, 115, 24, [2, 4, 8, 16]
DEFECT = slice(90, 130)


def make(layout: Layout, categories: list[str]) -> None:
    """Manifest, masks and predictions; every second test image has a defect of 40 x 40 pixels."""
    rng = np.random.default_rng(0)
    rows = []
    for category in categories:
        for i in range(TEST + HELD_OUT):
            test, bad = i < TEST, i < TEST and i % 2
            rows.append(
                {
                    "path": f"{category}/{i}.png",
                    "category": category,
                    "split": "test" if test else "val",
                    "label": int(bad),
                    "defect_type": "hole" if bad else "good",
                    "mask": "mask.png" if bad else "",
                    "width": SIZE,
                    "height": SIZE,
                    "stored": 8,
                    "bits": 8,
                    "sha256": f"{len(rows):064x}",
                    "pixels_sha256": f"{len(rows):064x}",
                }
            )
    table = pd.DataFrame(rows)[list(COLUMNS)]
    layout.root.mkdir(parents=True)
    table.to_csv(layout.manifest, index=False)
    stamp(layout.manifest, sha256_of(layout.manifest))
    masks = np.zeros((len(table), SIZE, SIZE), dtype=bool)
    masks[table.label == 1, DEFECT, DEFECT] = True
    np.save(layout.masks, masks)
    stamp(layout.masks, sha256_of(layout.masks))
    for category in categories:
        own = np.flatnonzero(table.category == category)
        records = np.zeros(len(own), record_type(SIZE, 14, GRID_SIZES))
        records["row"] = own
        for name in records.dtype.names or ():
            if name.startswith(("k", "base")):
                records[name] = rng.random(records[name].shape, dtype=np.float32)
        path = layout.predictions(0, FULL, category)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, records)
        stamp(path, sha256_of(path))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--categories", type=int, default=15, help="number of categories (default 15)")
    parser.add_argument("--variant", default="weight=0.8", help="its name (default %(default)s)")
    options = parser.parse_args()
    categories, variant = [f"category{i}" for i in range(options.categories)], options.variant
    stored = Stored(name=FULL, model="diffusion", detailed=True)
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        layout = Layout("benchmark")
        make(layout, categories)
        started, busy = time.perf_counter(), time.process_time()
        score(layout, 0, fusion=Fusion(weight=0.8), variant=variant, stored=stored)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        size = sum(path.stat().st_size for path in Path().rglob("*.npy")) / 1e9
    images = len(categories) * TEST
    print(
        f"{variant}, {job_threads()} threads: {seconds:.1f} s ({busy:.1f} s of CPU time) for "
        f"{len(categories)} categories, {images} test images ({size:.1f} GB of maps)"
    )


if __name__ == "__main__":
    main()
