"""Many images: no stage holds them in memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.cases.load import SIZE, stages

FEW, MANY = 200, 3200
#: Bytes: what may differ from run to run, and what an image may leave: its rows of manifest and scores.
NOISE, ROW = 8e6, 2500
#: Of each pixel, what the pooled metrics keep of base and DRDC until there are 25 million:
#: its key, once more while they are sorted, and key and area of an anomalous one.
POOLED = 2 * 12


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="anonymous memory is read from /proc")
def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """Sixteen times as many images, in sixteen times as many categories.

    Held in memory, the 3,000 more images would take 147 MB decoded, 18 MB as features, 24 MB as predictions
    and 108 MB as pixel scores of nine methods; allowed are 8 MB and 2.5 kB an image, 15.5 MB, and what the
    pooled metrics keep.
    """
    peaks = []
    for images in (FEW, MANY):
        folder = tmp_path / str(images)
        folder.mkdir()
        peaks.append({stage: run() for stage, run in stages(folder, images, images // FEW)})
    growth = {stage: peaks[1][stage] - peaks[0][stage] for stage in peaks[0]}
    growth["score"] -= POOLED * SIZE**2 * (MANY - FEW)
    assert max(growth.values()) < NOISE + ROW * (MANY - FEW), growth
